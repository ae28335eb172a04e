// The table of senders, one row a name: who sends how much, and how much of it is lost where. A row opens to everything that
// is known, its sessions among it. Above it stand those that were never accepted, with the reason.

import { emptyState, addressOf } from "./empty.js";
import { arrange, byId, el, plain, replace, setText, visible } from "./dom.js";
import { clock, count, duration, isoTime, percent, plural, reasons, short, words } from "./format.js";
import { placeBar, placeSummary } from "./places.js";
import { readChoice, writeChoice } from "./storage.js";

const MOST = 200;
const SESSIONS = 20;
const PAUSE = 200;
const COLUMNS = [
  ["name", "Sender", "text"],
  ["tail", "State", "text"],
  ["rate", "Rate /s", "number mid"],
  ["lost_now", "Lost now", "number", "In the last minute, including those that came late"],
  ["delivered", "Delivered", "number wide"],
  ["lost", "Lost", "number", "Since the collector first heard these sessions, less those that came late"],
  ["loss_ratio", "Loss", "number mid"],
  ["place", "Where", "text wide"],
  ["late", "Late", "number wide broad"],
  ["pending", "Pending", "number wide broad"],
  ["last_seen", "Last seen", "number wide"],
];

export class Senders {
  #api;
  #links;
  #rows = new Map();
  #sorting = { by: "lost_now", down: true };
  #latest = null;
  #found = null;
  #overview = null;
  #table = null;
  #timer = null;
  #refused = "";

  /** `links` are called with a sender's name: {logs, series, heartbeats}. */
  constructor(api, links) {
    this.#api = api;
    this.#links = links;
    byId("senders-ended").checked = readChoice("ended", "false") === "true";
    byId("senders-ended").addEventListener("change", (event) => {
      writeChoice("ended", String(event.target.checked));
      this.#show();
    });
    byId("senders-filter").addEventListener("submit", (event) => event.preventDefault());
    byId("senders-text").addEventListener("input", () => {
      clearTimeout(this.#timer);
      this.#timer = setTimeout(() => this.#search(), PAUSE);
    });
  }

  /** Shows the senders; `overview` names the address that a first one would send to. */
  take(answer, overview) {
    this.#latest = answer;
    this.#overview = overview;
    this.#showRefused(answer.refused ?? []);
    if (this.#found) this.#search();
    else this.#show();
  }

  /** Where the stream leaves senders out, the collector is asked for those that match. */
  async #search() {
    const text = byId("senders-text").value.trim();
    this.#found = null;
    if (text && this.#latest?.truncated) this.#found = await this.#api.get("senders", { match: text, limit: MOST }).catch(() => null);
    this.#show();
  }

  #show() {
    const answer = this.#found ?? this.#latest;
    if (!answer) return;
    const body = byId("senders-body");
    if (!this.#latest.senders.length) {
      this.#table = null;
      this.#rows.clear();
      setText(byId("senders-note"), "");
      byId("senders-filter").hidden = true;
      if (!body.querySelector(".empty")) replace(body, nobody(this.#overview));
      return;
    }
    byId("senders-filter").hidden = false;
    if (!this.#table) {
      this.#table = this.#makeTable();
      replace(body, el("div", { class: "wide-scroll", tabindex: "0", role: "group", "aria-label": "Senders" }, this.#table), el("p", { id: "senders-none", class: "muted", hidden: true }, "No sender passes this filter."));
    }
    this.#fill(answer);
  }

  #fill(answer) {
    const wanted = byId("senders-text").value.trim().toLowerCase();
    const withEnded = byId("senders-ended").checked;
    const matching = answer.senders.filter((one) => !wanted || `${one.name} ${one.host}`.toLowerCase().includes(wanted));
    const passing = matching.filter((one) => withEnded || one.tail !== "closed");
    const sorted = passing.sort((one, other) => this.#compare(one, other));
    const shown = sorted.slice(0, MOST);
    const known = new Set(shown.map((sender) => sender.id));
    for (const id of this.#rows.keys()) if (!known.has(id)) this.#rows.delete(id);
    arrange(this.#table.tBodies[0], shown.flatMap((sender) => this.#rowsOf(sender)));
    for (const [name, heading] of this.#table.headings) {
      if (name !== this.#sorting.by) heading.removeAttribute("aria-sort");
      else heading.setAttribute("aria-sort", this.#sorting.down ? "descending" : "ascending");
    }
    byId("senders-none").hidden = shown.length > 0;
    const ended = matching.length - passing.length;
    const more = sorted.length - shown.length + answer.truncated;
    const sessions = answer.senders.reduce((sum, one) => sum + one.sessions, 0);
    const parts = [plural(answer.senders.length + answer.truncated, "sender"), plural(sessions, "session")];
    if (ended) parts.push(`${count(ended)} ended, not shown`);
    if (more) parts.push(`${count(more)} more not shown: filter to find them`);
    setText(byId("senders-note"), parts.join(" · "));
  }

  #makeTable() {
    const headings = COLUMNS.map(([name, title, style, about]) => {
      const sorts = name !== "place";
      const inside = sorts ? el("button", { type: "button", title: about ?? false, onclick: () => this.#sortBy(name) }, title) : title;
      return [name, el("th", { scope: "col", class: style }, inside)];
    });
    const made = el("table", { class: "senders" }, el("caption", { class: "hidden" }, "Senders, and where their messages are lost"));
    made.append(el("thead", {}, el("tr", {}, ...headings.map(([, heading]) => heading))), el("tbody"));
    made.headings = headings;
    return made;
  }

  #sortBy(name) {
    const text = name === "name" || name === "tail" || name === "last_seen";
    this.#sorting = { by: name, down: this.#sorting.by === name ? !this.#sorting.down : !text };
    this.#show();
  }

  #compare(one, other) {
    const { by, down } = this.#sorting;
    const [a, b] = [figure(one, by), figure(other, by)];
    const order = typeof a === "string" ? a.localeCompare(b) : (a ?? -1) - (b ?? -1);
    return (down ? -order : order) || other.lost - one.lost || one.name.localeCompare(other.name) || (one.id < other.id ? -1 : 1);
  }

  #rowsOf(sender) {
    let row = this.#rows.get(sender.id);
    if (!row) {
      row = this.#makeRow(sender);
      this.#rows.set(sender.id, row);
    }
    this.#update(row, sender);
    return row.open ? [row.line, row.details] : [row.line];
  }

  #makeRow(sender) {
    const button = el("button", { type: "button", class: "opener", "aria-expanded": "false" });
    const where = el("span", { class: "muted where" });
    const warning = el("span", { class: "badge warn", hidden: true }, "clock");
    const cells = COLUMNS.map(([name, , style]) => (name === "name" ? el("th", { scope: "row", class: style }, button, where, warning) : el("td", { class: style })));
    const facts = el("div");
    const sessions = el("div", { class: "sessions" });
    const about = el("td", { colspan: String(COLUMNS.length) }, this.#linksOf(sender), facts, sessions);
    const row = { open: false, line: el("tr", {}, ...cells), details: el("tr", { class: "details" }, about), button, where, warning, cells, facts, sessions, text: "" };
    button.addEventListener("click", () => {
      row.open = !row.open;
      button.setAttribute("aria-expanded", String(row.open));
      row.text = "";
      this.#show();
    });
    row.line.dataset.sender = sender.id;
    return row;
  }

  #linksOf({ name }) {
    if (!name) return null;
    const link = (text, act) => el("button", { type: "button", class: "link-button", onclick: () => act(name) }, text);
    return el("p", { class: "links" }, link("Its log", this.#links.logs), link("Its series", this.#links.series), link("Its heartbeats", this.#links.heartbeats));
  }

  #update(row, sender) {
    if (row.open) this.#showSessions(row, sender);
    const text = JSON.stringify(sender);
    if (row.text === text) return;
    row.text = text;
    setText(row.button, plain(sender.name) || sender.id);
    setText(row.where, placeOf(sender));
    row.warning.hidden = !sender.clock_warning;
    const [, tail, rate, now, delivered, lost, ratio, place, late, pending, seen] = row.cells;
    if (tail.dataset.state !== sender.tail) {
      tail.dataset.state = sender.tail;
      replace(tail, badgeOf(sender.tail));
    }
    setText(rate, short(sender.rate));
    setText(now, sender.minute ? count(sender.minute.lost) : "–");
    now.dataset.mood = sender.minute?.lost ? "bad" : "";
    setText(delivered, count(sender.delivered));
    setText(lost, count(sender.lost));
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

  /** The sessions of an open row, asked for each time the senders are told anew. */
  async #showSessions(row, sender) {
    if (row.asking) return;
    row.asking = true;
    const answer = await this.#api.get("sessions", { sender: sender.name || sender.id, limit: SESSIONS }).catch(() => null);
    row.asking = false;
    if (answer) replace(row.sessions, sessionsTable(answer));
  }

  #showRefused(refused) {
    const text = JSON.stringify(refused);
    if (text === this.#refused) return;
    this.#refused = text;
    const place = byId("senders-refused");
    place.hidden = !refused.length;
    replace(place, refused.length ? refusedTable(refused) : null);
  }
}

function figure(sender, by) {
  return by === "lost_now" ? (sender.minute?.lost ?? null) : sender[by];
}

function placeOf(sender) {
  if (sender.sessions === 1) return `${plain(sender.host)} · ${sender.pid}`;
  const hosts = sender.hosts > 1 ? `${count(sender.hosts)} hosts` : plain(sender.host);
  return `${hosts} · ${count(sender.sessions)} sessions, ${count(sender.alive)} alive`;
}

function badgeOf(tail) {
  return el("span", { class: `badge ${{ alive: "ok", silent: "warn" }[tail] ?? ""}` }, plain(tail));
}

function nobody(overview) {
  const address = addressOf(overview, "atmost");
  if (!address) return emptyState("This collector does not receive from atmost's own senders: its listener is off. Start it with --bind.", "atmost collect --bind udp://127.0.0.1:7140");
  return emptyState("No sender was heard yet. Start one: it sends this host's readings, a heartbeat, and log files if you name them.", `atmost agent --url ${address}`);
}

function factsOf(sender) {
  const { minute } = sender;
  const facts = [
    ["Now, in the last minute", minute ? `${count(minute.delivered)} delivered, ${count(minute.lost)} lost, ${count(minute.late)} late` : "not kept apart: there are more senders than max_exported_senders"],
    ["Sent", `${count(sender.sent)}, of which ${count(sender.before_join)} before this collector joined`],
    ["Delivered", `${short(sender.rate)} a second, ${count(sender.delivered)}, ${count(sender.late)} of them late; ${count(sender.pending)} pending`],
    ["Lost", sender.lost ? `${count(sender.lost)} (${percent(sender.loss_ratio)}): ${placeSummary(sender.lost_by_place)}` : "0"],
    ["Datagrams refused here", reasons(sender.refused)],
    ["Given to the sender", `${count(sender.sender_offered)}, as its last beacon says`],
    ["Dropped by the sender", reasons(sender.sender_dropped)],
    ["Refused by its socket", reasons(sender.sender_refused)],
    ["Proof", sender.key_id ? `key ${sender.key_id}` : "none: it sends without a key"],
  ];
  const list = el("dl", { class: "facts" }, ...facts.map(([name, text]) => el("div", {}, el("dt", {}, name), el("dd", {}, visible(text)))));
  if (!sender.clock_warning) return list;
  return el("div", {}, el("p", { class: "notice warn" }, visible(sender.clock_warning)), list);
}

function sessionsTable({ sessions, truncated }) {
  const rows = sessions.map((one) =>
    el(
      "tr",
      {},
      el("th", { scope: "row" }, el("code", {}, plain(one.id))),
      el("td", {}, `${plain(one.host)} · ${one.pid}`),
      el("td", {}, badgeOf(one.tail)),
      el("td", { class: "number" }, count(one.delivered)),
      el("td", { class: "number" }, count(one.lost)),
      el("td", { class: "number" }, duration(one.last_seen)),
    ),
  );
  const head = ["Session", "Host and process", "State", "Delivered", "Lost", "Last seen"].map((text, at) => el("th", { scope: "col", class: at > 2 ? "number" : false }, text));
  const table = el("table", {}, el("caption", { class: "hidden" }, "Sessions"), el("thead", {}, el("tr", {}, ...head)), el("tbody", {}, ...rows));
  return el("div", {}, el("h3", {}, "Sessions"), table, truncated ? el("p", { class: "muted" }, `${count(truncated)} more`) : null);
}

function refusedTable(refused) {
  const rows = refused.map((one) =>
    el(
      "tr",
      {},
      el("th", { scope: "row" }, plain(one.names.join(", ")) || "name unknown", one.names.length && !one.proven ? el("span", { class: "badge", title: "No key proves this name." }, "as it says") : null),
      el("td", { "data-label": "Address" }, plain(one.address) || "address unknown"),
      el("td", { class: "advice" }, el("strong", {}, plain(words(one.reason))), ": ", visible(one.advice)),
      el("td", { class: "number", "data-label": "Datagrams" }, count(one.count)),
      el("td", { class: "number", "data-label": "Last", title: isoTime(one.last) }, clock(one.last)),
    ),
  );
  const head = ["Refused sender", "Address", "Why, and what mends it", "Datagrams", "Last"].map((text, at) => el("th", { scope: "col", class: at > 2 ? "number" : false }, text));
  const table = el("table", {}, el("caption", { class: "hidden" }, "Senders that are refused"), el("thead", {}, el("tr", {}, ...head)), el("tbody", {}, ...rows));
  return el("div", { class: "notice warn" }, el("p", {}, "Refused: nothing that these senders sent was accepted."), el("div", { class: "wide-scroll stacked", tabindex: "0", role: "group", "aria-label": "Senders that are refused" }, table));
}
