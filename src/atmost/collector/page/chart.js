// One chart: lines that never cross a gap, a band of completeness for each below, and the values under pointer or keyboard.
//
// Lines of the same unit share an axis; there is one at the left, and one at the right where lines have two units.

import { el, replace, setText, svg } from "./dom.js";
import { axis, clock, count, percent, value as valueText } from "./format.js";
import { bands, commonGaps, gaps, runs, tickLabel, ticks, timeTicks, valueRange } from "./scale.js";

/** Most lines of one chart: as many as there are colours that can be told apart. */
export const MOST_LINES = 8;
/** Most units of one chart: an axis at each side. */
export const MOST_SCALES = 2;

const LEFT = 62;
const RIGHT = 10;
const TOP = 8;
const PLOT = 120;
const BAND_AT = TOP + PLOT + 4;
const TIMES = 26;
const JUMP = 10;

export class Chart {
  #lines = [];
  #scales = [];
  #times = [];
  #start = 0;
  #end = 1;
  #step = 1;
  #at = null;
  #width = 0;
  #hovered;
  #zoomed;
  #pressed = null;
  #layer = svg("g");
  #cross = svg("g", { class: "cross", visibility: "hidden" });
  #selection = svg("rect", { class: "selection", visibility: "hidden", y: String(TOP), height: String(PLOT) });
  #tip = el("div", { class: "tip", hidden: true });

  /**
   * `hovered(time)` is called with the moment under the pointer, or null, so that other charts can show the same;
   * `zoomed(from, to)` with the stretch of time that was drawn over with the pointer.
   */
  constructor(label, hovered, zoomed) {
    this.#hovered = hovered;
    this.#zoomed = zoomed;
    this.svg = svg("svg", { class: "chart", width: "100%", tabindex: "0", role: "slider", "aria-valuenow": "0", "aria-label": label, "aria-roledescription": "chart" }, this.#layer, this.#selection, this.#cross);
    this.node = el("div", { class: "plot" }, this.svg, this.#tip);
    this.svg.addEventListener("pointermove", (event) => this.#point(event));
    this.svg.addEventListener("pointerdown", (event) => this.#press(event));
    this.svg.addEventListener("pointerup", (event) => this.#release(event));
    this.svg.addEventListener("pointerleave", () => this.#leave());
    this.svg.addEventListener("blur", () => this.#leave());
    this.svg.addEventListener("keydown", (event) => this.#key(event));
    new ResizeObserver(() => this.#resized()).observe(this.node);
    this.#draw();
  }

  /** Draws lines, each with its answer of the query interface; those without one are left out. */
  show(label, lines) {
    this.svg.setAttribute("aria-label", label);
    this.#lines = lines.map((line, index) => ({ line, index, answer: line.answer })).filter(({ answer }) => answer);
    const answers = this.#lines.map(({ answer }) => answer);
    this.#times = [...new Set(answers.flatMap(({ points }) => points.map((point) => point.t)))].sort((one, other) => one - other);
    this.#start = Math.min(...answers.map(({ start }) => start));
    this.#end = Math.max(...answers.map(({ end }) => end));
    this.#step = Math.min(...answers.map(({ step }) => step));
    this.#draw();
  }

  /** The stretch of time that is drawn: [start, end]; null while there is none. */
  get window() {
    return this.#lines.length ? [this.#start, this.#end] : null;
  }

  /** Marks a moment that another chart points at; null for none. */
  mark(time) {
    this.#at = time;
    this.#tip.hidden = true;
    this.#place();
  }

  #resized() {
    const width = this.node.clientWidth;
    if (width === this.#width) return;
    this.#width = width;
    this.#draw();
  }

  get #band() {
    return this.#lines.length > 1 ? 4 : 6;
  }

  /** Several bands have marks of their lines at the left, which must not touch the lowest number of the axis. */
  get #bandsAt() {
    return this.#lines.length > 1 ? BAND_AT + 6 : BAND_AT;
  }

  get #bandsEnd() {
    return this.#bandsAt + Math.max(1, this.#lines.length) * this.#band + Math.max(0, this.#lines.length - 1);
  }

  get #right() {
    return this.#width - (this.#scales.length > 1 ? LEFT : RIGHT);
  }

  #draw() {
    this.svg.setAttribute("height", String(this.#bandsEnd + TIMES));
    if (!this.#lines.length || this.#width < 2 * LEFT + 20) return;
    this.#scales = [...new Set(this.#lines.map(({ line }) => line.scale))].slice(0, MOST_SCALES).map((name) => this.#scaleOf(name));
    const isEmpty = this.#lines.every(({ answer }) => answer.points.every((point) => point.value === null));
    replace(
      this.#layer,
      ...this.#gaps(),
      ...this.#scales.flatMap((scale, index) => this.#grid(scale, index)),
      ...this.#timeLabels(),
      ...this.#lines.flatMap((one) => runs(one.answer.points).map((run) => this.#line(one, run))),
      ...this.#lines.flatMap((one, place) => this.#bandOf(one, place)),
      isEmpty ? svg("text", { class: "nothing", x: String((LEFT + this.#right) / 2), y: String(TOP + PLOT / 2) }, "nothing arrived in this time") : null,
    );
    this.#place();
    if (this.#at === null) this.#say(this.#times.at(-1));
  }

  /** The axis of the lines of one unit. */
  #scaleOf(name) {
    const its = this.#lines.filter(({ line }) => line.scale === name);
    const range = valueRange(its.flatMap(({ answer }) => answer.points.map((point) => point.value).filter((value) => value !== null)));
    const { unit, perSecond } = its[0].line;
    const written = axis(unit, Math.max(Math.abs(range[0]), Math.abs(range[1])), perSecond);
    const marks = ticks(range[0] / written.scale, range[1] / written.scale, 4);
    return { name, written, marks, low: marks[0] * written.scale, high: marks.at(-1) * written.scale };
  }

  #x(time) {
    return LEFT + ((time - this.#start) / Math.max(this.#end - this.#start, 1e-9)) * (this.#right - LEFT);
  }

  #y(value, line) {
    const { low, high } = this.#scales.find(({ name }) => name === line.scale) ?? this.#scales[0];
    return TOP + PLOT - ((value - low) / (high - low || 1)) * PLOT;
  }

  /** The horizontal extent of the steps of points `first` to `last`. */
  #extent({ points, step }, first, last) {
    const from = Math.max(LEFT, this.#x(points[first].t));
    const to = Math.min(this.#right, this.#x(points[last].t + step));
    return { x: from.toFixed(1), width: Math.max(0.5, to - from).toFixed(1) };
  }

  /** Hatched is where no line has a value. */
  #gaps() {
    const alone = this.#lines.length === 1 ? this.#lines[0].answer : null;
    const found = alone ? gaps(alone.points).map(([first, last]) => this.#extent(alone, first, last)) : commonGaps(this.#lines.map(({ answer }) => answer)).map(([from, to]) => ({ x: this.#x(from).toFixed(1), width: (this.#x(to) - this.#x(from)).toFixed(1) }));
    return found.map((extent) => svg("rect", { class: "gap", fill: "url(#hatch)", ...extent, y: String(TOP), height: String(PLOT) }));
  }

  #grid({ written, marks, low, high }, side) {
    const unit = written.unit && (written.unit.startsWith("/") ? written.unit : ` ${written.unit}`);
    return marks.flatMap((mark) => {
      const y = (TOP + PLOT - ((mark * written.scale - low) / (high - low || 1)) * PLOT).toFixed(1);
      const place = side ? { x: String(this.#right + 6), "text-anchor": "start" } : { x: String(LEFT - 6), "text-anchor": "end" };
      return [
        side ? null : svg("line", { class: "grid", x1: String(LEFT), x2: String(this.#right), y1: y, y2: y }),
        svg("text", { class: "tick", y, dy: "0.35em", ...place }, tickLabel(mark, marks) + (mark === marks.at(-1) ? unit : "")),
      ].filter(Boolean);
    });
  }

  #timeLabels() {
    const seconds = this.#end - this.#start <= 120;
    const y = String(this.#bandsEnd + TIMES - 8);
    return timeTicks(this.#start, this.#end, Math.max(2, Math.floor((this.#right - LEFT) / 80))).flatMap((time) => {
      const x = this.#x(time);
      if (x < LEFT + 14 || x > this.#right - 14) return [];
      const label = clock(time).split(" ").at(-1);
      return [svg("text", { class: "tick", x: x.toFixed(1), y, "text-anchor": "middle" }, seconds ? label : label.slice(0, 5))];
    });
  }

  #line({ line, index, answer: { points, step } }, [first, last]) {
    const at = points.slice(first, last + 1).map((point) => `${this.#x(point.t + step / 2).toFixed(1)} ${this.#y(point.value, line).toFixed(1)}`);
    const style = `line line-${index}`;
    return svg("path", { class: first === last ? `${style} dot` : style, d: first === last ? `M${at[0]}h0` : `M${at.join("L")}` });
  }

  #bandOf({ line, index, answer }, place) {
    const y = String(this.#bandsAt + place * (this.#band + 1));
    const found = (line.isCounted ? [] : bands(answer.points)).map(([first, last, quality]) => svg("rect", { class: `band ${quality}`, ...this.#extent(answer, first, last), y, height: String(this.#band) }));
    if (this.#lines.length > 1) found.push(svg("path", { class: `line line-${index}`, d: `M${LEFT - 24} ${Number(y) + this.#band / 2}h20` }));
    return found;
  }

  #point(event) {
    if (!this.#lines.length) return;
    const time = this.#timeAt(event);
    if (this.#pressed !== null) {
      const [from, to] = [Math.min(time, this.#pressed), Math.max(time, this.#pressed)];
      this.#selection.setAttribute("x", this.#x(from).toFixed(1));
      this.#selection.setAttribute("width", (this.#x(to) - this.#x(from)).toFixed(1));
      this.#selection.setAttribute("visibility", "visible");
    }
    let nearest = 0;
    this.#times.forEach((one, index) => {
      if (Math.abs(one + this.#step / 2 - time) < Math.abs(this.#times[nearest] + this.#step / 2 - time)) nearest = index;
    });
    this.#choose(nearest);
  }

  #press(event) {
    this.#point(event);
    this.#pressed = event.pointerType === "mouse" && event.button === 0 && this.#lines.length ? this.#timeAt(event) : null;
  }

  #release(event) {
    const from = this.#pressed;
    this.#unpress();
    if (from === null || !this.#lines.length) return;
    const to = this.#timeAt(event);
    if (Math.abs(to - from) > (this.#end - this.#start) / 50) this.#zoomed(Math.min(from, to), Math.max(from, to));
  }

  #unpress() {
    this.#pressed = null;
    this.#selection.setAttribute("visibility", "hidden");
  }

  #timeAt(event) {
    const share = (event.clientX - this.svg.getBoundingClientRect().left - LEFT) / (this.#right - LEFT);
    return this.#start + Math.min(1, Math.max(0, share)) * (this.#end - this.#start);
  }

  #key(event) {
    if (!this.#times.length) return;
    const last = this.#times.length - 1;
    const now = this.#at === null ? last : Math.max(0, this.#times.findLastIndex((time) => time <= this.#at));
    const moves = { ArrowLeft: now - 1, ArrowRight: now + 1, PageDown: now - JUMP, PageUp: now + JUMP, Home: 0, End: last };
    if (event.key === "Escape") this.#leave();
    else if (!(event.key in moves) || event.ctrlKey || event.metaKey || event.altKey) return;
    else this.#choose(Math.min(last, Math.max(0, moves[event.key])));
    event.preventDefault();
  }

  #choose(index) {
    const time = this.#times[index];
    if (time === undefined) return;
    this.#hovered(time);
    this.#at = time;
    this.#tip.hidden = false;
    this.#place();
  }

  #leave() {
    this.#unpress();
    this.#hovered(null);
    this.mark(null);
  }

  /** The point of each line whose step holds a moment. */
  #pointsAt(time) {
    return this.#lines.map((one) => ({ ...one, point: one.answer.points.find(({ t }) => t <= time && time < t + one.answer.step) })).filter(({ point }) => point);
  }

  #place() {
    const found = this.#at === null || !this.#scales.length ? [] : this.#pointsAt(this.#at);
    this.#cross.setAttribute("visibility", found.length ? "visible" : "hidden");
    if (!found.length) {
      this.#tip.hidden = true;
      return;
    }
    const step = Math.min(...found.map(({ answer }) => answer.step));
    const x = this.#x(found.find(({ answer }) => answer.step === step).point.t + step / 2);
    replace(
      this.#cross,
      svg("line", { x1: x.toFixed(1), x2: x.toFixed(1), y1: String(TOP), y2: String(this.#bandsEnd) }),
      ...found
        .filter(({ point }) => point.value !== null)
        .map(({ line, index, point, answer }) => svg("circle", { class: `line-${index}`, cx: this.#x(point.t + answer.step / 2).toFixed(1), cy: this.#y(point.value, line).toFixed(1), r: "3.5" })),
    );
    this.#say(this.#at);
    if (!this.#tip.hidden) this.#showTip(found, x);
  }

  #showTip(found, x) {
    const many = this.#lines.length > 1;
    const rows = many
      ? found.map(({ line, point, index }) => [`line-${index}`, `${line.title}, ${line.from}: ${valueOf(point, line)}, ${completenessOf(point, line)}`])
      : [["", valueOf(found[0].point, found[0].line)], ["", completenessOf(found[0].point, found[0].line)]];
    const lines = [["", clock(found[0].point.t)], ...rows];
    this.#tip.classList.toggle("many", many);
    if (this.#tip.children.length !== lines.length) replace(this.#tip, ...lines.map(() => el("span")));
    lines.forEach(([style, text], index) => {
      this.#tip.children[index].className = style;
      setText(this.#tip.children[index], text);
    });
    const left = x > this.#width / 2 ? x - this.#tip.offsetWidth - 10 : x + 10;
    this.#tip.style.left = `${Math.min(Math.max(0, left), Math.max(0, this.#width - this.#tip.offsetWidth))}px`;
  }

  /** What a screen reader says of the points of a moment. */
  #say(time) {
    const index = this.#times.findLastIndex((one) => one <= time);
    this.svg.setAttribute("aria-valuemin", "0");
    this.svg.setAttribute("aria-valuemax", String(Math.max(0, this.#times.length - 1)));
    this.svg.setAttribute("aria-valuenow", String(Math.max(0, index)));
    const found = index < 0 ? [] : this.#pointsAt(time);
    const many = this.#lines.length > 1;
    const said = found.map(({ line, point }) => `${many ? `${line.title}, ${line.from}: ` : ""}${valueOf(point, line)}, ${completenessOf(point, line)}`);
    this.svg.setAttribute("aria-valuetext", said.length ? [clock(found[0].point.t), ...said].join(many ? "; " : ", ") : "nothing arrived in this time");
  }
}

function valueOf(point, line) {
  return point.value === null ? "no value: nothing arrived" : valueText(point.value, line.unit, line.perSecond);
}

function completenessOf(point, { isCounted }) {
  if (isCounted) return "counted by the collector itself";
  const known = point.completeness !== null && point.completeness !== undefined;
  if (!known) return point.lost ? `${count(point.lost)} lost` : point.value === null ? "how much was lost is unknown" : "completeness unknown";
  return point.completeness >= 1 ? "complete" : `${percent(point.completeness)} complete, ${count(point.lost)} lost`;
}
