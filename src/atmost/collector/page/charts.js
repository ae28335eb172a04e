// The panel of charts: which lines, over which range, each asked for again when a new point can be there.

import { Card } from "./card.js";
import { MOST_LINES } from "./chart.js";
import { addressOf, emptyState, hostAndPort } from "./empty.js";
import { arrange, byId, replace, setText } from "./dom.js";
import { clock, duration } from "./format.js";
import { Line } from "./line.js";
import { readChoice, writeChoice } from "./storage.js";

/** Most charts at once. */
export const MOST_CHARTS = 12;

const FIRST_CHARTS = 4;
const EVERY = { 60: 2, 600: 5, 3600: 15, 21600: 60 };
/** Many lines stand in the address's fragment, which is not sent: the collector takes addresses of 8,192 bytes. */
const IN_FRAGMENT = "#charts=";
const LONGEST_ADDRESS = 7000;
/** How far back the collector remembers, seconds. */
const LONGEST = 21600;
/** Seconds since a series was last written within which it lives. */
const LIVES = 60;

export class Charts {
  #api;
  #range = Number(readChoice("range", "600"));
  /** The last moment shown, seconds since 1970; null follows the present. */
  #end = null;
  #cards = [];
  #timer = null;
  #chosen = JSON.parse(readChoice("charts", "null"));

  /** Called with a card for which another series is to be chosen. */
  onAdd = () => {};

  constructor(api) {
    this.#api = api;
    if (!(this.#range in EVERY)) this.#range = 600;
    this.#fromAddress();
    for (const input of byId("ranges").querySelectorAll("input")) {
      input.addEventListener("change", () => this.#setRange(Number(input.value), null));
    }
    byId("charts-live").addEventListener("click", () => this.#setRange(this.#range in EVERY ? this.#range : 600, null));
    byId("charts-out").addEventListener("click", () => this.#zoomOut());
    byId("charts-span").addEventListener("submit", (event) => {
      event.preventDefault();
      this.#takeSpan();
    });
    byId("charts-other").addEventListener("toggle", () => byId("charts-other").open && this.#fillSpan());
    this.#showRange();
    // A link to a part of the page takes the fragment's place, and with it the charts that stand there.
    addEventListener("hashchange", ({ oldURL }) => {
      if (new URL(oldURL).hash.startsWith(IN_FRAGMENT) && !location.hash.startsWith(IN_FRAGMENT)) this.#toAddress();
    });
    document.addEventListener("visibilitychange", () => this.refresh());
    for (const one of Array.isArray(this.#chosen) ? this.#chosen : []) this.#add(linesOf(one));
  }

  /** The cards, in order. */
  get cards() {
    return this.#cards;
  }

  /** Whether a series has a line in any chart. */
  has(series) {
    return this.#cards.some((card) => card.has(series));
  }

  get isEmpty() {
    return !this.#cards.length;
  }

  get isFull() {
    return this.#cards.length >= MOST_CHARTS;
  }

  /** Adds a series or takes it away, as the user chose, in this card, else with a chart of its own; from then on nothing is chosen by itself. */
  toggle(series, card = null) {
    if (card) card.toggle(series);
    else if (this.has(series)) for (const one of this.#cards.filter((one) => one.has(series))) one.toggle(series);
    else if (!this.isFull) {
      this.#add([new Line(series)]);
      this.#remember();
      this.refresh();
    }
  }

  /** Takes the list of series as it is now: until the user chooses, the loss of all and one of each of the first few families that live are shown. */
  offer(list, overview) {
    const before = this.#cards.length;
    if (!this.#chosen) {
      const families = new Set(this.#cards.flatMap((card) => card.lines.map((line) => familyOf(line.series))));
      const lives = ({ last_seen: seen }) => !overview || overview.now - seen < LIVES;
      const lost = list.find((one) => one.name === "atmost.lost");
      if (lost && !families.has("atmost")) this.#add([new Line({ ...lost, over: ["sender"] })]);
      families.add("atmost");
      for (const series of list.filter(lives).sort((one, other) => one.name.length - other.name.length)) {
        if (this.#cards.length >= FIRST_CHARTS) break;
        if (families.has(familyOf(series))) continue;
        families.add(familyOf(series));
        this.#add([new Line(series)]);
      }
    }
    this.#showEmpty(list, overview);
    if (this.#cards.length > before) this.refresh();
  }

  /** Asks for every chart's points, and again when new ones can be there; not while nobody looks. */
  async refresh() {
    clearTimeout(this.#timer);
    if (this.#end === null) this.#timer = setTimeout(() => this.refresh(), (EVERY[this.#range] ?? Math.max(2, this.#range / 300)) * 1000);
    if (document.hidden) return;
    await Promise.all(this.#cards.map((card) => this.#ask(card)));
  }

  #setRange(range, end) {
    this.#range = Math.min(range, LONGEST);
    this.#end = end;
    for (const line of this.#cards.flatMap((card) => card.lines)) line.step = null;
    if (range in EVERY && end === null) writeChoice("range", String(range));
    this.#showRange();
    this.#toAddress();
    this.refresh();
  }

  /** Twice the time around the same middle, but not beyond the present. */
  #zoomOut() {
    const range = Math.min(2 * this.#range, LONGEST);
    const end = this.#end === null ? null : this.#end + Math.ceil((range - this.#range) / 2);
    this.#setRange(range, end === null || end >= Date.now() / 1000 ? null : end);
  }

  #fillSpan() {
    const end = this.#end ?? Math.floor(Date.now() / 1000);
    byId("charts-from").value = localTime(end - this.#range);
    byId("charts-to").value = this.#end === null ? "" : localTime(end);
    setText(byId("charts-span-note"), "");
  }

  #takeSpan() {
    const from = Date.parse(byId("charts-from").value) / 1000;
    const to = byId("charts-to").value ? Date.parse(byId("charts-to").value) / 1000 : null;
    const range = Math.ceil((to ?? Date.now() / 1000) - from);
    const problem = !(range >= 1) ? "The beginning must be before the end." : range > LONGEST ? `The collector remembers ${duration(LONGEST)}: the stretch is longer.` : "";
    setText(byId("charts-span-note"), problem);
    if (problem) return;
    byId("charts-other").open = false;
    this.#setRange(range, to);
  }

  #showRange() {
    const named = this.#end === null && this.#range in EVERY;
    for (const input of byId("ranges").querySelectorAll("input")) input.checked = named && Number(input.value) === this.#range;
    byId("charts-live").hidden = named;
    byId("charts-out").disabled = this.#range >= LONGEST;
    const span = this.#end === null ? `the last ${duration(this.#range)}` : `${clock(this.#end - this.#range)} to ${clock(this.#end)}`;
    setText(byId("charts-window"), named ? "" : span);
  }

  /** What the address asks for: the same charts over the same time as whoever copied it saw. */
  #fromAddress() {
    const given = new URL(location.href).searchParams;
    const range = Number(given.get("range"));
    if (range >= 1) this.#range = Math.min(range, LONGEST);
    if (Number(given.get("end")) > 0) this.#end = Number(given.get("end"));
    try {
      const { hash } = location;
      const text = hash.startsWith(IN_FRAGMENT) ? decodeURIComponent(hash.slice(IN_FRAGMENT.length)) : given.get("charts");
      const chosen = JSON.parse(text ?? "null");
      if (Array.isArray(chosen) && chosen.every((one) => linesOf(one).length)) this.#chosen = chosen.slice(0, MOST_CHARTS);
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
    const charts = JSON.stringify(this.#kept());
    here.searchParams.set("charts", charts);
    if (here.hash.startsWith(IN_FRAGMENT)) here.hash = "";
    if (here.pathname.length + here.search.length > LONGEST_ADDRESS) {
      here.searchParams.delete("charts");
      here.hash = IN_FRAGMENT + encodeURIComponent(charts);
    }
    history.replaceState(null, "", here);
  }

  #add(lines) {
    const card = new Card(lines, {
      changed: (changed) => {
        if (!changed.lines.length) this.#drop(changed);
        this.#remember();
        this.#ask(changed);
      },
      removed: (removed) => {
        this.#drop(removed);
        this.#remember();
      },
      hovered: (from, time) => {
        for (const other of this.#cards) if (other !== from) other.chart.mark(time);
      },
      zoomed: (from, to) => this.#setRange(Math.max(5, Math.ceil(to) - Math.floor(from)), Math.ceil(to)),
      add: (chosen) => this.onAdd(chosen),
      end: () => this.#end,
    });
    this.#cards.push(card);
    this.#arrange();
  }

  #drop(card) {
    this.#cards = this.#cards.filter((one) => one !== card);
    this.#arrange();
  }

  #arrange() {
    arrange(byId("charts-body"), this.#cards.map((card) => card.node));
    if (this.#cards.length) replace(byId("charts-empty"));
  }

  #kept() {
    return this.#cards.map(({ lines }) => (lines.length === 1 ? lines[0].toJson() : lines.map((line) => line.toJson())));
  }

  #remember() {
    this.#chosen = this.#kept();
    writeChoice("charts", JSON.stringify(this.#chosen));
    this.#toAddress();
  }

  /** Asks for the points of a card's lines, in steps of the same length. */
  async #ask(card) {
    const { lines } = card;
    const [range, end] = [this.#range, this.#end];
    const isOld = () => range !== this.#range || end !== this.#end || lines !== card.lines;
    const answers = await Promise.all(lines.map((line) => this.#answer(line, range, end, line.step)));
    const step = Math.max(0, ...answers.map((answer) => answer?.step ?? 0));
    const even = await Promise.all(answers.map((answer, index) => (answer && answer.step < step ? this.#answer(lines[index], range, end, step) : answer)));
    if (isOld()) return;
    lines.forEach((line, index) => {
      if (even[index] && even[index] !== answers[index]) line.step = step;
      if (even[index]) line.answer = even[index];
    });
    card.update();
  }

  async #answer(line, range, end, step) {
    try {
      const answer = await this.#api.get("query", line.question(range, end, step));
      line.problem = "";
      return answer;
    } catch (error) {
      line.problem = error.status ? error.message : "";
      return null;
    }
  }

  #showEmpty(list, overview) {
    const place = byId("charts-empty");
    if (this.#cards.length || place.firstChild) return;
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

/** The lines of a chart as an address or this browser keeps them: one object, or several. */
function linesOf(kept) {
  const given = Array.isArray(kept) ? kept : [kept];
  return given.filter((one) => typeof one?.name === "string").slice(0, MOST_LINES).map((one) => new Line(one));
}

/** The first word of a name: cpu.utilization and cpu.0.utilization are of one family. */
function familyOf({ name }) {
  return name.split(/[._]/)[0];
}

/** A moment as an input of local time takes it. */
function localTime(time) {
  const at = new Date(time * 1000);
  return new Date(at - at.getTimezoneOffset() * 60_000).toISOString().slice(0, 19);
}
