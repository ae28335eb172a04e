// One chart: a line that never crosses a gap, the band of completeness below it, and the values under pointer or keyboard.

import { el, replace, setText, svg } from "./dom.js";
import { axis, clock, count, percent, value as valueText } from "./format.js";
import { bands, gaps, runs, tickLabel, ticks, timeTicks, valueRange } from "./scale.js";

const HEIGHT = 168;
const LEFT = 62;
const RIGHT = 10;
const TOP = 8;
const PLOT = 120;
const BAND_AT = TOP + PLOT + 4;
const BAND = 6;
const JUMP = 10;

export class Chart {
  #answer = null;
  #perSecond = false;
  #at = null;
  #width = 0;
  #hovered;
  #zoomed;
  #pressed = null;
  #layer = svg("g");
  #cross = svg("g", { class: "cross", visibility: "hidden" });
  #tip = el("div", { class: "tip", hidden: true });

  /**
   * `hovered(time)` is called with the moment under the pointer, or null, so that other charts can show the same;
   * `zoomed(from, to)` with the stretch of time that was drawn over with the pointer.
   */
  constructor(label, hovered, zoomed) {
    this.#hovered = hovered;
    this.#zoomed = zoomed;
    this.svg = svg("svg", { class: "chart", height: String(HEIGHT), width: "100%", tabindex: "0", role: "slider", "aria-label": label, "aria-roledescription": "chart" }, this.#layer, this.#cross);
    this.node = el("div", { class: "plot" }, this.svg, this.#tip);
    this.svg.addEventListener("pointermove", (event) => this.#point(event));
    this.svg.addEventListener("pointerdown", (event) => this.#press(event));
    this.svg.addEventListener("pointerup", (event) => this.#release(event));
    this.svg.addEventListener("pointerleave", () => this.#leave());
    this.svg.addEventListener("blur", () => this.#leave());
    this.svg.addEventListener("keydown", (event) => this.#key(event));
    new ResizeObserver(() => this.#resized()).observe(this.node);
  }

  /** Draws an answer of the query interface. */
  show(answer, perSecond) {
    this.#answer = answer;
    this.#perSecond = perSecond;
    this.#draw();
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

  #draw() {
    if (!this.#answer || this.#width < LEFT + RIGHT + 20) return;
    const { points } = this.#answer;
    const values = points.map((point) => point.value).filter((value) => value !== null);
    const range = valueRange(values);
    const written = axis(this.#answer.unit, Math.max(Math.abs(range[0]), Math.abs(range[1])), this.#perSecond);
    const marks = ticks(range[0] / written.scale, range[1] / written.scale, 4);
    this.low = marks[0] * written.scale;
    this.high = marks.at(-1) * written.scale;
    replace(
      this.#layer,
      ...this.#gaps(points),
      ...this.#grid(marks, written),
      ...this.#times(),
      ...runs(points).map((run) => this.#line(points, run)),
      ...this.#band(points),
      values.length ? null : svg("text", { class: "nothing", x: String((LEFT + this.#width - RIGHT) / 2), y: String(TOP + PLOT / 2) }, "nothing arrived in this time"),
    );
    this.#place();
    if (this.#at === null) this.#say(points.length - 1);
  }

  #x(time) {
    const { start, end } = this.#answer;
    return LEFT + ((time - start) / Math.max(end - start, 1e-9)) * (this.#width - LEFT - RIGHT);
  }

  #y(value) {
    return TOP + PLOT - ((value - this.low) / (this.high - this.low || 1)) * PLOT;
  }

  /** The middle of a point's step: its time is the step's beginning. */
  #middle(point) {
    return this.#x(point.t + this.#answer.step / 2);
  }

  /** The horizontal extent of the steps of points `first` to `last`. */
  #extent(points, first, last) {
    const from = Math.max(LEFT, this.#x(points[first].t));
    const to = Math.min(this.#width - RIGHT, this.#x(points[last].t + this.#answer.step));
    return { x: from.toFixed(1), width: Math.max(0.5, to - from).toFixed(1) };
  }

  #gaps(points) {
    return gaps(points).map(([first, last]) => svg("rect", { class: "gap", fill: "url(#hatch)", ...this.#extent(points, first, last), y: String(TOP), height: String(PLOT) }));
  }

  #grid(marks, written) {
    const right = String(this.#width - RIGHT);
    const unit = written.unit && (written.unit.startsWith("/") ? written.unit : ` ${written.unit}`);
    const shown = marks.flatMap((mark) => {
      const y = this.#y(mark * written.scale).toFixed(1);
      return [
        svg("line", { class: "grid", x1: String(LEFT), x2: right, y1: y, y2: y }),
        svg("text", { class: "tick", x: String(LEFT - 6), y, "text-anchor": "end", dy: "0.35em" }, tickLabel(mark, marks) + (mark === marks.at(-1) ? unit : "")),
      ];
    });
    return shown;
  }

  #times() {
    const { start, end } = this.#answer;
    const seconds = end - start <= 120;
    return timeTicks(start, end, Math.max(2, Math.floor((this.#width - LEFT) / 90))).flatMap((time) => {
      const x = this.#x(time);
      if (x < LEFT + 14 || x > this.#width - RIGHT - 14) return [];
      const label = clock(time).split(" ").at(-1);
      return [svg("text", { class: "tick", x: x.toFixed(1), y: String(HEIGHT - 6), "text-anchor": "middle" }, seconds ? label : label.slice(0, 5))];
    });
  }

  #line(points, [first, last]) {
    const at = points.slice(first, last + 1).map((point) => `${this.#middle(point).toFixed(1)} ${this.#y(point.value).toFixed(1)}`);
    return svg("path", { class: first === last ? "line dot" : "line", d: first === last ? `M${at[0]}h0` : `M${at.join("L")}` });
  }

  #band(points) {
    return bands(points).map(([first, last, quality]) =>
      svg("rect", { class: `band ${quality}`, ...this.#extent(points, first, last), y: String(BAND_AT), height: String(BAND) }),
    );
  }

  #point(event) {
    if (!this.#answer) return;
    const { start, end, step, points } = this.#answer;
    const share = (event.clientX - this.svg.getBoundingClientRect().left - LEFT) / (this.#width - LEFT - RIGHT);
    const time = start + share * (end - start) - step / 2;
    let nearest = 0;
    points.forEach((point, index) => {
      if (Math.abs(point.t - time) < Math.abs(points[nearest].t - time)) nearest = index;
    });
    this.#choose(nearest);
  }

  #press(event) {
    this.#point(event);
    this.#pressed = event.pointerType === "mouse" && event.button === 0 ? this.#timeAt(event) : null;
  }

  #release(event) {
    const from = this.#pressed;
    this.#pressed = null;
    if (from === null || !this.#answer) return;
    const to = this.#timeAt(event);
    const { start, end } = this.#answer;
    if (Math.abs(to - from) > (end - start) / 50) this.#zoomed(Math.min(from, to), Math.max(from, to));
  }

  #timeAt(event) {
    if (!this.#answer) return null;
    const { start, end } = this.#answer;
    const share = (event.clientX - this.svg.getBoundingClientRect().left - LEFT) / (this.#width - LEFT - RIGHT);
    return start + Math.min(1, Math.max(0, share)) * (end - start);
  }

  #key(event) {
    if (!this.#answer?.points.length) return;
    const last = this.#answer.points.length - 1;
    const now = this.#at === null ? last : this.#index();
    const moves = { ArrowLeft: now - 1, ArrowRight: now + 1, PageDown: now - JUMP, PageUp: now + JUMP, Home: 0, End: last };
    if (event.key === "Escape") this.#leave();
    else if (!(event.key in moves) || event.ctrlKey || event.metaKey || event.altKey) return;
    else this.#choose(Math.min(last, Math.max(0, moves[event.key])));
    event.preventDefault();
  }

  #choose(index) {
    const point = this.#answer.points[index];
    if (!point) return;
    this.#hovered(point.t);
    this.#at = point.t;
    this.#tip.hidden = false;
    this.#place();
  }

  #leave() {
    this.#hovered(null);
    this.mark(null);
  }

  #index() {
    const { points } = this.#answer;
    return points.findIndex((point) => Math.abs(point.t - this.#at) <= this.#answer.step / 2);
  }

  #place() {
    const index = this.#at === null || !this.#answer ? -1 : this.#index();
    this.#cross.setAttribute("visibility", index < 0 ? "hidden" : "visible");
    if (index < 0) {
      this.#tip.hidden = true;
      return;
    }
    const point = this.#answer.points[index];
    const x = this.#middle(point);
    replace(
      this.#cross,
      svg("line", { x1: x.toFixed(1), x2: x.toFixed(1), y1: String(TOP), y2: String(BAND_AT + BAND) }),
      point.value === null ? null : svg("circle", { cx: x.toFixed(1), cy: this.#y(point.value).toFixed(1), r: "3.5" }),
    );
    this.#say(index);
    if (!this.#tip.hidden) this.#showTip(point, x);
  }

  #showTip(point, x) {
    const lines = [clock(point.t), this.#valueOf(point), ...this.#completenessOf(point)];
    if (this.#tip.children.length !== lines.length) replace(this.#tip, ...lines.map(() => el("span")));
    lines.forEach((line, index) => setText(this.#tip.children[index], line));
    const left = x > this.#width / 2 ? x - this.#tip.offsetWidth - 10 : x + 10;
    this.#tip.style.left = `${Math.max(0, left)}px`;
  }

  #valueOf(point) {
    return point.value === null ? "no value: nothing arrived" : valueText(point.value, this.#answer.unit, this.#perSecond);
  }

  #completenessOf(point) {
    const known = point.completeness !== null && point.completeness !== undefined;
    if (!known) return [point.lost ? `${count(point.lost)} lost` : point.value === null ? "how much was lost is unknown" : "completeness unknown"];
    return [point.completeness >= 1 ? "complete" : `${percent(point.completeness)} complete, ${count(point.lost)} lost`];
  }

  /** What a screen reader says of the point. */
  #say(index) {
    const { points } = this.#answer;
    const point = points[index];
    this.svg.setAttribute("aria-valuemin", "0");
    this.svg.setAttribute("aria-valuemax", String(Math.max(0, points.length - 1)));
    this.svg.setAttribute("aria-valuenow", String(Math.max(0, index)));
    const text = point ? [clock(point.t), this.#valueOf(point), ...this.#completenessOf(point)].join(", ") : "nothing arrived in this time";
    this.svg.setAttribute("aria-valuetext", text);
  }
}
