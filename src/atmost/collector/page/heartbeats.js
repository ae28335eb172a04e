// The board of heartbeats, what needs attention first: each with its state, and the sentence that explains it.

import { addressOf, emptyState } from "./empty.js";
import { arrange, byId, el, plain, replace, setText, visible } from "./dom.js";
import { clock, count, duration, isoTime, percent } from "./format.js";

const MOST = 300;
const ORDER = ["down", "failed", "suspect", "unknown", "late", "up", "stopped"];
const MOODS = { down: "bad", failed: "bad", suspect: "warn", late: "warn", up: "ok" };
// A shape besides the colour.
const SIGNS = { down: "✕", failed: "✕", suspect: "▲", unknown: "?", late: "△", up: "●", stopped: "■" };

const cards = new Map();

/** Shows the board. */
export function showHeartbeats(answer, overview) {
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
  arrange(board, shown.map((one) => cardOf(one, answer.now)));
  const more = sorted.length - shown.length;
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
    "Nobody beats yet. The agent does; so does a line in your own program.",
    `atmost agent --url ${address}`,
    `atmost.Heartbeat(atmost.Sender("${address}"), "worker-7").start()`,
  );
}

function keyOf({ name, sender }) {
  return JSON.stringify([name, sender]);
}

function rank({ state }) {
  const found = ORDER.indexOf(state);
  return found < 0 ? ORDER.length : found;
}

function cardOf(one, now) {
  let card = cards.get(keyOf(one));
  if (!card) {
    const name = el("h3", {}, plain(one.name));
    const badge = el("span", { class: "badge" });
    const verdict = el("p", { class: "verdict" });
    const facts = el("p", { class: "muted facts-line" });
    card = { node: el("li", { class: "card" }, el("div", { class: "card-head" }, badge, name), verdict, facts), badge, verdict, facts, text: null };
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
  setText(card.facts, factsOf(one, now));
  card.facts.title = `every ${one.interval} s; down after ${duration(one.timeout)} of silence; ${one.state} since ${isoTime(one.since)}`;
  return card.node;
}

function factsOf(one, now) {
  const parts = [
    one.sender && one.sender !== one.name ? `from ${plain(one.sender)}` : null,
    `for ${duration(now - one.since)}`,
    one.last_beat === null ? "no beat yet" : `last beat ${clock(one.last_beat)}`,
    one.loss ? `${percent(one.loss)} of beats lost` : null,
  ];
  return parts.filter(Boolean).join(" · ");
}
