// A list that is kept up to date: whenever something happens, the server is asked for the list as it is now.

const live = document.getElementById("live");
const said = document.getElementById("said");
let asked = false;
let again = false;

// New rows come in, changed ones are changed, and what has the focus keeps it.
function take(html) {
  const fresh = new DOMParser().parseFromString(html, "text/html").body;
  const focused = document.activeElement;
  const [item, href] = [focused?.closest?.("[data-item]")?.id, focused?.getAttribute?.("href")];
  const marked = document.querySelector("[data-item].here")?.id;
  const known = new Map([...live.querySelectorAll("[data-item]")].map((old) => [old.id, state(old)]));
  const changes = [];
  for (const now of fresh.querySelectorAll("[data-item]")) {
    const [was, is] = [known.get(now.id), state(now)];
    if (was === undefined && known.size) now.classList.add("new");
    if (was !== is && is) changes.push(`${title(now)}: ${is}`);
  }
  live.replaceChildren(...fresh.childNodes);
  if (marked) document.getElementById(marked)?.classList.add("here");
  if (item) [...(document.getElementById(item)?.querySelectorAll("a") ?? [])].find((link) => link.getAttribute("href") === href)?.focus({ preventScroll: true });
  // A few words; a flood of them helps nobody.
  if (changes.length && changes.length < 4) said.textContent = changes.join(". ");
}
const state = (item) => item.querySelector(".badge")?.textContent.trim() ?? "";
const title = (item) => item.querySelector(".what a, h2 a, a")?.textContent.trim() ?? "";

async function refresh() {
  if (asked) return void (again = true);
  asked = true;
  const address = new URL(location);
  address.hash = "";
  address.searchParams.set("fragment", "1");
  const answer = await fetch(address).catch(() => null);
  if (answer?.status === 401) return location.reload();
  if (answer?.ok) take(await answer.text());
  // Many events in a row are a few looks.
  setTimeout(() => {
    asked = false;
    if (again) refresh();
    again = false;
  }, 250);
}

// A browser has few connections for a server: a page that nobody sees holds none.
const from = new URL(live.dataset.events, location);
let stream = null;
function listen() {
  stream = new EventSource(from);
  // The names under which events come are the log's; these are all that move a run or an app.
  for (const name of ["run_started", "stage_started", "stage_succeeded", "stage_failed", "stage_errored", "stage_skipped", "approval_requested", "run_approved", "run_rejected", "deployment_started", "cancel_requested", "rollback_started", "rollback_succeeded", "rollback_errored", "run_parked", "run_unparked", "run_live", "run_failed", "run_closed", "ledger"]) {
    stream.addEventListener(name, (event) => {
      from.searchParams.set("after", event.lastEventId);
      refresh();
    });
  }
  stream.addEventListener("open", () => (document.documentElement.dataset.stream = "open"));
}
function leave() {
  stream?.close();
  stream = null;
}
document.addEventListener("visibilitychange", () => {
  if (document.hidden) return leave();
  if (!stream) listen();
});
addEventListener("pagehide", leave);
addEventListener("pageshow", () => stream ?? listen());
