// Every subject seen, the busiest first: how often, how large, and the last payload, cut and escaped.

import { addressOf, emptyState } from "./empty.js";
import { byId, el, plain, replace, setText } from "./dom.js";
import { bytes, clock, count, plural, short } from "./format.js";

const MOST = 100;

let shown = "";

/** Shows the subjects. */
export function showSubjects({ subjects }, overview) {
  const text = JSON.stringify(subjects);
  if (text === shown && byId("subjects-body").firstChild) return;
  shown = text;
  if (!subjects.length) {
    const address = addressOf(overview, "atmost") ?? "udp://127.0.0.1:7140";
    setText(byId("subjects-note"), "");
    replace(byId("subjects-body"), emptyState("No message was seen yet. Send one, and tap them all.", `atmost send --url ${address} orders.new '{"id": 1}'`, `atmost listen --collector ${location.origin}`));
    return;
  }
  const sorted = [...subjects].sort((one, other) => other.rate - one.rate || other.last - one.last || (one.subject < other.subject ? -1 : 1));
  const more = sorted.length - MOST;
  setText(byId("subjects-note"), `${plural(sorted.length, "subject")}${more > 0 ? `, ${count(more)} not shown` : ""} · payloads are looked at once a second`);
  replace(byId("subjects-body"), table(sorted.slice(0, MOST)));
}

function table(subjects) {
  const number = (text) => el("td", { class: "number" }, text);
  const rows = subjects.map((one) =>
    el(
      "tr",
      {},
      el("th", { scope: "row" }, el("code", {}, plain(one.subject))),
      number(short(one.rate)),
      number(count(one.count)),
      number(bytes(one.size)),
      number(clock(one.last)),
      el("td", {}, plain(one.sender)),
      el("td", { class: "sample" }, el("code", {}, plain(one.payload), one.cut ? " …" : "")),
    ),
  );
  const names = ["Subject", "Rate /s", "Messages", "Size", "Last", "Sender", "Last payload"];
  const head = names.map((name, at) => el("th", { scope: "col", class: at > 0 && at < 5 ? "number" : false }, name));
  const made = el("table", {}, el("caption", { class: "hidden" }, "Subjects"), el("thead", {}, el("tr", {}, ...head)), el("tbody", {}, ...rows));
  for (const row of rows) [...row.children].slice(1).forEach((cell, index) => cell.setAttribute("data-label", names[index + 1]));
  return el("div", { class: "wide-scroll stacked", tabindex: "0", role: "group", "aria-label": "Subjects" }, made);
}
