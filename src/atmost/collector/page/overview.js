// The first row: what the whole collector knows, in one line of figures, and what it warns of.

import { arrange, byId, el, plain, replace, setText, visible } from "./dom.js";
import { count, duration, percent, plural, reasons, short, UNKNOWN } from "./format.js";
import { placeSummary } from "./places.js";

const tiles = new Map();

/** Shows an overview; called every second. */
export function showOverview(overview) {
  const { totals, alive } = overview;
  const known = totals.delivered + totals.lost;
  const refused = Object.values(totals.refused).reduce((sum, one) => sum + one, 0);
  setText(byId("host"), plain(overview.host));
  setText(byId("version"), `atmost ${plain(overview.version)}, up for ${duration(overview.now - overview.started)}`);
  arrange(byId("tiles"), [
    tile("Messages a second", short(totals.rate), plural(totals.senders, "live session")),
    tile("Lost now", count(totals.minute.lost), nowNote(totals.minute), totals.minute.lost ? "bad" : ""),
    tile("Delivered", count(totals.delivered), totals.late ? `since the start, ${count(totals.late)} of them late` : "since the start, each at most once"),
    tile("Lost since the start", count(totals.lost), lossNote(totals, known)),
    tile("Pending", count(totals.pending), "still within the grace"),
    tile("Duplicates refused", count(totals.duplicates_refused), "datagrams"),
    tile("Refused", count(refused - totals.duplicates_refused), otherReasons(totals.refused), totals.refused_senders ? "warn" : ""),
    tile("Tail unknown", count(totals.tail_unknown), "silent without a goodbye"),
    heartbeatTile(alive),
  ]);
  showWarnings(overview.warnings);
}

function tile(name, figure, note, mood = "") {
  let node = tiles.get(name);
  if (!node) {
    node = el("div", { class: "tile" }, el("dt", {}, name), el("dd", { class: "figure" }), el("dd", { class: "note" }));
    tiles.set(name, node);
  }
  node.dataset.mood = mood;
  setText(node.children[1], figure);
  setText(node.children[2], note);
  return node;
}

function nowNote({ delivered, lost, late }) {
  if (!delivered && !lost) return "nothing was sent in the last minute";
  const came = late ? `; ${count(late)} came late` : "";
  return lost ? `in the last minute, ${percent(lost / (delivered + lost))}${came}` : `of ${count(delivered)} in the last minute${came}`;
}

function lossNote(totals, known) {
  if (!known) return "nothing was sent yet";
  if (!totals.lost) return `of ${count(known)}`;
  return `${percent(totals.lost / known)}: ${placeSummary(totals.lost_by_place)}`;
}

function otherReasons(refused) {
  const { duplicate, ...others } = refused;
  return reasons(others, "datagrams");
}

function heartbeatTile(alive) {
  const counted = Object.entries(alive).filter(([, number]) => number).map(([name, number]) => [`${count(number)} ${name}`, name]);
  if (!counted.length) return tile("Heartbeats", UNKNOWN, "nobody beats");
  const worst = ["down", "failed", "suspect", "up"].find((name) => alive[name]) ?? counted[0][1];
  const others = counted.filter(([, name]) => name !== worst).map(([text]) => text);
  const mood = { down: "bad", failed: "bad", suspect: "warn" }[worst];
  return tile("Heartbeats", `${count(alive[worst])} ${worst}`, others.join(", ") || "nobody is missed", mood);
}

function showWarnings(warnings) {
  const list = byId("warnings");
  const shown = JSON.stringify(warnings);
  if (list.dataset.shown === shown) return;
  list.dataset.shown = shown;
  list.hidden = !warnings.length;
  replace(list, ...warnings.map((text) => el("li", { class: "notice warn" }, visible(text))));
}
