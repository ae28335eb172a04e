// Where signals come in: the listeners, what they rejected with samples, and the limits of the collector's memory.

import { byId, el, plain, replace, setText, visible } from "./dom.js";
import { bytes, clock, count, isoTime, reasons, words } from "./format.js";

const shown = { listeners: "", limits: "", rejected: "" };

/** Shows the listeners and the limits of an overview. */
export function showIntake({ listeners, memory }) {
  if (changed("listeners", listeners)) replace(byId("listeners-body"), listenersTable(listeners));
  if (changed("limits", memory)) replace(byId("limits-body"), limitsTable(memory));
}

/** Shows the samples of what was rejected, the last one first. */
export function showRejected({ rejected }) {
  if (!changed("rejected", rejected)) return;
  const none = el("p", { class: "muted" }, "Nothing was rejected: every line and datagram could be read.");
  replace(byId("rejected-body"), rejected.length ? rejectedTable(rejected) : none);
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
  const made = table("Memory and its limits", ["Limit", "Used", "Most", "", "Refused by it"], rows, [1, 2, 4]);
  return el("div", {}, el("p", { class: "muted" }, used === null ? "This system does not tell how much memory the collector uses." : `${bytes(used)} resident in memory.`), made);
}

function rejectedTable(rejected) {
  const rows = [...rejected]
    .sort((one, other) => other.t - one.t)
    .map((one) =>
      el(
        "tr",
        {},
        el("td", { title: isoTime(one.t) }, clock(one.t)),
        el("td", {}, plain(one.listener)),
        el("td", {}, plain(one.peer)),
        el("td", {}, plain(words(one.reason))),
        el("td", { class: "sample" }, el("code", {}, plain(one.sample))),
      ),
    );
  return table("Samples of what was rejected", ["Time", "Listener", "From", "Reason", "Sample"], rows, []);
}

function table(caption, headings, rows, numbers) {
  const head = headings.map((text, index) => el("th", { scope: "col", class: numbers.includes(index) ? "number" : false }, text));
  const made = el("table", {}, el("caption", { class: "hidden" }, caption), el("thead", {}, el("tr", {}, ...head)), el("tbody", {}, ...rows));
  return el("div", { class: "wide-scroll", tabindex: "0", role: "group", "aria-label": caption }, made);
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
