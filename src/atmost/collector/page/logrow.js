// One line of the log: a record, or the hole where records are missing.

import { el, plain, visible } from "./dom.js";
import { clock, count, isoTime, words } from "./format.js";

const RANKS = { TRACE: 5, DEBUG: 10, INFO: 20, INFORMATIONAL: 20, NOTICE: 25, WARN: 30, WARNING: 30, ERR: 40, ERROR: 40, CRIT: 50, CRITICAL: 50, FATAL: 50, ALERT: 60, EMERG: 70, EMERGENCY: 70 };

// What terminals would turn into colours, and says nothing here.
const COLOURS = /\x1b\[[0-9;]*m/g;
// Fields that every record has unless its program does something unusual.
const USUAL = { thread: "MainThread", process: "MainProcess" };

/** How grave a level is; null where that is not known. */
export function rank(level) {
  const name = level?.toUpperCase() ?? "";
  const numbered = /^LEVEL (\d+)$/.exec(name);
  return numbered ? Number(numbered[1]) : (RANKS[name] ?? null);
}

/** Whether a record passes. What is not known to fail does: a hole passes where a line that would have may be missing. */
export function passes(record, { level, sender, text, logger, field, since, until }) {
  if (sender && record.sender !== sender) return false;
  if ((since && record.t < since) || (until && record.t > until)) return false;
  const least = rank(level);
  if (record.type === "gap") {
    return least === null || unknownLevels(record) > 0 || Object.entries(record.by_level).some(([name, lost]) => lost && (rank(name) ?? least) >= least);
  }
  if (least !== null && (rank(record.level) ?? least) < least) return false;
  if (logger && !`${record.logger}.`.startsWith(`${logger}.`)) return false;
  if (field && !hasField(record.fields ?? {}, field)) return false;
  if (!text) return true;
  const wanted = text.toLowerCase();
  return [record.message, record.exception].some((one) => one?.toLowerCase().includes(wanted));
}

/** Whether a record has a field as NAME=VALUE says. */
function hasField(fields, wanted) {
  const at = wanted.indexOf("=");
  const name = wanted.slice(0, at);
  return Object.hasOwn(fields, name) && asText(fields[name]) === wanted.slice(at + 1);
}

/** The element of a record. */
export function rowOf(record) {
  return record.type === "gap" ? gapRow(record) : lineRow(record);
}

/** "3 lost here (2 INFO, 1 DEBUG)". */
export function gapText(gap) {
  const known = Object.entries(gap.by_level ?? {}).filter(([, number]) => number);
  known.sort(([one], [other]) => (rank(other) ?? 0) - (rank(one) ?? 0));
  const counted = known.map(([name, number]) => `${count(number)} ${plain(name)}`);
  if (unknownLevels(gap)) counted.push(counted.length ? `${count(unknownLevels(gap))} of unknown level` : "levels unknown");
  return `${count(gap.lost)} lost here${counted.length ? ` (${counted.join(", ")})` : ""}`;
}

/** How many of a hole's lines nobody can tell the level of. */
function unknownLevels({ lost, by_level: levels }) {
  return Math.max(0, lost - Object.values(levels ?? {}).reduce((sum, number) => sum + number, 0));
}

function gapRow(record) {
  const doubt = record.verified === false ? el("span", { class: "badge", title: "This protocol's numbers may jump without a loss if a relay filters." }, "unverified") : null;
  const about = [record.reason && plain(words(record.reason)), period(record)].filter(Boolean).join(", ");
  const text = el("span", { class: "message" }, el("strong", {}, gapText(record)), " ", el("span", { class: "muted" }, about), " ", doubt);
  return row(record, "gap", text);
}

function lineRow(record) {
  const message = el("span", { class: "message" });
  if (record.logger) message.append(el("span", { class: "muted" }, plain(record.logger), " "));
  message.append(visible(record.message.replace(COLOURS, "")));
  if (record.late) message.append(" ", el("span", { class: "badge warn", title: "It came after it had been counted as lost; it is not lost any more." }, "late"));
  if (record.truncated) message.append(" ", el("span", { class: "badge warn" }, "shortened"));
  const fields = Object.entries(record.fields ?? {}).filter(([key, value]) => USUAL[key] !== value);
  if (fields.length) message.append(" ", el("span", { class: "muted fields" }, visible(fields.map(([key, value]) => `${key}=${asText(value)}`).join(" "))));
  if (record.exception) message.append(el("details", { class: "exception" }, el("summary", {}, lastLine(record.exception)), el("pre", {}, visible(record.exception))));
  return row(record, "", message);
}

function row(record, style, message) {
  const level = record.type === "gap" ? "gap" : (record.level ?? "");
  const grade = record.type === "gap" ? "gap" : gradeOf(record.level);
  const made = el(
    "li",
    { class: `log ${style}` },
    el("time", { datetime: isoTime(record.t), title: isoTime(record.t) }, clock(record.t, true)),
    el("span", { class: `level ${grade}` }, plain(level)),
    el("span", { class: "sender", title: plain([record.sender, record.host, record.source].filter(Boolean).join(" · ")) }, plain(record.sender)),
    message,
  );
  made.dataset.cursor = record.cursor;
  return made;
}

function gradeOf(level) {
  const grade = rank(level);
  if (grade === null) return "";
  return grade >= 40 ? "bad" : grade >= 30 ? "warn" : grade < 20 ? "faint" : "";
}

function period({ from, to }) {
  if (!from || !to) return null;
  return from === to ? `at ${clock(from)}` : `between ${clock(from)} and ${clock(to)}`;
}

function asText(value) {
  return typeof value === "string" ? value : JSON.stringify(value);
}

function lastLine(text) {
  return plain(text.trimEnd().split("\n").at(-1).slice(0, 200));
}
