// Where signals come in: the listeners, what they rejected with samples, and the limits of the collector's memory.

import { byId, el, plain, replace, setText, visible } from "./dom.js";
import { bytes, clock, count, isoTime, reasons, words } from "./format.js";

const shown = { listeners: "", limits: "", rejected: "" };

/** Shows the listeners and the limits of an overview. */
export function showIntake({ listeners, memory }) {
  if (changed("listeners", listeners)) replace(byId("listeners-body"), listenersTable(listeners));
  if (changed("limits", memory)) replace(byId("limits-body"), limitsTable(memory));
}

/** Shows what was rejected, a row for each reason at each listener: how often since the start, and the last sample. */
export function showRejected({ rejected }, overview) {
  const groups = grouped(rejected, overview);
  if (!changed("rejected", groups)) return;
  const none = el("p", { class: "muted" }, "Nothing was rejected: every line and datagram could be read.");
  replace(byId("rejected-body"), groups.length ? rejectedTable(groups) : none);
}

function listenersTable(listeners) {
  const rows = listeners.map((one) =>
    el(
      "tr",
      { "data-kind": plain(one.kind) },
      el("th", { scope: "row" }, plain(one.kind), " ", el("code", {}, plain(one.address)), one.warning ? el("p", { class: "notice warn" }, visible(one.warning)) : null),
      number(count(one.received)),
      number(count(one.accepted)),
      el("td", { class: "reasons" }, reasons(one.rejected)),
      number(one.kernel_drops === null ? "unknown" : count(one.kernel_drops)),
      number(count(one.queue_drops)),
    ),
  );
  return table("Listeners", ["Listener", "Received", "Accepted", "Rejected", "Kernel drops", "Queue drops"], rows, [1, 2, 4, 5]);
}

function limitsTable({ bytes: used, limits }) {
  const rows = limits.map((limit) => {
    const meter = el("meter", { min: "0", max: String(limit.max), value: String(limit.used), high: String(limit.max * 0.9), "aria-hidden": "true" });
    const hit = number(count(limit.hit));
    if (limit.hit) hit.dataset.mood = "warn";
    return el("tr", {}, el("th", { scope: "row" }, plain(words(limit.name))), number(count(limit.used)), number(count(limit.max)), el("td", {}, meter), hit);
  });
  const made = table("Memory and its limits", ["Limit", "Used", "Most", "Share", "Refused by it"], rows, [1, 2, 4]);
  return el("div", {}, el("p", { class: "muted" }, used === null ? "This system does not report how much memory the collector uses." : `${bytes(used)} resident in memory.`), made);
}

/** The samples by listener and reason, the one rejected last first, with the listener's own count. */
function grouped(rejected, overview) {
  const groups = new Map();
  for (const sample of [...rejected].sort((one, other) => one.t - other.t)) {
    const key = JSON.stringify([sample.listener, sample.address, sample.reason]);
    const group = groups.get(key) ?? { peers: [] };
    const host = sample.peer.replace(/:\d+$/, "");
    const peers = group.peers.includes(host) ? group.peers : [...group.peers, host];
    const listener = overview?.listeners.find((one) => one.kind === sample.listener && (!sample.address || one.address === sample.address));
    groups.delete(key);
    groups.set(key, { ...sample, peers, count: listener?.rejected[sample.reason] ?? null });
  }
  return [...groups.values()].reverse();
}

function rejectedTable(groups) {
  const rows = groups.map((one) =>
    el(
      "tr",
      {},
      el("td", {}, plain(words(one.reason))),
      number(one.count === null ? "–" : count(one.count)),
      el("td", {}, plain(one.listener)),
      el("td", {}, plain(one.peers.slice(-3).join(", ")), one.peers.length > 3 ? ` and ${count(one.peers.length - 3)} more` : ""),
      el("td", { title: isoTime(one.t) }, clock(one.t)),
      el("td", { class: "sample" }, el("code", {}, plain(one.sample))),
    ),
  );
  return table("What was rejected, by reason", ["Reason", "Count", "Listener", "From", "Last", "Last sample"], rows, [1]);
}

function table(caption, headings, rows, numbers) {
  const head = headings.map((text, index) => el("th", { scope: "col", class: numbers.includes(index) ? "number" : false }, text));
  const made = el("table", {}, el("caption", { class: "hidden" }, caption), el("thead", {}, el("tr", {}, ...head)), el("tbody", {}, ...rows));
  for (const row of rows) [...row.children].forEach((cell, index) => cell.tagName === "TD" && cell.setAttribute("data-label", headings[index]));
  return el("div", { class: "wide-scroll stacked", tabindex: "0", role: "group", "aria-label": caption }, made);
}

function number(text) {
  const cell = el("td", { class: "number" });
  setText(cell, text);
  return cell;
}

function changed(name, value) {
  const text = JSON.stringify(value);
  if (shown[name] === text) return false;
  shown[name] = text;
  return true;
}
