// Finds series by name, label or sender; each that is ticked has a chart of its own, or a line in a chosen one.

import { MOST_CHARTS } from "./charts.js";
import { byId, el, plain, replace, setText } from "./dom.js";
import { count, plural, seriesName, unitOf, value as valueText } from "./format.js";
import { completenessOf, keyOf } from "./line.js";

const MOST = 50;
const PAUSE = 200;

export class Picker {
  #api;
  #charts;
  #timer = null;
  #asked = 0;
  #series = [];
  /** The card that gets the lines; null for charts of their own. */
  #card = null;

  constructor(api, charts) {
    this.#api = api;
    this.#charts = charts;
    charts.onAdd = (card) => this.#open(card);
    byId("picker-target").addEventListener("change", () => {
      this.#card = this.#charts.cards[Number(byId("picker-target").value)] ?? null;
      this.#showRows();
    });
    byId("picker").addEventListener("toggle", () => {
      if (!byId("picker").open) {
        this.#card = null;
        return;
      }
      this.#showTargets();
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
    this.#open(null);
  }

  #open(card) {
    this.#card = card;
    if (byId("picker").open) {
      this.#showTargets();
      this.#search();
    } else byId("picker").open = true; // which does the same
    byId("picker").scrollIntoView({ block: "center" });
  }

  /** Where what is ticked goes. */
  #showTargets() {
    const cards = this.#charts.cards;
    if (!cards.includes(this.#card)) this.#card = null;
    const options = cards.map((card, index) => el("option", { value: String(index) }, card.title));
    replace(byId("picker-target"), el("option", { value: "" }, "a chart of its own"), ...options);
    byId("picker-target").value = this.#card ? String(cards.indexOf(this.#card)) : "";
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
    this.#series = series;
    const more = truncated ? `, ${count(truncated)} more: type to narrow them down` : "";
    setText(byId("picker-note"), series.length ? `${count(series.length)} series${more}` : "No series matches.");
    this.#showRows();
  }

  #showRows() {
    replace(byId("picker-list"), ...this.#series.map((one) => this.#row(one)));
    this.#limit();
  }

  #row(series) {
    const box = el("input", { type: "checkbox" });
    box.dataset.key = keyOf(series);
    box.addEventListener("change", () => {
      this.#charts.toggle(series, this.#card);
      this.#showTargets();
      this.#limit();
    });
    const last = { counter: null, histogram: plural(series.last, "observation") };
    const about = [plain(series.sender), series.kind, series.kind in last ? last[series.kind] : valueText(series.last, unitOf(series.name, series.unit))];
    const doubtful = series.incomplete?.length || (series.completeness ?? 1) < 1;
    return el(
      "li",
      {},
      el(
        "label",
        {},
        box,
        el("span", { class: "name" }, plain(seriesName(series))),
        el("span", { class: "muted" }, about.filter(Boolean).join(" · ")),
        el("span", { class: doubtful ? "doubt" : "muted" }, completenessOf(series)),
      ),
    );
  }

  /** No more can be ticked than there is room for. */
  #limit() {
    const boxes = [...byId("picker-list").querySelectorAll("input")];
    let refused = null;
    boxes.forEach((box, index) => {
      const series = this.#series[index];
      box.checked = this.#card ? this.#card.has(series) : this.#charts.has(series);
      const problem = box.checked ? null : this.#card ? this.#card.refusal(series) : this.#charts.isFull ? `${MOST_CHARTS} charts are the most at once: take one away first.` : null;
      box.disabled = problem !== null;
      refused ??= problem;
    });
    if (refused) setText(byId("picker-note"), refused);
  }
}
