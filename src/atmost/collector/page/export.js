// Saves what a chart shows: its points as CSV, its picture as PNG.

import { el, svg } from "./dom.js";
import { clock, isoTime } from "./format.js";

const STYLES = ["fill", "stroke", "stroke-width", "stroke-dasharray", "stroke-linecap", "stroke-linejoin", "opacity", "font-size", "font-family", "text-anchor", "shape-rendering"];
const PADDING = 12;
const ROW = 18;
/** Pixels of the picture for each of the page's. */
const SHARPNESS = 2;

/** The points as a table: a row a time; of each line value, lost and completeness, empty where nothing is known. */
export function csvOf(lines) {
  const known = lines.filter((line) => line.answer);
  const alone = known.length === 1;
  const head = known.flatMap((line) => {
    const name = alone ? "" : `${line.title}, ${line.from}: `;
    return ["value", "lost", "completeness"].map((what) => quoted(name + what));
  });
  const at = new Map();
  known.forEach(({ answer }, index) => {
    for (const point of answer.points) {
      if (!at.has(point.t)) at.set(point.t, []);
      at.get(point.t)[index] = point;
    }
  });
  const rows = [...at.entries()].sort(([one], [other]) => one - other).map(([time, points]) => {
    const cells = known.flatMap((_, index) => [points[index]?.value, points[index]?.lost, points[index]?.completeness]);
    return [isoTime(time), ...cells.map((cell) => cell ?? "")].join(",");
  });
  return `${["time", ...head].join(",")}\n${rows.join("\n")}\n`;
}

/** Gives a file to the reader. */
export function save(content, name, ending) {
  const address = URL.createObjectURL(content);
  el("a", { href: address, download: `${name.replaceAll(/[^A-Za-z0-9._-]+/g, "_").slice(0, 100)}.${ending}` }).click();
  setTimeout(() => URL.revokeObjectURL(address), 10_000);
}

/** The picture of a chart as a PNG: title, lines with their names and last values, time, and the chart in the page's colours. */
export async function pngOf(chart, title, rows, window) {
  const shown = chart.getBoundingClientRect();
  const width = Math.round(shown.width) + 2 * PADDING;
  const top = PADDING + ROW * (2 + rows.length);
  const height = top + Math.round(shown.height) + PADDING;
  const style = getComputedStyle(document.documentElement);
  const panel = getComputedStyle(chart.closest(".panel")).backgroundColor;
  const font = style.fontFamily;
  const text = (x, y, size, weight, colour, said) => svg("text", { x, y, fill: colour, "font-size": size, "font-weight": weight, "font-family": font }, said);
  const muted = getComputedStyle(chart.closest("article").querySelector(".muted")).color;
  const picture = svg(
    "svg",
    { width, height, viewBox: `0 0 ${width} ${height}` },
    patternOf(),
    svg("rect", { width, height, fill: panel }),
    text(PADDING, PADDING + 14, 14, 600, style.color, title),
    text(PADDING, PADDING + 14 + ROW, 12, 400, muted, window),
    ...rows.flatMap(({ words, colour, dashes }, index) => {
      const y = PADDING + 14 + ROW * (2 + index);
      const sample = svg("path", { d: `M${PADDING} ${y - 4}h22`, stroke: colour, "stroke-width": 2.5, "stroke-dasharray": dashes, fill: "none" });
      return [sample, text(PADDING + 30, y, 12, 400, style.color, words)];
    }),
  );
  const drawn = inlined(chart);
  drawn.setAttribute("x", PADDING);
  drawn.setAttribute("y", top);
  drawn.setAttribute("width", shown.width);
  picture.append(drawn);
  const image = new Image();
  image.src = `data:image/svg+xml;charset=utf-8,${encodeURIComponent(new XMLSerializer().serializeToString(picture))}`;
  await image.decode();
  const canvas = el("canvas", { width: width * SHARPNESS, height: height * SHARPNESS });
  canvas.getContext("2d").drawImage(image, 0, 0, canvas.width, canvas.height);
  return new Promise((resolve) => canvas.toBlob(resolve, "image/png"));
}

/** What the time of a picture is, with its day and zone, because a picture is read later and elsewhere. */
export function windowOf(start, end) {
  const day = new Date(end * 1000);
  const zone = Intl.DateTimeFormat(undefined, { timeZoneName: "short" }).formatToParts(day).find(({ type }) => type === "timeZoneName")?.value ?? "";
  const date = `${day.getFullYear()}-${String(day.getMonth() + 1).padStart(2, "0")}-${String(day.getDate()).padStart(2, "0")}`;
  return `${clock(start)} to ${clock(end)}, ${date} ${zone}, atmost on ${document.getElementById("host").textContent.trim() || location.host}`;
}

/** A copy whose styles are written into it, because a picture has no style sheet. */
function inlined(element) {
  const copy = element.cloneNode(true);
  const pairs = [[element, copy]];
  while (pairs.length) {
    const [from, to] = pairs.pop();
    const style = getComputedStyle(from);
    for (const name of STYLES) to.setAttribute(name, style.getPropertyValue(name));
    if (from.getAttribute("fill")?.startsWith("url(")) to.setAttribute("fill", from.getAttribute("fill"));
    for (const name of ["class", "tabindex", "role", "style"]) to.removeAttribute(name);
    pairs.push(...[...from.children].map((child, index) => [child, to.children[index]]));
  }
  return copy;
}

/** The hatching of gaps, which the page keeps outside its charts. */
function patternOf() {
  const pattern = document.getElementById("hatch");
  const copy = pattern.cloneNode(true);
  const stroke = getComputedStyle(pattern.firstElementChild);
  for (const name of ["stroke", "stroke-width", "opacity"]) copy.firstElementChild.setAttribute(name, stroke.getPropertyValue(name));
  return svg("defs", {}, copy);
}

/** A cell of text; one that a spreadsheet would take for a formula begins with an apostrophe. */
function quoted(text) {
  const safe = /^[=+\-@\t\r]/.test(text) ? `'${text}` : text;
  return /[",\n\r]/.test(safe) ? `"${safe.replaceAll('"', '""')}"` : safe;
}
