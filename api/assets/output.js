// Output, line by line: as it is printed, searchable, with an address for every line. Only the lines that are seen are
// in the page, so a hundred thousand of them are as light as fifty.

const LINE = 20; // the height of a line, as the style has it
const SPARE = 30; // lines that are drawn beyond what is seen
const CHARS = 4000; // of one line; the rest is in the plain text

const run = document.getElementById("run");
const viewer = document.getElementById("viewer");
const [spacer, pane] = [viewer.querySelector(".spacer"), viewer.querySelector(".window")];
const [tools, find, found] = ["tools", "find", "found"].map((id) => document.getElementById(id));
const [follow, copy] = ["follow", "copy"].map((id) => document.getElementById(id));

let key = null; // test-1
let lines = [];
let rest = ""; // the beginning of a line whose end is not there yet
let stream = null;
let follows = true;
let chosen = null; // [first, last] of the address
let hits = [];
let hit = -1;
let drawn = [0, 0];
let taken = 0; // characters that came
let byHand = false; // somebody chose this output

// ---- which output ---------------------------------------------------------------

const tabs = () => [...document.querySelectorAll("#run-tabs a")];
const mark = () => {
  for (const tab of tabs()) {
    if (tab.dataset.output === key) tab.setAttribute("aria-current", "true");
    else tab.removeAttribute("aria-current");
  }
};

function open(wanted) {
  const tab = tabs().find((tab) => tab.dataset.output === wanted);
  if (!tab || key === wanted) return;
  stream?.close();
  [key, lines, rest, hits, hit, chosen] = [wanted, [], "", [], -1, null];
  follows = true;
  viewer.hidden = tools.hidden = false;
  viewer.scrollTop = 0;
  mark();
  draw(true);
  taken = 0;
  viewer.dataset.done = "";
  listen(tab.dataset.stage, tab.dataset.attempt);
}

// The text comes from its beginning; what was taken before is left out.
function listen(stage, attempt) {
  const wanted = key;
  const query = new URLSearchParams({ stage, attempt });
  let skip = taken;
  stream = new EventSource(`/v1/runs/${run.dataset.run}/output?${query}`);
  const mine = stream;
  mine.addEventListener("output", (event) => {
    if (mine !== stream) return;
    const { text } = JSON.parse(event.data);
    const fresh = text.slice(skip);
    skip = Math.max(0, skip - text.length);
    taken += fresh.length;
    if (fresh) add(fresh);
  });
  mine.addEventListener("error", () => {
    // A stream that came to its end is not asked for again, unless it is still printed.
    const live = tabs().find((tab) => tab.dataset.output === wanted)?.dataset.live === "true";
    if (live || mine !== stream) return;
    mine.close();
    stream = null;
    viewer.dataset.done = wanted;
  });
}

function add(text) {
  const pieces = (rest + text).split("\n");
  rest = pieces.pop();
  for (const piece of pieces) lines.push(piece);
  if (find.value) search(lines.length - pieces.length);
  viewer.dataset.lines = lines.length;
  schedule();
}

let due = false;
function schedule() {
  if (due) return;
  due = true;
  requestAnimationFrame(() => {
    due = false;
    if (chosen) reach();
    draw(true);
    if (follows && !chosen) viewer.scrollTop = viewer.scrollHeight;
  });
}

// ---- drawing --------------------------------------------------------------------

function draw(anew) {
  const all = lines.length + (rest ? 1 : 0);
  spacer.style.height = `${all * LINE}px`;
  // A few lines take no more room than they need.
  viewer.style.height = all < 25 ? `${Math.max(2, all) * LINE + 2}px` : "";
  const first = Math.max(0, Math.floor(viewer.scrollTop / LINE) - SPARE);
  const last = Math.min(all, Math.ceil((viewer.scrollTop + (viewer.clientHeight || 400)) / LINE) + SPARE);
  if (!anew && first === drawn[0] && last === drawn[1]) return;
  drawn = [first, last];
  pane.style.top = `${first * LINE}px`;
  const focused = document.activeElement?.closest?.(".line a")?.hash;
  const rows = [];
  for (let n = first; n < last; n++) rows.push(row(n));
  pane.replaceChildren(...rows);
  if (focused) [...pane.querySelectorAll("a")].find((link) => link.hash === focused)?.focus({ preventScroll: true });
}

function row(n) {
  const row = document.createElement("div");
  row.className = "line";
  const number = document.createElement("a");
  number.href = `#${key}-L${n + 1}`;
  number.textContent = n + 1;
  number.setAttribute("aria-label", `Line ${n + 1}`);
  number.tabIndex = -1;
  const text = document.createElement("span");
  paint(text, lines[n] ?? rest);
  row.append(number, text);
  if (chosen && n + 1 >= chosen[0] && n + 1 <= chosen[1]) row.classList.add("here");
  if (hits[hit] === n) row.classList.add("hit");
  return row;
}

// Colours that were meant for a terminal become classes; every other control is left out. Text is set as text.
// No piece of it can begin again inside of another one, so a line takes as long as it is, whatever is in it.
const CONTROL = /\u001b\[([0-9;]*)m|\u001b\[[0-9;?]*[ -/]*[@-~]|\u001b\][^\u0007\u009c\u001b]*(?:\u0007|\u009c|\u001b\\)?|[\u0000-\u0008\u000b-\u001f\u007f\u009b]/g;
function paint(into, line) {
  const text = line.length > CHARS ? `${line.slice(0, CHARS)} …` : line;
  let [place, classes] = [0, new Set()];
  const put = (piece) => {
    if (!piece) return;
    const span = document.createElement("span");
    span.className = [...classes].join(" ");
    emphasise(span, piece);
    into.append(span);
  };
  for (const control of text.matchAll(CONTROL)) {
    put(text.slice(place, control.index));
    place = control.index + control[0].length;
    if (control[1] === undefined) continue;
    for (const code of control[1].split(";").map(Number)) {
      if (code === 0) classes.clear();
      else if (code === 1 || code === 2) classes.add(`a${code}`);
      else if (code === 22) ["a1", "a2"].forEach((name) => classes.delete(name));
      else if ((code >= 30 && code <= 39) || (code >= 90 && code <= 97)) {
        [...classes].filter((name) => name.length === 3).forEach((name) => classes.delete(name));
        if (code !== 39) classes.add(`a${code}`);
      }
    }
  }
  put(text.slice(place));
}

function emphasise(span, text) {
  const wanted = find.value.toLowerCase();
  const low = text.toLowerCase();
  if (!wanted || low.length !== text.length) return void (span.textContent = text);
  let place = 0;
  for (let at = low.indexOf(wanted); at >= 0; at = low.indexOf(wanted, place)) {
    const mark = document.createElement("mark");
    mark.textContent = text.slice(at, at + wanted.length);
    span.append(text.slice(place, at), mark);
    place = at + wanted.length;
  }
  span.append(text.slice(place));
}

// ---- searching ------------------------------------------------------------------

const bare = (line) => line.replace(CONTROL, "").toLowerCase();
function search(from = 0) {
  const wanted = find.value.toLowerCase();
  if (from === 0) [hits, hit] = [[], -1];
  if (wanted) for (let n = from; n < lines.length; n++) if (bare(lines[n]).includes(wanted)) hits.push(n);
  count();
}
const count = () => (found.textContent = !find.value ? "" : hits.length ? `${hit + 1} of ${hits.length}` : "none");
function go(by) {
  if (!hits.length) return count();
  hit = (hit + by + hits.length) % hits.length;
  hold();
  viewer.scrollTop = hits[hit] * LINE - viewer.clientHeight / 3;
  count();
  draw(true);
}
find.addEventListener("input", () => {
  search();
  if (hits.length) go(1);
  else draw(true);
});
find.addEventListener("keydown", (event) => {
  if (event.key === "Enter") go(event.shiftKey ? -1 : 1);
  else if (event.key === "Escape") {
    find.value = "";
    search();
    draw(true);
    viewer.focus();
  } else return;
  event.preventDefault();
});
document.getElementById("find-up").addEventListener("click", () => go(-1));
document.getElementById("find-down").addEventListener("click", () => go(1));

// ---- following, and staying -------------------------------------------------------

const sayFollow = () => follow.setAttribute("aria-pressed", String(follows));
function hold() {
  follows = false;
  sayFollow();
}
follow.addEventListener("click", () => {
  follows = !follows;
  if (follows) [chosen, viewer.scrollTop] = [null, viewer.scrollHeight];
  sayFollow();
  draw(true);
});
viewer.addEventListener("scroll", () => {
  const isAtEnd = viewer.scrollTop + viewer.clientHeight >= viewer.scrollHeight - LINE;
  if (follows !== isAtEnd && !chosen) {
    follows = isAtEnd;
    sayFollow();
  }
  draw(false);
});
addEventListener("resize", () => draw(true));

// ---- an address for every line ------------------------------------------------------

// #test-1-L12 or #test-1-L12-L20
const place = () => location.hash.match(/^#([a-z_]+-\d+)(?:-L(\d+)(?:-L(\d+))?)?$/);
let reached = null;
function reach() {
  const [first, last] = chosen;
  if (reached === location.hash || lines.length < Math.min(first, last)) return;
  reached = location.hash;
  draw(true);
  viewer.scrollTop = (first - 1) * LINE - viewer.clientHeight / 3;
}
function byAddress() {
  const [, wanted, first, last] = place() ?? [];
  if (!wanted) return false;
  open(wanted);
  if (key !== wanted) return false;
  byHand = true;
  chosen = first ? [Number(first), Number(last ?? first)].sort((a, b) => a - b) : null;
  reached = null;
  copy.hidden = !chosen;
  if (chosen) {
    hold();
    reach();
    document.getElementById("output").scrollIntoView({ block: "nearest" });
  }
  draw(true);
  return true;
}
viewer.addEventListener("click", (event) => {
  const number = event.target.closest(".line a");
  if (!number) return;
  event.preventDefault();
  const line = Number(number.textContent);
  const to = event.shiftKey && chosen ? `${key}-L${chosen[0]}-L${line}` : `${key}-L${line}`;
  history.replaceState(null, "", `${location.pathname}${location.search}#${to}`);
  byAddress();
});
copy.addEventListener("click", async () => {
  await navigator.clipboard?.writeText(location.href).catch(() => {});
  copy.textContent = "Copied";
  setTimeout(() => (copy.textContent = "Copy link"), 1500);
});
addEventListener("hashchange", byAddress);
document.addEventListener("click", (event) => {
  const link = event.target.closest?.("a[data-output]");
  if (!link || event.ctrlKey || event.metaKey || event.shiftKey) return;
  event.preventDefault();
  byHand = true;
  history.replaceState(null, "", `${location.pathname}${location.search}#${link.dataset.output}`);
  byAddress();
  if (!link.closest("#run-tabs")) document.getElementById("output").scrollIntoView({ block: "start" });
});

// ---- as it happens --------------------------------------------------------------------

document.addEventListener("landfall:tabs", ({ detail }) => {
  if (!detail) return;
  const suggested = detail.querySelector("[aria-current]")?.dataset.output;
  const focused = document.activeElement?.dataset?.output;
  document.getElementById("run-tabs").replaceWith(detail);
  if (focused) tabs().find((tab) => tab.dataset.output === focused)?.focus({ preventScroll: true });
  mark();
  // Whoever chose nothing sees what is printed now.
  if (!byHand && suggested) open(suggested);
});
// A browser has few connections for a server: a page that nobody sees holds none.
function leave() {
  stream?.close();
  stream = null;
}
document.addEventListener("visibilitychange", () => {
  if (document.hidden) return leave();
  const tab = tabs().find((tab) => tab.dataset.output === key);
  if (!stream && tab && viewer.dataset.done !== key) listen(tab.dataset.stage, tab.dataset.attempt);
});
addEventListener("pagehide", leave);

if (!byAddress()) open(tabs().find((tab) => tab.hasAttribute("aria-current"))?.dataset.output);
sayFollow();
