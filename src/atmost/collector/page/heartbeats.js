// The board of heartbeats, what needs attention first: each with its state, and the sentence that explains it.

import { addressOf, emptyState } from "./empty.js";
import { arrange, byId, el, plain, replace, setText, visible } from "./dom.js";
import { clock, count, duration, isoTime, percent, plural } from "./format.js";

const MOST = 300;
const ORDER = ["down", "failed", "suspect", "unknown", "late", "up", "stopped"];
const MOODS = { down: "bad", failed: "bad", suspect: "warn", late: "warn", up: "ok" };
// A shape besides the colour.
const SIGNS = { down: "✕", failed: "✕", suspect: "▲", unknown: "?", late: "△", up: "●", stopped: "■" };

const STATES = { u: "up", l: "late", w: "suspect", "?": "unknown", d: "down", f: "failed", s: "stopped" };
const FORGETTABLE = new Set(["down", "failed", "stopped", "unknown"]);
const SLOT = 900;

const cards = new Map();

/** Shows the board. */
export function showHeartbeats(answer, overview, api) {
  const body = byId("heartbeats-body");
  if (!answer.heartbeats.length) {
    cards.clear();
    setText(byId("heartbeats-note"), "");
    if (!body.querySelector(".empty")) replace(body, nobody(overview));
    return;
  }
  let board = body.querySelector("ul");
  if (!board) {
    board = el("ul", { class: "board" });
    replace(body, board);
  }
  const sorted = [...answer.heartbeats].sort(
    (one, other) => rank(one) - rank(other) || one.name.localeCompare(other.name) || one.sender.localeCompare(other.sender),
  );
  const shown = sorted.slice(0, MOST);
  const known = new Set(shown.map(keyOf));
  for (const key of cards.keys()) if (!known.has(key)) cards.delete(key);
  arrange(board, shown.map((one) => cardOf(one, answer.now, api)));
  const more = sorted.length - shown.length + (answer.truncated ?? 0);
  setText(byId("heartbeats-note"), more ? `${count(more)} not shown` : "");
}

/** Goes to the heartbeats of a sender, and marks them. */
export function showHeartbeatsOf(sender) {
  let first = null;
  for (const [key, card] of cards) {
    const [name, from] = JSON.parse(key);
    const its = from === sender || name === sender;
    card.node.classList.toggle("marked", its);
    if (its) first ??= card.node;
  }
  (first ?? byId("heartbeats")).scrollIntoView({ block: "center" });
}

function nobody(overview) {
  const address = addressOf(overview, "atmost") ?? "udp://127.0.0.1:7140";
  return emptyState(
    "No heartbeat was heard yet. The agent sends one; a line in your own program does too.",
    `atmost agent --url ${address}`,
    `atmost.Heartbeat(atmost.Sender("${address}"), "worker-7").start()`,
  );
}

function keyOf({ name, sender, key_id: key }) {
  return JSON.stringify([name, sender, key]);
}

function rank({ state }) {
  const found = ORDER.indexOf(state);
  return found < 0 ? ORDER.length : found;
}

function cardOf(one, now, api) {
  let card = cards.get(keyOf(one));
  if (!card) {
    card = makeCard(one, api);
    cards.set(keyOf(one), card);
  }
  card.node.dataset.state = one.state;
  card.node.dataset.mood = MOODS[one.state] ?? "";
  card.badge.className = `badge ${MOODS[one.state] ?? ""}`;
  setText(card.badge, `${SIGNS[one.state] ?? "?"} ${plain(one.state)}`);
  if (card.text !== one.verdict) {
    card.text = one.verdict;
    replace(card.verdict, visible(one.verdict));
  }
  card.conflict.hidden = !one.conflict;
  setText(card.conflict, one.conflict ? `conflict: ${plain(one.conflict)} beats under this name too` : "");
  setText(card.facts, factsOf(one, now));
  card.facts.title = `every ${one.interval} s; down after ${duration(one.timeout)} of silence; ${one.state} since ${isoTime(one.since)}`;
  card.forget.hidden = !FORGETTABLE.has(one.state);
  showStrip(card, one, now);
  return card.node;
}

function makeCard(one, api) {
  const name = el("h3", {}, plain(one.name));
  const badge = el("span", { class: "badge" });
  const forget = el("button", { type: "button", class: "quiet forget", hidden: true }, "Forget");
  const verdict = el("p", { class: "verdict" });
  const conflict = el("p", { class: "conflict", hidden: true });
  const strip = el("div", { class: "strip", role: "img" });
  const facts = el("p", { class: "muted facts-line" });
  const node = el("li", { class: "card" }, el("div", { class: "card-head" }, badge, name, forget), verdict, conflict, strip, facts);
  const card = { node, badge, forget, verdict, conflict, strip, facts, text: null, letters: null, asked: false };
  forget.addEventListener("click", () => forgetIt(card, one, api));
  forget.addEventListener("blur", () => ask(card, false));
  return card;
}

/** The first click asks, the second one forgets. */
async function forgetIt(card, one, api) {
  if (!card.asked) return ask(card, true);
  try {
    await api.delete("heartbeats", { name: one.name, key_id: one.key_id });
    card.node.remove();
  } catch (error) {
    setText(card.verdict, error.message);
  }
}

function ask(card, asked) {
  card.asked = asked;
  setText(card.forget, asked ? "Forget until it beats again?" : "Forget");
}

/** The gravest state of each quarter of an hour of the last day. */
function showStrip(card, { history, uptime }, now) {
  card.strip.hidden = !history;
  if (!history || card.letters === history) return;
  card.letters = history;
  const from = (Math.floor(now / SLOT) + 1 - history.length) * SLOT;
  const runs = [];
  [...history].forEach((letter, index) => {
    if (runs.at(-1)?.letter === letter) runs.at(-1).end = index + 1;
    else runs.push({ letter, start: index, end: index + 1 });
  });
  replace(card.strip, ...runs.map(({ letter, start, end }) => {
    const part = el("span", { class: `slot ${STATES[letter] ?? "nothing"}`, title: `${clock(from + start * SLOT)} to ${clock(from + end * SLOT)}: ${STATES[letter] ?? "nothing known"}` });
    part.style.flexGrow = String(end - start);
    return part;
  }));
  card.strip.setAttribute("aria-label", `The last 24 hours: ${uptime === null ? "nothing known" : `up ${percent(uptime)} of the known time`}`);
}

function factsOf(one, now) {
  const parts = [
    one.sender && one.sender !== one.name ? `from ${plain(one.sender)}` : null,
    `for ${duration(now - one.since)}`,
    one.last_beat === null ? (one.expected ? "expected, no beat yet" : "no beat yet") : `last beat ${clock(one.last_beat)}`,
    typeof one.uptime === "number" ? `up ${percent(one.uptime)} in 24 h` : null,
    one.flaps ? `went down and came back ${plural(one.flaps, "time")}` : null,
    one.missed ? `${plural(one.missed, "beat")} missed` : null,
    one.loss ? `${percent(one.loss)} of beats lost` : null,
  ];
  return parts.filter(Boolean).join(" · ");
}
