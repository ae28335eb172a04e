// Where messages were lost: a bar in the colours of the legend, and the same in words.

import { el } from "./dom.js";
import { count } from "./format.js";

const PLACES = [
  ["sender_socket", "socket", "socket"],
  ["in_flight", "flight", "in flight"],
  ["receiver_queue", "queue", "queue"],
  ["unknown", "unknown", "where is unknown"],
];

/** In words, the places where something was lost. */
export function placeSummary(lost) {
  return PLACES.filter(([name]) => lost[name]).map(([name, , words]) => `${count(lost[name])} ${words}`).join(", ");
}

/** The bar with its words; null where nothing was lost. */
export function placeBar(lost) {
  const total = PLACES.reduce((sum, [name]) => sum + (lost[name] ?? 0), 0);
  const bar = el("span", { class: "places", "aria-hidden": "true" });
  for (const [name, style] of PLACES) {
    if (!lost[name]) continue;
    const part = el("span", { class: `swatch ${style}` });
    part.style.flexGrow = String(Math.max(lost[name] / total, 0.04));
    bar.append(part);
  }
  return total ? el("span", { class: "placed" }, bar, el("span", { class: "words" }, placeSummary(lost))) : null;
}
