// One line of a chart: a series, or several of one name added up; what is asked of the collector for it, and its words.

import { plain } from "./dom.js";
import { percent, seriesName, unitOf } from "./format.js";

/** Figures of a histogram. */
export const QUANTILES = ["p50", "p90", "p99"];
/** How values become one: of totals always their sum. */
export const COMBINED = ["sum", "mean", "min", "max"];

/** Why a total may be too small, in words. */
const INCOMPLETE = {
  tail_unknown: "a process ended, or is silent, and its last snapshot did not come: the total may be too small",
  pending: "the latest snapshot is not known yet",
  refused_by_sender: "a process did not send all it counted",
  conflict: "another sender declared this name differently, and was refused",
  limit: "a limit refused series",
  evicted: "a process came back after it had been forgotten: the total may be too small",
};

/** The identity of a series. */
export function keyOf({ name, labels, sender, source }) {
  return JSON.stringify([name, Object.entries(labels ?? {}).sort(), sender, source]);
}

/** The reasons why a total may be too small, as sentences. */
export function doubtsOf(reasons) {
  return (reasons ?? []).map((reason) => INCOMPLETE[reason] ?? `the total may be too small: ${reason}`);
}

/** How complete the list says that a series is, and why it is not known. */
export function completenessOf({ kind, source, completeness, incomplete }) {
  const doubts = doubtsOf(incomplete);
  if (doubts.length) return doubts.join("; ");
  if (typeof completeness === "number") return completeness >= 1 ? "complete" : `${percent(completeness)} complete`;
  if (source === "statsd") return "completeness unknown: StatsD carries no numbers";
  if (source === "collector") return "counted by the collector itself";
  return kind ? "nothing due in the last minute" : "";
}

export class Line {
  /** The series is one of the collector's list, or what `toJson` made of a line. */
  constructor({ name, labels, sender, source, kind, unit, help, as, over, combine }) {
    this.series = { name, labels: labels ?? {}, sender: sender ?? null, source, kind, unit: unit ?? "", help };
    this.as = kind === "counter" ? "rate" : kind !== "histogram" ? "value" : QUANTILES.includes(as) ? as : "p99";
    /** What it is added up over: labels of the series, or "sender" (a label of that name is "label sender"). */
    this.over = new Set(Array.isArray(over) ? over.filter((one) => this.parts.includes(one)) : []);
    this.combine = COMBINED.includes(combine) ? combine : "sum";
    this.answer = null;
    this.problem = "";
  }

  /** Whether another thing than a total is drawn, so that its values may be combined in several ways. */
  get isValue() {
    return this.as === "value";
  }

  /** Whether completeness is a question at all: what the collector counts itself is all there. */
  get isCounted() {
    return this.series.source === "collector";
  }

  get perSecond() {
    return this.as === "rate";
  }

  /** What it can be added up over. */
  get parts() {
    const { sender, labels } = this.series;
    return [...(sender ? ["sender"] : []), ...Object.keys(labels).map(partOf)];
  }

  get unit() {
    return unitOf(this.series.name, this.answer?.unit || this.series.unit);
  }

  /** The axis that it belongs to: lines of the same unit share one. */
  get scale() {
    return `${this.unit}${this.perSecond ? "/s" : ""}`;
  }

  /** The labels and the sender that it is still of. */
  get rest() {
    const { labels, sender } = this.series;
    return {
      labels: Object.fromEntries(Object.entries(labels).filter(([label]) => !this.over.has(partOf(label)))),
      sender: this.over.has("sender") ? null : sender,
    };
  }

  /** The line's own identity: two with the same would draw the same. */
  get key() {
    return JSON.stringify([keyOf({ ...this.series, ...this.rest }), this.as, this.isCombined && this.isValue ? this.combine : ""]);
  }

  get isCombined() {
    return this.over.size > 0;
  }

  /** The name with the labels that it is still of. */
  get name() {
    const how = this.isCombined && this.isValue ? `${this.combine} of ` : "";
    return how + plain(seriesName({ name: this.series.name, labels: this.rest.labels }));
  }

  /** The same with the figure of a histogram. */
  get title() {
    return QUANTILES.includes(this.as) ? `${this.name} ${this.as}` : this.name;
  }

  /** Whose it is. */
  get from() {
    const { sender } = this.rest;
    const over = [...this.over].filter((one) => one !== "sender").map((one) => plain(one.replace("label ", "")));
    const whose = sender === null ? "all senders" : plain(sender);
    const source = this.series.source === "atmost" ? null : this.series.source;
    return [whose, over.length ? `over all of ${over.join(", ")}` : null, source].filter(Boolean).join(", ");
  }

  /** The parameters of its query. */
  question(range, end, step) {
    const { labels, sender } = this.rest;
    return {
      name: this.series.name,
      label: Object.entries(labels).map(([label, text]) => `${label}=${text}`),
      sender,
      range,
      end,
      step,
      as: this.as,
      combine: this.isCombined && this.isValue ? this.combine : null,
    };
  }

  /** What an address or this browser keeps of it. */
  toJson() {
    const { name, labels, sender, source, kind, unit } = this.series;
    const kept = { name, labels, sender, source, kind, unit, as: this.as };
    if (this.isCombined) Object.assign(kept, { over: [...this.over], combine: this.combine });
    return kept;
  }
}

function partOf(label) {
  return label === "sender" ? "label sender" : label;
}
