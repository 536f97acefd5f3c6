// What every page has: relative times, colours, keys, and decisions in a dialog.

const root = document.documentElement;

// ---- times: the same words as the server's --------------------------------

const ago = (seconds) => {
  if (seconds < 5) return "just now";
  if (seconds < 60) return `${seconds} s ago`;
  if (seconds < 3600) return `${Math.floor(seconds / 60)} min ago`;
  if (seconds < 172800) return `${Math.floor(seconds / 3600)} h ago`;
  return `${Math.floor(seconds / 86400)} days ago`;
};
const lasted = (seconds) => (seconds < 60 ? `${seconds} s` : `${Math.floor(seconds / 60)} min ${seconds % 60} s`);
const tick = () => {
  const now = Date.now();
  const since = (ms) => Math.max(0, Math.floor((now - ms) / 1000));
  for (const time of document.querySelectorAll("time[datetime]")) {
    const said = ago(since(Date.parse(time.dateTime)));
    if (time.textContent !== said) time.textContent = said;
  }
  for (const going of document.querySelectorAll("[data-since]")) {
    const said = lasted(since(Number(going.dataset.since)));
    if (going.textContent !== said) going.textContent = said;
  }
};
setInterval(tick, 1000);

// ---- colours ---------------------------------------------------------------

const themes = ["system", "light", "dark"];
const theme = document.getElementById("theme");
const named = () => root.dataset.theme ?? "system";
const sayTheme = () => {
  theme.textContent = { system: "◐", light: "☀", dark: "☾" }[named()];
  theme.setAttribute("aria-label", `Colours: ${{ system: "as the system has them", light: "light", dark: "dark" }[named()]}`);
};
theme.addEventListener("click", () => {
  const next = themes[(themes.indexOf(named()) + 1) % themes.length];
  if (next === "system") delete root.dataset.theme;
  else root.dataset.theme = next;
  try {
    if (next === "system") localStorage.removeItem("landfall-theme");
    else localStorage.setItem("landfall-theme", next);
  } catch {
    // Then it holds until the page is left.
  }
  sayTheme();
});
sayTheme();

// ---- logging in: the line of an output that a link leads to is kept on the way -----

const next = document.querySelector("form[action='/login'] [name=next]");
if (next && location.hash) next.value += location.hash;

// ---- decisions: the page that asks "do you mean it?", in a dialog ------------

const deed = document.getElementById("deed");
document.addEventListener("click", async (event) => {
  const link = event.target.closest?.("a[data-deed]");
  if (!link || !deed || event.ctrlKey || event.metaKey || event.shiftKey || event.button !== 0) return;
  event.preventDefault();
  const address = new URL(link.href);
  address.searchParams.set("fragment", "1");
  const answer = await fetch(address).catch(() => null);
  // Whatever is wrong is told by the page itself.
  if (!answer?.ok || answer.redirected) return location.assign(link.href);
  deed.replaceChildren(...parsed(await answer.text()));
  deed.showModal();
  (deed.querySelector("textarea, select, input:not([type=hidden])") ?? deed.querySelector("button")).focus();
});
deed?.addEventListener("click", (event) => {
  if (event.target === deed || event.target.closest("[data-close]")) {
    event.preventDefault();
    deed.close();
  }
});
// Sent twice it is done once; said once is enough all the same.
document.addEventListener("submit", (event) => {
  if (!event.target.matches(".deed")) return;
  if (event.target.dataset.sent) event.preventDefault();
  event.target.dataset.sent = "yes";
});
addEventListener("pageshow", () => document.querySelectorAll(".deed").forEach((form) => delete form.dataset.sent));

// What the server sent is its own page's HTML, escaped there; as a document of its own it runs nothing.
function parsed(html) {
  return new DOMParser().parseFromString(html, "text/html").body.childNodes;
}

// ---- the menu ------------------------------------------------------------------

const me = document.querySelector(".me");
document.addEventListener("click", (event) => {
  if (me?.open && !me.contains(event.target)) me.open = false;
});

// ---- keys -----------------------------------------------------------------------

const help = document.getElementById("help");
document.getElementById("keys")?.addEventListener("click", () => help.showModal());
let before = "";
let here = null;
const step = (by) => {
  const items = [...document.querySelectorAll("[data-item]")];
  if (!items.length) return;
  const at = items.findIndex((item) => item.id === here);
  const next = items[Math.min(items.length - 1, Math.max(0, at < 0 ? 0 : at + by))];
  items.forEach((item) => item.classList.toggle("here", item === next));
  here = next.id;
  const link = next.querySelector(".what a, h2 a, a");
  link?.focus({ preventScroll: true });
  next.scrollIntoView({ block: "nearest" });
};
document.addEventListener("keydown", (event) => {
  const writes = event.target.closest?.("input:not([type=range]), textarea, select, dialog");
  if (event.key === "Escape" && me?.open) me.open = false;
  if (writes || event.ctrlKey || event.metaKey || event.altKey || !help) return;
  const pair = before + event.key;
  before = event.key === "g" ? "g" : "";
  if (pair === "ga") location.assign("/");
  else if (pair === "gr") location.assign("/runs");
  else if (event.key === "j") step(1);
  else if (event.key === "k") step(-1);
  else if (event.key === "?") help.showModal();
  else if (event.key === "/") {
    const field = document.querySelector("#find:not([hidden]), #filter select");
    if (!field) return;
    field.focus();
    field.select?.();
  } else return;
  event.preventDefault();
});
