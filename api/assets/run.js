// A run as it happens, and as it was: pieces of the page are asked for anew, now or at an event.

const run = document.getElementById("run");
const at = document.getElementById("at");
const now = document.getElementById("now");
const said = document.getElementById("said");
const address = `/runs/${run.dataset.run}`;
// The event that is shown; null: the last one, whichever that is.
let shown = run.dataset.at ? Number(run.dataset.at) : null;
let wanted = 0;

// Takes over the pieces of an answer; what has the focus keeps it, where it is still there.
function take(html, past) {
  const fresh = new DOMParser().parseFromString(html, "text/html").getElementById("run");
  if (!fresh) return;
  const badge = () => run.querySelector("#run-head .badge")?.textContent.trim();
  const was = badge();
  const focus = document.activeElement?.getAttribute?.("href");
  const inside = run.contains(document.activeElement) ? document.activeElement.closest("[id]")?.id : null;
  for (const id of ["run-head", "moment", "run-flow", "run-detail"]) {
    const piece = fresh.querySelector(`#${id}`);
    if (piece) document.getElementById(id).replaceWith(piece);
  }
  if (!past) document.dispatchEvent(new CustomEvent("landfall:tabs", { detail: fresh.querySelector("#run-tabs") }));
  if (focus && inside && !document.contains(document.activeElement?.closest?.("#run") ?? null)) {
    [...(document.getElementById(inside)?.querySelectorAll("a") ?? [])].find((link) => link.getAttribute("href") === focus)?.focus({ preventScroll: true });
  }
  run.dataset.last = fresh.dataset.last;
  run.dataset.over = fresh.dataset.over;
  at.max = fresh.dataset.last;
  if (!past) {
    at.value = at.max;
    document.title = fresh.dataset.title;
    const icon = document.getElementById("icon");
    icon.href = `/assets/icon-${fresh.dataset.tone}.svg`;
    if (was !== badge()) said.textContent = `The run is ${badge()}`;
  }
  run.dataset.shown = past ?? fresh.dataset.last;
}

async function show(seq) {
  const turn = ++wanted;
  const query = new URLSearchParams({ fragment: "1" });
  if (seq !== null) query.set("at", seq);
  const answer = await fetch(`${address}?${query}`).catch(() => null);
  if (answer?.status === 401) return location.reload();
  // An older answer than the one that was asked for last shows what nobody looks at any more.
  if (!answer?.ok || turn !== wanted) return;
  take(await answer.text(), seq);
}

function goTo(seq) {
  const last = Number(run.dataset.last);
  shown = seq !== null && seq < last ? Math.max(1, seq) : null;
  at.value = shown ?? last;
  now.classList.toggle("on", shown === null);
  const query = shown === null ? "" : `?at=${shown}`;
  history.replaceState(null, "", `${address}${query}${location.hash}`);
  show(shown);
}

at.addEventListener("input", () => goTo(Number(at.value)));
now.addEventListener("click", (event) => {
  event.preventDefault();
  goTo(null);
});
document.addEventListener("click", (event) => {
  const link = event.target.closest?.("a[data-at]");
  if (!link || event.ctrlKey || event.metaKey || event.shiftKey) return;
  event.preventDefault();
  goTo(Number(link.dataset.at));
});
// Arrows move in time wherever nothing else wants them.
document.addEventListener("keydown", (event) => {
  const elsewhere = event.target.closest?.("input, textarea, select, dialog, [tabindex='0']");
  if (elsewhere || event.ctrlKey || event.metaKey || event.altKey) return;
  if (event.key !== "ArrowLeft" && event.key !== "ArrowRight") return;
  event.preventDefault();
  goTo((shown ?? Number(run.dataset.last)) + (event.key === "ArrowLeft" ? -1 : 1));
});

// ---- as it happens ------------------------------------------------------------

let due = false;
let stream = null;
function happened() {
  if (due) return;
  due = true;
  setTimeout(() => {
    due = false;
    if (shown === null) show(null);
    else count();
  }, 100);
}
// Whoever looks at the past is told how far the present is, and is left where they are.
async function count() {
  const answer = await fetch(`${address}?fragment=1&at=${shown}`).catch(() => null);
  if (!answer?.ok) return;
  const fresh = new DOMParser().parseFromString(await answer.text(), "text/html").getElementById("run");
  run.dataset.last = at.max = fresh.dataset.last;
}
function listen() {
  stream = new EventSource(`/v1/runs/${run.dataset.run}/events?after=${run.dataset.last}`);
  const names = ["stage_started", "stage_recovered", "stage_succeeded", "stage_failed", "stage_errored", "stage_undone", "undo_recovered", "stage_skipped", "approval_requested", "run_approved", "run_rejected", "deployment_started", "cancel_requested", "rollback_started", "rollback_recovered", "rollback_succeeded", "rollback_errored", "run_parked", "run_unparked", "run_live", "run_failed", "notice_started", "notice_recovered", "notice_sent", "notice_errored"];
  for (const name of names) stream.addEventListener(name, happened);
  stream.addEventListener("run_closed", () => {
    leave();
    happened();
  });
  stream.addEventListener("open", () => (document.documentElement.dataset.stream = "open"));
}
function leave() {
  stream?.close();
  stream = null;
}
const isGoingOn = () => run.dataset.over !== "true";
// A browser has few connections for a server: a page that nobody sees holds none.
document.addEventListener("visibilitychange", () => {
  if (document.hidden) return leave();
  if (!stream && isGoingOn()) listen();
});
addEventListener("pagehide", leave);
addEventListener("pageshow", () => !stream && isGoingOn() && listen());
run.dataset.shown = shown ?? run.dataset.last;
