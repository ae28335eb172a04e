// The card of one chart: its lines with what each is added up over, its buttons, and what is to be said of its values.

import { Chart, MOST_LINES, MOST_SCALES } from "./chart.js";
import { el, plain, replace, setText, svg } from "./dom.js";
import { csvOf, pngOf, save, windowOf } from "./export.js";
import { duration, percent, value as valueText } from "./format.js";
import { COMBINED, Line, QUANTILES, doubtsOf, keyOf } from "./line.js";

export class Card {
  #actions;
  #title = el("h3");
  #last = el("span", { class: "last" });
  #rows = el("ul", { class: "lines" });
  #note = el("p", { class: "muted note" });
  #add;
  #csv;
  #png;
  #close;

  /**
   * The lines; and the actions: `changed(card)` after its lines changed, `removed(card)`, `hovered(card, time)`,
   * `zoomed(from, to)`, `add(card)` to choose another series for it, and `end()`, the last moment shown or null for the present.
   */
  constructor(lines, actions) {
    this.#actions = actions;
    this.lines = [];
    for (const line of lines) if (this.#refusalOf(line) === null) this.lines.push(line);
    const button = (text, act) => el("button", { type: "button", class: "quiet", onclick: act }, text);
    this.#add = button("+", () => actions.add(this));
    this.#csv = button("CSV", () => this.#saveCsv());
    this.#png = button("PNG", () => this.#savePng());
    this.#close = button("✕", () => actions.removed(this));
    this.chart = new Chart("", (time) => actions.hovered(this, time), actions.zoomed);
    const head = el("div", { class: "chart-head" }, this.#title, this.#last, el("span", { class: "chart-tools" }, this.#add, this.#csv, this.#png, this.#close));
    this.node = el("article", { class: "chart-card" }, head, this.#rows, this.chart.node, this.#note);
    this.#showLines();
  }

  /** What the card is called. */
  get title() {
    return this.lines.length === 1 ? this.lines[0].name : [...new Set(this.lines.map((line) => line.name))].join(", ");
  }

  /** Whether a series is one of its lines, by itself. */
  has(series) {
    return this.lines.some((line) => isOf(line, series));
  }

  /** Why a series cannot be added; null where it can. */
  refusal(series) {
    return this.#refusalOf(new Line(series));
  }

  #refusalOf(line) {
    if (this.lines.length >= MOST_LINES) return `${MOST_LINES} lines are the most in one chart`;
    const scales = new Set([...this.lines, line].map((one) => one.scale));
    return scales.size > MOST_SCALES ? "a chart has two axes, and both are taken by other units" : null;
  }

  /** Adds a line, or takes it away. */
  toggle(series) {
    if (this.has(series)) this.lines = this.lines.filter((line) => !isOf(line, series));
    else if (this.refusal(series) === null) this.lines = [...this.lines, new Line(series)];
    this.#changed();
  }

  /** Shows the answers of its lines. */
  update() {
    this.chart.show(this.title, this.lines);
    const alone = this.lines.length === 1;
    setText(this.#last, alone ? this.#lastOf(this.lines[0]) : "");
    [...this.#rows.children].forEach((row, index) => setText(row.querySelector(".line-last"), alone ? "" : this.#lastOf(this.lines[index])));
    setText(this.#note, this.#noteOf());
  }

  #changed() {
    const seen = new Set();
    this.lines = this.lines.filter((line) => !seen.has(line.key) && seen.add(line.key));
    for (const line of this.lines) line.step = null;
    this.#showLines();
    this.#actions.changed(this);
  }

  #showLines() {
    const { title } = this;
    this.node.setAttribute("aria-label", title);
    setText(this.#title, title);
    this.#title.title = this.lines.length === 1 ? plain(this.lines[0].series.help ?? "") : "";
    this.#add.setAttribute("aria-label", `Add a series to the chart of ${title}`);
    this.#csv.setAttribute("aria-label", `Save the points of ${title} as CSV`);
    this.#png.setAttribute("aria-label", `Save the picture of ${title} as PNG`);
    this.#close.setAttribute("aria-label", `Remove the chart of ${title}`);
    this.#keepingFocus(() => replace(this.#rows, ...this.lines.map((line, index) => this.#row(line, index))));
    this.update();
  }

  /** Makes the rows anew, and leaves the reader at the control that was being used. */
  #keepingFocus(make) {
    const row = [...this.#rows.children].findIndex((one) => one.contains(document.activeElement));
    const controls = () => [...(this.#rows.children[row]?.querySelectorAll("summary, input, select, button") ?? [])];
    const control = controls().indexOf(document.activeElement);
    const opened = this.#rows.children[row]?.querySelector("details")?.open;
    make();
    if (control < 0) return;
    if (opened) this.#rows.children[row]?.querySelector("details")?.setAttribute("open", "");
    controls()[control]?.focus();
  }

  #row(line, index) {
    const many = this.lines.length > 1;
    const remove = el("button", { type: "button", class: "quiet", "aria-label": `Remove ${line.title} of ${line.from} from the chart`, onclick: () => this.#remove(line) }, "✕");
    return el(
      "li",
      {},
      many ? svg("svg", { class: "line-sample", width: "26", height: "10", "aria-hidden": "true" }, svg("path", { class: `line line-${index}`, d: "M1 5h24" })) : null,
      many ? el("span", { class: "line-name" }, line.name) : null,
      el("span", { class: "muted from" }, line.from),
      this.#quantiles(line),
      this.#over(line),
      el("span", { class: "line-last" }),
      many ? remove : null,
    );
  }

  #remove(line) {
    this.lines = this.lines.filter((one) => one !== line);
    this.#changed();
    this.#add.focus();
  }

  #quantiles(line) {
    if (line.series.kind !== "histogram") return null;
    const select = el("select", { "aria-label": "Quantile" }, ...QUANTILES.map((one) => el("option", {}, one)));
    select.value = line.as;
    select.addEventListener("change", () => {
      line.as = select.value;
      this.#changed();
    });
    return select;
  }

  /** What the line is added up over: its sender and its labels. */
  #over(line) {
    if (!line.parts.length) return null;
    const boxes = line.parts.map((part) => {
      const box = el("input", { type: "checkbox" });
      box.checked = line.over.has(part);
      box.addEventListener("change", () => {
        if (box.checked) line.over.add(part);
        else line.over.delete(part);
        this.#changed();
      });
      return el("label", {}, box, part === "sender" ? "all senders" : `all of ${plain(part)}`);
    });
    return el("details", { class: "over" }, el("summary", {}, "Add up"), el("div", { class: "sheet" }, ...boxes, this.#combines(line)));
  }

  #combines(line) {
    if (!line.isValue) return null;
    const select = el("select", {}, ...COMBINED.map((one) => el("option", {}, one)));
    select.value = line.combine;
    select.addEventListener("change", () => {
      line.combine = select.value;
      this.#changed();
    });
    return el("label", {}, "as ", select);
  }

  #saveCsv() {
    if (this.lines.some((line) => line.answer)) save(new Blob([csvOf(this.lines)], { type: "text/csv" }), this.title, "csv");
  }

  async #savePng() {
    const { window } = this.chart;
    if (!window) return;
    const rows = this.lines.map((line, index) => {
      const drawn = getComputedStyle(this.chart.svg.querySelector(`.line-${index}`) ?? this.chart.svg);
      const words = this.lines.length > 1 ? `${line.title}, ${line.from}: ${this.#lastOf(line)}` : `${line.title}, ${line.from}`;
      return { words, colour: drawn.stroke, dashes: drawn.strokeDasharray };
    });
    save(await pngOf(this.chart.svg, this.title, rows, windowOf(...window)), this.title, "png");
  }

  /** The last value; a dash where nothing has come for so long that it says nothing of now. */
  #lastOf(line) {
    const held = line.answer?.points.findLast((point) => point.value !== null);
    const dead = held && this.#actions.end() === null && isSilent(line.answer, held);
    return held && !dead ? valueText(held.value, line.unit, line.perSecond) : "–";
  }

  #noteOf() {
    const answered = this.lines.filter((line) => line.answer);
    const parts = this.lines.map((line) => line.problem).filter(Boolean);
    const held = answered.map((line) => [line, line.answer.points.findLast((point) => point.value !== null)]).filter(([, point]) => point);
    if (!held.length) return parts.join(" · ");
    const named = (line, text) => (this.lines.length > 1 ? `${line.title}, ${line.from}: ${text}` : text);
    parts.push(`one point every ${duration(Math.max(...held.map(([line]) => line.answer.step))).replace(".0 s", " s")}`);
    for (const [line, point] of held) if (isSilent(line.answer, point)) parts.push(named(line, `nothing for ${duration(line.answer.end - point.t)}`));
    const known = held.flatMap(([line]) => line.answer.points.filter((point) => typeof point.completeness === "number"));
    if (known.length) parts.push(`${percent(known.reduce((sum, point) => sum + point.completeness, 0) / known.length)} complete over this range`);
    else if (held.every(([line]) => line.isCounted)) parts.push("counted by the collector itself");
    else if (held.every(([line]) => !line.answer.incomplete?.length)) parts.push("completeness unknown: this protocol carries no numbers");
    for (const [line] of held) parts.push(...doubtsOf(line.answer.incomplete).map((doubt) => named(line, doubt)));
    return [...new Set(parts)].join(" · ");
  }
}

function isOf(line, series) {
  return !line.isCombined && keyOf(line.series) === keyOf(series);
}

/** Whether the last value is older than the rhythm of the points explains: it says nothing of now. */
function isSilent(answer, held) {
  return answer.end - held.t > Math.max(3 * answer.step, 10);
}
