// The table of senders: who sends how much, and how much of it is lost where. A row opens to everything that is known.

import { emptyState, addressOf } from "./empty.js";
import { arrange, byId, el, plain, replace, setText, visible } from "./dom.js";
import { count, duration, percent, plural, reasons, short } from "./format.js";
import { placeBar, placeSummary } from "./places.js";

const MOST = 200;
const COLUMNS = [
  ["name", "Sender", "text"],
  ["tail", "State", "text"],
  ["rate", "Rate /s", "number mid"],
  ["delivered", "Delivered", "number wide"],
  ["lost", "Lost", "number"],
  ["loss_ratio", "Loss", "number"],
  ["place", "Where", "text wide"],
  ["late", "Late", "number wide"],
  ["pending", "Pending", "number wide"],
  ["last_seen", "Last seen", "number wide"],
];

const rows = new Map();
let sorting = { by: "lost", down: true };
let latest = null;
let table = null;

/** Shows the senders; `overview` names the address that a first one would send to. */
export function showSenders(answer, overview) {
  latest = answer;
  const body = byId("senders-body");
  if (!answer.senders.length) {
    table = null;
    rows.clear();
    setText(byId("senders-note"), "");
    if (!body.querySelector(".empty")) replace(body, nobody(overview));
    return;
  }
  if (!table) {
    table = makeTable();
    replace(body, el("div", { class: "wide-scroll" }, table));
  }
  show();
}

function show() {
  const sorted = [...latest.senders].sort(compare);
  const shown = sorted.slice(0, MOST);
  const known = new Set(shown.map((sender) => sender.id));
  for (const id of rows.keys()) if (!known.has(id)) rows.delete(id);
  arrange(table.tBodies[0], shown.flatMap((sender) => rowsOf(sender)));
  for (const [name, heading] of table.headings) {
    if (name !== sorting.by) heading.removeAttribute("aria-sort");
    else heading.setAttribute("aria-sort", sorting.down ? "descending" : "ascending");
  }
  const more = sorted.length - shown.length + latest.truncated;
  setText(byId("senders-note"), plural(sorted.length + latest.truncated, "sender") + (more ? `, ${count(more)} not shown` : ""));
}

function nobody(overview) {
  const address = addressOf(overview, "atmost");
  if (!address) return emptyState("This collector takes no datagrams of ours: its listener is off. Start it with --bind.", "atmost collect --bind udp://127.0.0.1:7140");
  return emptyState("No sender was heard yet. Start one: it sends this host's readings, a heartbeat, and log files if you name them.", `atmost agent --url ${address}`);
}

function makeTable() {
  const headings = COLUMNS.map(([name, title, style]) => {
    const sorts = name !== "place";
    const inside = sorts ? el("button", { type: "button", onclick: () => sortBy(name) }, title) : title;
    return [name, el("th", { scope: "col", class: style }, inside)];
  });
  const made = el("table", { class: "senders" }, el("caption", { class: "hidden" }, "Senders, and what of theirs is lost where"));
  made.append(el("thead", {}, el("tr", {}, ...headings.map(([, heading]) => heading))), el("tbody"));
  made.headings = headings;
  return made;
}

function sortBy(name) {
  const text = name === "name" || name === "tail" || name === "last_seen";
  sorting = { by: name, down: sorting.by === name ? !sorting.down : !text };
  show();
}

function compare(one, other) {
  const [a, b] = [one[sorting.by], other[sorting.by]];
  const order = typeof a === "string" ? a.localeCompare(b) : (a ?? -1) - (b ?? -1);
  return (sorting.down ? -order : order) || other.rate - one.rate || one.name.localeCompare(other.name) || (one.id < other.id ? -1 : 1);
}

function rowsOf(sender) {
  let row = rows.get(sender.id);
  if (!row) {
    row = makeRow(sender);
    rows.set(sender.id, row);
  }
  update(row, sender);
  return row.open ? [row.line, row.details] : [row.line];
}

function makeRow(sender) {
  const button = el("button", { type: "button", class: "opener", "aria-expanded": "false" });
  const where = el("span", { class: "muted where" });
  const warning = el("span", { class: "badge warn", hidden: true }, "clock");
  const cells = COLUMNS.map(([name, , style]) => (name === "name" ? el("th", { scope: "row", class: style }, button, where, warning) : el("td", { class: style })));
  const facts = el("td", { colspan: String(COLUMNS.length) });
  const row = { open: false, line: el("tr", {}, ...cells), details: el("tr", { class: "details" }, facts), button, where, warning, cells, facts, text: "" };
  button.addEventListener("click", () => {
    row.open = !row.open;
    button.setAttribute("aria-expanded", String(row.open));
    show();
  });
  row.line.dataset.sender = sender.id;
  return row;
}

function update(row, sender) {
  const text = JSON.stringify(sender);
  if (row.text === text) return;
  row.text = text;
  setText(row.button, plain(sender.name) || sender.id);
  setText(row.where, `${plain(sender.host)} · ${sender.pid}`);
  row.warning.hidden = !sender.clock_warning;
  const [, tail, rate, delivered, lost, ratio, place, late, pending, seen] = row.cells;
  if (tail.dataset.state !== sender.tail) {
    tail.dataset.state = sender.tail;
    replace(tail, el("span", { class: `badge ${{ alive: "ok", silent: "warn" }[sender.tail] ?? ""}` }, plain(sender.tail)));
  }
  setText(rate, short(sender.rate));
  setText(delivered, count(sender.delivered));
  setText(lost, count(sender.lost));
  lost.dataset.mood = sender.lost ? "bad" : "";
  setText(ratio, percent(sender.loss_ratio));
  if (place.dataset.lost !== JSON.stringify(sender.lost_by_place)) {
    place.dataset.lost = JSON.stringify(sender.lost_by_place);
    replace(place, placeBar(sender.lost_by_place));
  }
  setText(late, count(sender.late));
  setText(pending, count(sender.pending));
  setText(seen, sender.last_seen === null ? "–" : duration(sender.last_seen));
  if (row.open || !row.facts.firstChild) replace(row.facts, factsOf(sender));
}

function factsOf(sender) {
  const facts = [
    ["Sent", `${count(sender.sent)}, of which ${count(sender.before_join)} before this collector joined`],
    ["Delivered", `${short(sender.rate)} a second, ${count(sender.delivered)}, ${count(sender.late)} of them late; ${count(sender.pending)} pending`],
    ["Lost", sender.lost ? `${count(sender.lost)} (${percent(sender.loss_ratio)}): ${placeSummary(sender.lost_by_place)}` : "0"],
    ["Datagrams refused here", reasons(sender.refused)],
    ["Given to the sender", `${count(sender.sender_offered)}, as its last beacon says`],
    ["Dropped by the sender", reasons(sender.sender_dropped)],
    ["Refused by its socket", reasons(sender.sender_refused)],
    ["Session", `${sender.id}, ${sender.key_id ? `proved by key ${sender.key_id}` : "without a key"}`],
  ];
  const list = el("dl", { class: "facts" }, ...facts.map(([name, text]) => el("div", {}, el("dt", {}, name), el("dd", {}, visible(text)))));
  if (!sender.clock_warning) return list;
  return el("div", {}, el("p", { class: "notice warn" }, visible(sender.clock_warning)), list);
}
