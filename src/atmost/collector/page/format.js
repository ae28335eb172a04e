// Numbers, times and units for people. Null is unknown and reads as a dash, never as 0.

export const UNKNOWN = "–";

// Seconds since 1970 that a Date can hold; what is beyond them is no time.
const LATEST = 8.64e12;
const WHOLE = new Intl.NumberFormat("en-US", { maximumFractionDigits: 0 });
const DECIMAL = [["T", 1e12], ["G", 1e9], ["M", 1e6], ["k", 1e3], ["", 1], ["m", 1e-3], ["µ", 1e-6]];
const BINARY = [["TiB", 2 ** 40], ["GiB", 2 ** 30], ["MiB", 2 ** 20], ["KiB", 2 ** 10], ["B", 1]];
const TIMES = [["s", 1], ["ms", 1e-3], ["µs", 1e-6]];

/** A count, whole: 12,345. */
export function count(number) {
  return isKnown(number) ? WHOLE.format(number) : UNKNOWN;
}

/** Whole up to 9,999, then three digits and a power: 12.3 k. */
export function short(number) {
  if (!isKnown(number)) return UNKNOWN;
  if (number < 10_000) return digits(number);
  const [prefix, scale] = step(DECIMAL.slice(0, 5), Math.abs(number));
  return `${digits(number / scale)}${prefix && " " + prefix}`;
}

/** A share as a percentage; what is not quite 0 or 100 never reads as that. */
export function percent(share) {
  if (!isKnown(share)) return UNKNOWN;
  const value = share * 100;
  if (value > 0 && value < 0.01) return "< 0.01 %";
  if (value < 100 && value > 99.99) return "> 99.99 %";
  const places = value === 0 || value === 100 ? 0 : value < 0.1 || value > 99.9 ? 2 : value < 10 ? 2 : 1;
  return `${value.toFixed(places)} %`;
}

/** Bytes: 3.1 MiB. */
export function bytes(number) {
  if (!isKnown(number)) return UNKNOWN;
  const [prefix, scale] = step(BINARY, Math.abs(number));
  return `${digits(number / scale)} ${prefix}`;
}

/** Seconds: 0.4 s, 12 s, 3 min 20 s, 2 h 05 min, 3 d 4 h. */
export function duration(seconds) {
  if (!isKnown(seconds)) return UNKNOWN;
  if (seconds < 10) return `${Math.max(0, seconds).toFixed(1)} s`;
  if (seconds < 60) return `${Math.floor(seconds)} s`;
  const minutes = Math.floor(seconds / 60);
  if (minutes < 60) return `${minutes} min ${pad(Math.floor(seconds % 60))} s`;
  const hours = Math.floor(minutes / 60);
  return hours < 24 ? `${hours} h ${pad(minutes % 60)} min` : `${Math.floor(hours / 24)} d ${hours % 24} h`;
}

/** Local time of day; the date before it where that is another than today's. */
export function clock(time, milliseconds = false) {
  if (!isKnown(time) || Math.abs(time) > LATEST) return UNKNOWN;
  const at = new Date(time * 1000);
  const text = `${pad(at.getHours())}:${pad(at.getMinutes())}:${pad(at.getSeconds())}`;
  const fine = milliseconds ? `.${String(at.getMilliseconds()).padStart(3, "0")}` : "";
  const date = at.toDateString() === new Date().toDateString() ? "" : `${at.getMonth() + 1}/${at.getDate()} `;
  return date + text + fine;
}

/** The same moment without doubt, for a title. */
export function isoTime(time) {
  return isKnown(time) && Math.abs(time) <= LATEST ? new Date(time * 1000).toISOString() : "";
}

/** The unit of a series; where none is told, the one that its name ends on by convention. */
export function unitOf(name, unit) {
  if (unit) return unit;
  const [, ending = ""] = /[._](bytes|seconds|ratio|utilization|bytes_per_second)(?:_total)?$/.exec(name) ?? [];
  return { utilization: "ratio", bytes_per_second: "bytes/s" }[ending] ?? ending;
}

/** How to write values of a unit whose largest is `most`: the factor to divide by, and what follows the number. */
export function axis(unit, most, perSecond) {
  const after = perSecond ? "/s" : "";
  const size = Math.abs(most);
  switch (unit) {
    case "bytes":
    case "bytes/s": {
      const [name, scale] = step(BINARY, size);
      return { scale, unit: name + (unit === "bytes/s" ? "/s" : after) };
    }
    case "seconds": {
      const [name, scale] = perSecond ? ["s", 1] : size === 0 ? ["s", 1] : step(TIMES, size);
      return { scale, unit: name + after };
    }
    case "ratio":
      return { scale: 0.01, unit: "%" + after };
    case "percent":
      return { scale: 1, unit: "%" + after };
  }
  const [prefix, scale] = size === 0 ? ["", 1] : step(size >= 1 ? DECIMAL.slice(0, 5) : size >= 0.01 ? [["", 1]] : DECIMAL, size);
  return { scale, unit: [prefix, unit === "1" ? "" : unit].filter(Boolean).join(" ") + after };
}

/** One value with its unit, three digits. */
export function value(number, unit, perSecond = false) {
  if (!isKnown(number)) return UNKNOWN;
  const { scale, unit: name } = axis(unit, number, perSecond);
  return `${digits(number / scale)}${name.startsWith("/") || !name ? "" : " "}${name}`;
}

/** Three digits at least, without an exponent. */
export function digits(number) {
  const size = Math.abs(number);
  if (size >= 1000) return WHOLE.format(number);
  const places = size >= 100 ? 0 : size >= 10 ? 1 : 2;
  return Number.isInteger(number) ? String(number) : number.toFixed(places);
}

/** Counts by name: "duplicate 3, malformed 1", the largest first; what is 0 is left out. */
export function reasons(counts, none = "none") {
  if (counts === null) return UNKNOWN;
  const known = Object.entries(counts ?? {}).filter(([, number]) => number);
  known.sort((one, other) => other[1] - one[1]);
  return known.map(([name, number]) => `${words(name)} ${count(number)}`).join(", ") || none;
}

/** A name of the account in words. */
export function words(name) {
  return name.replaceAll("_", " ");
}

/** One and many: plural(2, "message"). */
export function plural(number, noun) {
  return `${count(number)} ${noun}${number === 1 ? "" : "s"}`;
}

/** A series as people write it: name{label="value"}. */
export function seriesName({ name, labels }) {
  const pairs = Object.entries(labels ?? {}).map(([key, text]) => `${key}="${text}"`);
  return pairs.length ? `${name}{${pairs.join(", ")}}` : name;
}

function isKnown(number) {
  return typeof number === "number" && Number.isFinite(number);
}

function step(steps, size) {
  return steps.find(([, scale]) => size >= scale) ?? steps.at(-1);
}

function pad(number) {
  return String(number).padStart(2, "0");
}
