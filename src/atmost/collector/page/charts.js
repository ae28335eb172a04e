// The panel of charts: which series, over which range, each asked for again when a new point can be there.

import { Chart } from "./chart.js";
import { addressOf, emptyState, hostAndPort } from "./empty.js";
import { arrange, byId, el, plain, replace, setText } from "./dom.js";
import { clock, duration, isoTime, percent, seriesName, unitOf, value as valueText } from "./format.js";
import { readChoice, writeChoice } from "./storage.js";

/** Most charts at once. */
export const MOST_CHARTS = 12;

const FIRST_CHARTS = 4;
const EVERY = { 60: 2, 600: 5, 3600: 15, 21600: 60 };
/** Seconds since a series was last written within which it lives. */
const LIVES = 60;
const QUANTILES = ["p50", "p90", "p99"];
/** Why a total may be too small, in words. */
const INCOMPLETE = {
  tail_unknown: "a process ended, or is silent, and its last snapshot did not come: the total may be too small",
  pending: "the latest snapshot is not known yet",
  refused_by_sender: "a process did not send all it counted",
  conflict: "another sender means something else by this name, and was refused",
  limit: "a limit refused series",
  evicted: "a process came back after it had been forgotten: the total may be too small",
};

/** The identity of a series. */
export function keyOf({ name, labels, sender, source }) {
  return JSON.stringify([name, Object.entries(labels ?? {}).sort(), sender, source]);
}

export class Charts {
  #api;
  #range = Number(readChoice("range", "600"));
  /** The last moment shown, seconds since 1970; null follows the present. */
  #end = null;
  #cards = new Map();
  #timer = null;
  #chosen = JSON.parse(readChoice("charts", "null"));

  constructor(api) {
    this.#api = api;
    if (!(this.#range in EVERY)) this.#range = 600;
    this.#fromAddress();
    for (const input of byId("ranges").querySelectorAll("input")) {
      input.addEventListener("change", () => this.#setRange(Number(input.value), null));
    }
    byId("charts-live").addEventListener("click", () => this.#setRange(this.#range in EVERY ? this.#range : 600, null));
    this.#showRange();
    document.addEventListener("visibilitychange", () => this.refresh());
    for (const one of Array.isArray(this.#chosen) ? this.#chosen : []) this.#add(one);
  }

  /** Whether a series has a chart. */
  has(series) {
    return this.#cards.has(keyOf(series));
  }

  get isEmpty() {
    return !this.#cards.size;
  }

  get isFull() {
    return this.#cards.size >= MOST_CHARTS;
  }

  /** Adds a chart or takes it away, as the user chose; from then on nothing is chosen by itself. */
  toggle(series) {
    if (this.has(series)) this.#remove(series);
    else if (!this.isFull) this.#add(series);
    this.#remember();
    this.refresh();
  }

  /** Takes the list of series as it is now: until the user chooses, the loss of all and one of each of the first few families that live are shown. */
  offer(list, overview) {
    const before = this.#cards.size;
    if (!this.#chosen) {
      const families = new Set([...this.#cards.values()].map((card) => familyOf(card.series)));
      const lives = ({ last_seen: seen }) => !overview || overview.now - seen < LIVES;
      const lost = list.find((one) => one.name === "atmost.lost");
      if (lost && !families.has("atmost")) this.#add({ ...lost, sender: null });
      families.add("atmost");
      for (const series of list.filter(lives).sort((one, other) => one.name.length - other.name.length)) {
        if (this.#cards.size >= FIRST_CHARTS) break;
        if (families.has(familyOf(series))) continue;
        families.add(familyOf(series));
        this.#add(series);
      }
    }
    this.#showEmpty(list, overview);
    if (this.#cards.size > before) this.refresh();
  }

  /** Asks for every chart's points, and again when new ones can be there; not while nobody looks. */
  async refresh() {
    clearTimeout(this.#timer);
    if (this.#end === null) this.#timer = setTimeout(() => this.refresh(), (EVERY[this.#range] ?? Math.max(2, this.#range / 300)) * 1000);
    if (document.hidden) return;
    await Promise.all([...this.#cards.values()].map((card) => this.#ask(card)));
  }

  #setRange(range, end) {
    this.#range = range;
    this.#end = end;
    if (range in EVERY && end === null) writeChoice("range", String(range));
    this.#showRange();
    this.#toAddress();
    this.refresh();
  }

  #showRange() {
    for (const input of byId("ranges").querySelectorAll("input")) input.checked = this.#end === null && Number(input.value) === this.#range;
    byId("charts-live").hidden = this.#end === null;
    setText(byId("charts-window"), this.#end === null ? "" : `${clock(this.#end - this.#range)} to ${clock(this.#end)}`);
  }

  /** What the address asks for: the same charts over the same time as whoever copied it saw. */
  #fromAddress() {
    const given = new URL(location.href).searchParams;
    const range = Number(given.get("range"));
    if (range >= 1) this.#range = range;
    if (Number(given.get("end")) > 0) this.#end = Number(given.get("end"));
    try {
      const chosen = JSON.parse(given.get("charts") ?? "null");
      if (Array.isArray(chosen) && chosen.every((one) => typeof one?.name === "string")) this.#chosen = chosen.slice(0, MOST_CHARTS);
    } catch {
      // Not an address of this page's: what was chosen here before stands.
    }
  }

  /** Keeps the address such that it shows this to a colleague. */
  #toAddress() {
    const here = new URL(location.href);
    here.searchParams.set("range", String(this.#range));
    if (this.#end === null) here.searchParams.delete("end");
    else here.searchParams.set("end", String(Math.round(this.#end)));
    const shown = [...this.#cards.values()].map(({ series: { name, labels, sender, source, kind, unit }, as }) => ({ name, labels, sender, source, kind, unit, as }));
    here.searchParams.set("charts", JSON.stringify(shown));
    history.replaceState(null, "", here);
  }

  #add(series) {
    const card = this.#makeCard(series);
    this.#cards.set(keyOf(series), card);
    this.#arrange();
  }

  #remove(series) {
    this.#cards.delete(keyOf(series));
    this.#arrange();
  }

  #arrange() {
    arrange(byId("charts-body"), [...this.#cards.values()].map((card) => card.node));
    if (this.#cards.size) replace(byId("charts-empty"));
  }

  #remember() {
    this.#chosen = [...this.#cards.values()].map((card) => card.series);
    writeChoice("charts", JSON.stringify(this.#chosen));
    this.#toAddress();
  }

  #makeCard(series) {
    const name = plain(seriesName(series));
    const chart = new Chart(
      name,
      (time) => {
        for (const other of this.#cards.values()) if (other.chart !== chart) other.chart.mark(time);
      },
      (from, to) => this.#setRange(Math.max(5, Math.ceil(to) - Math.floor(from)), Math.ceil(to)),
    );
    const card = { series, chart, answer: null, as: QUANTILES.includes(series.as) ? series.as : defaultAs(series), last: el("span", { class: "last" }), note: el("p", { class: "muted note" }) };
    const close = el("button", { type: "button", class: "quiet", "aria-label": `Take the chart of ${name} away`, onclick: () => this.toggle(series) }, "✕");
    const csv = el("button", { type: "button", class: "quiet", "aria-label": `Save the points of ${name} as CSV`, onclick: () => saveCsv(card) }, "CSV");
    const from = [plain(series.sender ?? "all senders"), series.source === "atmost" ? null : series.source].filter(Boolean).join(", ");
    const head = el("div", { class: "chart-head" }, el("h3", { title: plain(series.help ?? "") || false }, name), card.last, this.#quantiles(card), csv, close);
    card.node = el("article", { class: "chart-card", "aria-label": name }, head, el("p", { class: "muted from" }, from), chart.node, card.note);
    return card;
  }

  #quantiles(card) {
    if (card.series.kind !== "histogram") return null;
    const select = el("select", { "aria-label": "Quantile" }, ...QUANTILES.map((one) => el("option", {}, one)));
    select.value = card.as;
    select.addEventListener("change", () => {
      card.as = select.value;
      this.#ask(card);
    });
    return select;
  }

  async #ask(card) {
    const { name, labels, sender } = card.series;
    const [range, end] = [this.#range, this.#end];
    const label = Object.entries(labels ?? {}).map(([key, text]) => `${key}=${text}`);
    try {
      const answer = await this.#api.get("query", { name, sender, label, range, end, as: card.as });
      if (range !== this.#range || end !== this.#end) return;
      card.answer = answer;
      const perSecond = card.as === "rate";
      answer.unit = unitOf(name, answer.unit);
      card.chart.show(answer, perSecond);
      const held = answer.points.findLast((point) => point.value !== null);
      const dead = held && end === null && isSilent(answer, held);
      setText(card.last, held && !dead ? valueText(held.value, answer.unit, perSecond) : "–");
      setText(card.note, noteOf(answer, held));
    } catch (error) {
      setText(card.note, error.status ? error.message : "");
    }
  }

  #showEmpty(list, overview) {
    const place = byId("charts-empty");
    if (this.#cards.size || place.firstChild) return;
    if (list.length) {
      replace(place, emptyState("No chart is chosen. Choose series above."));
      return;
    }
    const ours = addressOf(overview, "atmost") ?? "udp://127.0.0.1:7140";
    const statsd = addressOf(overview, "statsd");
    const [host, port] = hostAndPort(statsd ?? "");
    const commands = [`atmost agent --url ${ours}`, statsd && `echo 'hits:1|c' > /dev/udp/${host}/${port}`].filter(Boolean);
    const text = `No series yet. The agent sends this host's readings${statsd ? "; any StatsD client can send here too" : ""}.`;
    replace(place, emptyState(text, ...commands));
  }
}

/** The first word of a name: cpu.utilization and cpu.0.utilization are of one family. */
function familyOf({ name }) {
  return name.split(/[._]/)[0];
}

/** Whether the last value is older than the rhythm of the points explains: it says nothing of now. */
function isSilent(answer, held) {
  return answer.end - held.t > Math.max(3 * answer.step, 10);
}

/** Gives the points to the reader as a file: time, value, lost, completeness; empty where nothing is known. */
function saveCsv({ series, answer }) {
  if (!answer) return;
  const rows = answer.points.map((point) => [isoTime(point.t), point.value, point.lost, point.completeness].map((one) => one ?? "").join(","));
  const content = `time,value,lost,completeness\n${rows.join("\n")}\n`;
  const address = URL.createObjectURL(new Blob([content], { type: "text/csv" }));
  el("a", { href: address, download: `${series.name.replaceAll(/[^A-Za-z0-9._-]/g, "_")}.csv` }).click();
  setTimeout(() => URL.revokeObjectURL(address), 10_000);
}

function defaultAs({ kind }) {
  if (kind === "counter") return "rate";
  return kind === "histogram" ? "p99" : "value";
}

function noteOf(answer, held) {
  if (!held) return "";
  const known = answer.points.filter((point) => typeof point.completeness === "number");
  const parts = [`one point every ${duration(answer.step).replace(".0 s", " s")}`];
  if (isSilent(answer, held)) parts.push(`nothing for ${duration(answer.end - held.t)}`);
  if (known.length) parts.push(`${percent(known.reduce((sum, point) => sum + point.completeness, 0) / known.length)} complete over this range`);
  else if (!answer.incomplete?.length) parts.push("completeness unknown: this protocol carries no numbers");
  for (const reason of answer.incomplete ?? []) parts.push(INCOMPLETE[reason] ?? `the total may be too small: ${reason}`);
  return parts.join(" · ");
}
