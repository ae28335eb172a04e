// The account: the identities of each receiver's ledger, both sides added up here, so that one sees that they hold.

import { byId, el, plain, replace, visible } from "./dom.js";
import { count, plural, reasons, words } from "./format.js";

const sum = (counts) => Object.values(counts ?? {}).reduce((total, one) => total + one, 0);

let shown = "";

/** Shows the ledgers. */
export function showAccount({ receivers }) {
  const text = JSON.stringify(receivers);
  if (text === shown) return;
  shown = text;
  const none = el("p", { class: "muted" }, "No receiver of ours is open, so there is no account.");
  replace(byId("account-body"), ...(receivers.length ? receivers.map(receiver) : [none]));
}

function receiver(ledger) {
  const messages = ["delivered", "queued", "overflow", "discarded", "pending", "lost"].map((name) => [name, ledger[name] ?? 0]);
  if (ledger.unknown !== undefined) messages.push(["unknown", ledger.unknown]);
  return el(
    "article",
    { class: "ledger", "data-balanced": String(ledger.balanced) },
    el("h3", {}, plain(ledger.address), " ", el("span", { class: `badge ${ledger.balanced ? "ok" : "bad"}` }, ledger.balanced ? "✓ balanced" : "✕ does not balance")),
    identity("Messages", [["sent", ledger.sent], ["before this collector joined", ledger.before_join, "−"]], messages),
    identity("Datagrams", [["arrived", ledger.datagrams_in]], [["accepted", ledger.accepted], ["refused", sum(ledger.refused)]]),
    identity("Lost", [["lost", ledger.lost]], Object.entries(ledger.lost_by_place ?? {})),
    el("dl", { class: "facts" }, ...factsOf(ledger).map(([name, said]) => el("div", {}, el("dt", {}, name), el("dd", {}, visible(said))))),
  );
}

/** A line such as "100 sent = 98 delivered + 2 lost". */
function identity(title, left, right) {
  const total = left.reduce((sofar, [, number, sign]) => sofar + (sign ? -number : number), 0);
  const holds = total === right.reduce((sofar, [, number]) => sofar + number, 0);
  const sign = holds ? "=" : "≠";
  return el(
    "div",
    { class: "identity", "data-holds": String(holds) },
    el("h4", {}, title),
    el("p", {}, ...terms(left), el("span", { class: "sign" }, sign), ...terms(right)),
  );
}

function terms(list) {
  return list.flatMap(([name, number, sign = "+"], index) => [
    index ? el("span", { class: "sign" }, sign) : null,
    el("span", { class: number ? "term" : "term zero" }, el("b", {}, count(number)), " ", words(name)),
  ]).filter(Boolean);
}

function factsOf(ledger) {
  const facts = [
    ["Refused, by reason", reasons(ledger.refused)],
    ["Arrived after being counted as lost", `${count(ledger.late)}, delivered and taken off the loss again`],
    ["Tail unknown", ledger.tail_unknown ? `${plural(ledger.tail_unknown, "sender")} fell silent without a goodbye and may have sent more` : "0"],
    ["Dropped by the kernel at this socket", ledger.kernel_drops === null ? "unknown: this system does not report it" : `${plural(ledger.kernel_drops, "datagram")}, counted in lost too`],
    ["Clock troubles", reasons(ledger.clock_troubles)],
    ["Sessions forgotten because the table was full", count(ledger.evicted)],
    ["Handler errors", count(ledger.handler_errors)],
  ];
  if (ledger.workers) facts.push(["Workers", `${count(ledger.workers)} running, ${count(ledger.replaced)} replaced, ${count(ledger.killed)} killed`]);
  return facts;
}
