// The tail of the log: follows, pauses when one scrolls up, filters, and holds a bounded number of lines.

import { addressOf, emptyState, hostAndPort } from "./empty.js";
import { byId, el, plain, replace, setText } from "./dom.js";
import { clock, plural } from "./format.js";
import { passes, rowOf } from "./logrow.js";

/** Most lines in the page. */
export const MOST_ROWS = 1000;

const PAGE = 200;
const MOST_SENDERS = 500;
const PAUSE = 250;
/** Seconds that a line may be held back, and be put into its place among others. */
const HELD = 10;

export class Logs {
  #api;
  #scroller = byId("logs-scroller");
  #list = byId("logs-rows");
  #rows = [];
  #filter = {};
  #following = true;
  #pausedByScroll = false;
  #waiting = 0;
  #epoch = 0;
  #asked = 0;
  #timer = null;
  #checking = null;
  #senders = new Set();
  #overview = () => null;

  constructor(api, overview) {
    this.#api = api;
    this.#overview = overview;
    byId("logs-filter").addEventListener("submit", (event) => event.preventDefault());
    byId("logs-filter").addEventListener("input", (event) => this.#filtered(event.target.type === "search"));
    byId("logs-filter").addEventListener("reset", () => setTimeout(() => this.#filtered(false)));
    byId("logs-follow").addEventListener("click", () => this.#follow(!this.#following));
    byId("logs-older").addEventListener("click", () => this.#older());
    this.#scroller.addEventListener("scroll", () => this.#scrolled());
  }

  /** Shows the last lines there are; returns the cursor after them. */
  async history() {
    const asked = ++this.#asked;
    const answer = await this.#api.get("logs", { limit: PAGE, ...this.#filter });
    if (asked === this.#asked) {
      this.#waiting = 0;
      this.#put(answer.records);
      byId("logs-older").hidden = answer.records.length < PAGE && !answer.truncated;
      this.#show();
    }
    return answer.cursor;
  }

  /** Takes what came over the stream. */
  take({ records, skipped }) {
    for (const { sender } of records) this.#learn(sender);
    const wanted = records.filter((record) => passes(record, this.#filter));
    if (!this.#following) {
      this.#waiting += wanted.length;
      this.#note();
      return;
    }
    if (skipped) this.#mark(`${plural(skipped, "line")} more came than this page could take; set a filter to see fewer, or load the page anew to see them`);
    if (!wanted.length && !skipped) return;
    this.#put(wanted);
    this.#show();
    if (records.some((record) => record.late)) {
      clearTimeout(this.#checking);
      this.#checking = setTimeout(() => this.#checkHoles(), PAUSE);
    }
  }

  /** What came late closes holes, or makes them smaller: they are asked for again. */
  async #checkHoles() {
    const hole = this.#rows.find((row) => row.epoch === this.#epoch && row.node.classList.contains("gap"));
    if (!hole) return;
    const answer = await this.#api.get("logs", { after: hole.cursor - 1, limit: MOST_ROWS, ...this.#filter }).catch(() => null);
    if (!answer?.records.length) return;
    const known = new Set(answer.records.map((record) => record.cursor));
    const [from, to] = [hole.cursor, answer.records.at(-1).cursor];
    this.#rows = this.#rows.filter((row) => row.epoch !== this.#epoch || row.cursor < from || row.cursor > to || known.has(row.cursor) || !row.node.classList.contains("gap"));
    this.#put(answer.records.filter((record) => record.type === "gap"));
    this.#show();
  }

  /** Marks where another life of the collector begins: its cursors start anew. */
  restarted({ started }) {
    this.#epoch++;
    this.#mark(`The collector restarted at ${clock(started)}; what it held before is gone`);
    this.#show();
  }

  /** Shows the lines of one sender only. */
  only(sender) {
    this.#learn(sender);
    byId("logs-sender").value = sender;
    this.#filtered(false);
    byId("logs").scrollIntoView();
  }

  /** Senders to choose from; those of log lines add themselves. */
  learn(names) {
    for (const name of names) this.#learn(name);
  }

  #learn(name) {
    if (!name || this.#senders.has(name) || this.#senders.size >= MOST_SENDERS) return;
    this.#senders.add(name);
    const select = byId("logs-sender");
    const option = el("option", { value: name }, plain(name));
    select.insertBefore(option, [...select.options].slice(1).find((other) => other.value > name) ?? null);
  }

  /** Every record at its place; the same cursor again is the same line as it is now: a hole that has shrunk, or a repetition. */
  #put(records) {
    for (const record of records) {
      this.#learn(record.sender);
      const row = { epoch: this.#epoch, cursor: record.cursor, t: record.t, node: safeRow(record) };
      const known = this.#rows.findLastIndex((one) => one.cursor === row.cursor && one.epoch === row.epoch);
      if (known >= 0) {
        this.#rows[known] = row;
        continue;
      }
      let at = this.#rows.length;
      while (at > 0 && isAfter(this.#rows[at - 1], row)) at--;
      this.#rows.splice(at, 0, row);
    }
    if (this.#rows.length > MOST_ROWS) this.#rows.splice(0, this.#rows.length - MOST_ROWS);
  }

  /** A remark of the page's own, after everything that is there. */
  #mark(text) {
    const last = this.#rows.at(-1);
    const cursor = last?.epoch === this.#epoch ? last.cursor + 0.5 : -1;
    this.#rows.push({ epoch: this.#epoch, cursor, t: last?.t ?? 0, node: el("li", { class: "log mark" }, text) });
  }

  #show() {
    const wanted = new Set(this.#rows.map((row) => row.node));
    for (const node of [...this.#list.children]) if (!wanted.has(node)) node.remove();
    let next = this.#list.firstChild;
    for (const { node } of this.#rows) {
      if (node === next) next = next.nextSibling;
      else this.#list.insertBefore(node, next);
    }
    this.#showEmpty();
    this.#note();
    if (this.#following) this.#scroller.scrollTop = this.#scroller.scrollHeight;
  }

  #filtered(typing) {
    const given = (name) => byId(`logs-${name}`).value.trim();
    const field = given("field");
    const time = (name) => (given(name) ? new Date(given(name)).getTime() / 1000 : null);
    const until = time("until");
    this.#filter = {
      level: given("level"),
      sender: byId("logs-sender").value,
      text: given("text"),
      logger: given("logger"),
      field: field && !field.startsWith("=") ? (field.includes("=") ? field : `${field}=`) : "",
      since: time("since"),
      until: until === null ? null : until + 0.999,
    };
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => this.#again(), typing ? PAUSE : 0);
  }

  async #again() {
    this.#rows = [];
    try {
      await this.history();
    } catch (error) {
      setText(byId("logs-note"), error.message);
    }
  }

  #follow(on, byScroll = false) {
    this.#following = on;
    this.#pausedByScroll = !on && byScroll;
    const button = byId("logs-follow");
    button.setAttribute("aria-pressed", String(on));
    setText(button, on ? "Following" : "Paused");
    this.#note();
    if (!on) return;
    if (this.#waiting) this.#again();
    this.#scroller.scrollTop = this.#scroller.scrollHeight;
  }

  /** Scrolling up pauses; coming back to the end follows again, unless the button paused. */
  #scrolled() {
    const { scrollTop, scrollHeight, clientHeight } = this.#scroller;
    const atEnd = scrollTop + clientHeight >= scrollHeight - 4;
    if (this.#following !== atEnd && (this.#following || this.#pausedByScroll)) this.#follow(atEnd, true);
  }

  /** Earlier lines push out the last ones where there is no room: the end is asked for again when it is followed. */
  async #older() {
    const first = this.#rows[0];
    if (!first) return;
    this.#follow(false);
    const answer = await this.#api.get("logs", { limit: PAGE, before: Math.ceil(first.cursor), ...this.#filter }).catch(() => null);
    if (!answer) return;
    const before = this.#scroller.scrollHeight;
    this.#rows.unshift(...answer.records.map((record) => ({ epoch: first.epoch, cursor: record.cursor, t: record.t, node: safeRow(record) })));
    this.#waiting += this.#rows.splice(MOST_ROWS).length;
    byId("logs-older").hidden = answer.records.length < PAGE;
    this.#show();
    this.#scroller.scrollTop += this.#scroller.scrollHeight - before;
  }

  #note() {
    const waiting = this.#waiting && !this.#following ? `${plural(this.#waiting, "new line")} since; ` : "";
    const full = this.#rows.length >= MOST_ROWS ? "the last " : "";
    setText(byId("logs-note"), this.#rows.length ? `${waiting}${full}${plural(this.#rows.length, "line")}` : "");
  }

  #showEmpty() {
    const empty = !this.#rows.length;
    const place = byId("logs-empty");
    this.#scroller.hidden = empty;
    if (!empty) return replace(place);
    if (Object.values(this.#filter).some(Boolean)) return replace(place, emptyState("No line passes this filter."));
    if (place.firstChild) return;
    const overview = this.#overview();
    const ours = addressOf(overview, "atmost") ?? "udp://127.0.0.1:7140";
    const syslog = addressOf(overview, "syslog");
    const [host, port] = hostAndPort(syslog ?? "");
    const commands = [`atmost agent --url ${ours} --log /var/log/syslog`, `logging.getLogger().addHandler(atmost.LogHandler(atmost.Sender("${ours}")))`];
    if (syslog) commands.push(`logger --udp --server ${host} --port ${port} 'hello'`);
    replace(place, emptyState(`No log line yet. Follow a file, or log from your program${syslog ? ", or point syslog here" : ""}.`, ...commands));
  }
}

/** A row that cannot be shown costs one row, and says so. */
function safeRow(record) {
  try {
    return rowOf(record);
  } catch (error) {
    console.warn(error);
    return el("li", { class: "log mark" }, `A line that this page cannot show (cursor ${record.cursor}).`);
  }
}

/**
 * Whether a row stands below another. What was held back, until it was known what came before it, goes to the place of its
 * time; a sender whose clock is far off does not: its rows stand where they came.
 */
function isAfter(one, other) {
  if (one.epoch !== other.epoch) return one.epoch > other.epoch;
  const apart = one.t - other.t;
  return apart && Math.abs(apart) <= HELD ? apart > 0 : one.cursor > other.cursor;
}
