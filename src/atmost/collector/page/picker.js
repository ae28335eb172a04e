// Finds series by name, label or sender; each that is ticked has a chart.

import { MOST_CHARTS, keyOf } from "./charts.js";
import { byId, el, plain, replace, setText } from "./dom.js";
import { count, seriesName, unitOf, value as valueText } from "./format.js";

const MOST = 50;
const PAUSE = 200;

export class Picker {
  #api;
  #charts;
  #timer = null;
  #asked = 0;

  constructor(api, charts) {
    this.#api = api;
    this.#charts = charts;
    byId("picker").addEventListener("toggle", () => {
      if (!byId("picker").open) return;
      this.#search();
      byId("picker-text").focus();
    });
    byId("picker").addEventListener("keydown", (event) => {
      if (event.key !== "Escape") return;
      byId("picker").open = false;
      byId("picker").querySelector("summary").focus();
    });
    document.addEventListener("pointerdown", (event) => {
      if (!byId("picker").contains(event.target)) byId("picker").open = false;
    });
    byId("picker-text").addEventListener("input", () => {
      clearTimeout(this.#timer);
      this.#timer = setTimeout(() => this.#search(), PAUSE);
    });
  }

  /** Opens the list with what matches a text. */
  search(text) {
    byId("picker-text").value = text;
    byId("picker").open = true;
    byId("picker").scrollIntoView({ block: "center" });
    this.#search();
  }

  async #search() {
    const asked = ++this.#asked;
    try {
      const answer = await this.#api.get("series", { match: byId("picker-text").value.trim(), limit: MOST });
      if (asked === this.#asked) this.#show(answer);
    } catch (error) {
      setText(byId("picker-note"), error.message);
    }
  }

  #show({ series, truncated }) {
    const more = truncated ? `, ${count(truncated)} more: type to narrow them down` : "";
    setText(byId("picker-note"), series.length ? `${count(series.length)} series${more}` : "No series matches.");
    replace(byId("picker-list"), ...series.map((one) => this.#row(one)));
    this.#limit();
  }

  #row(series) {
    const box = el("input", { type: "checkbox" });
    box.checked = this.#charts.has(series);
    box.dataset.key = keyOf(series);
    box.addEventListener("change", () => {
      this.#charts.toggle(series);
      this.#limit();
    });
    const last = { counter: null, histogram: `${count(series.last)} observations` };
    const about = [plain(series.sender), series.kind, series.kind in last ? last[series.kind] : valueText(series.last, unitOf(series.name, series.unit))];
    return el("li", {}, el("label", {}, box, el("span", { class: "name" }, plain(seriesName(series))), el("span", { class: "muted" }, about.filter(Boolean).join(" · "))));
  }

  /** No more can be ticked than there is room for. */
  #limit() {
    const boxes = byId("picker-list").querySelectorAll("input");
    for (const box of boxes) box.disabled = !box.checked && this.#charts.isFull;
    if (this.#charts.isFull) setText(byId("picker-note"), `${MOST_CHARTS} charts are the most at once: take one away first.`);
  }
}
