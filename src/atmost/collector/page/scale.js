// The arithmetic of a chart, without any element: ticks, runs of values between gaps, and what the band says.

/** Below this completeness a rule over the values answers "unknown". */
export const TRUSTED = 0.9;

const STEPS = [1, 2, 2.5, 5, 10];
const TIME_STEPS = [5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200];

/** Round numbers from at most `low` to at least `high`, about `wanted` of them. */
export function ticks(low, high, wanted) {
  const rough = (high - low) / wanted;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = STEPS.find((factor) => factor * power >= rough * 0.999) * power;
  const first = Math.floor(low / step + 1e-9);
  const last = Math.ceil(high / step - 1e-9);
  const places = Math.max(0, -Math.floor(Math.log10(step) + 1e-9)) + (String(step / power).includes(".") ? 1 : 0);
  return Array.from({ length: last - first + 1 }, (_, index) => Number(((first + index) * step).toFixed(places)));
}

/** The label of one of several ticks: all of them with as many places as the step between them needs. */
export function tickLabel(value, all) {
  const step = all.length > 1 ? all[1] - all[0] : 1;
  const places = Math.min(6, Math.max(0, Math.ceil(-Math.log10(step) - 1e-9)));
  const needed = Number((step * 10 ** places).toFixed(3)) % 1 ? places + 1 : places;
  return value.toLocaleString("en-US", { minimumFractionDigits: needed, maximumFractionDigits: needed });
}

/** Moments at round local times between two, about `wanted` of them; seconds since 1970. */
export function timeTicks(start, end, wanted) {
  const step = TIME_STEPS.find((one) => (end - start) / one <= wanted) ?? TIME_STEPS.at(-1);
  const offset = new Date(start * 1000).getTimezoneOffset() * 60;
  const moments = [];
  for (let at = Math.ceil((start - offset) / step) * step + offset; at <= end; at += step) moments.push(at);
  return moments;
}

/** The values' range with room: from 0 unless they are all far from it. */
export function valueRange(values) {
  const low = Math.min(...values);
  const high = Math.max(...values);
  if (!values.length) return [0, 1];
  if (low === high) return low === 0 ? [0, 1] : low > 0 ? [0, low * 1.25] : [low * 1.25, 0];
  if (low >= 0 && low < high * 0.7) return [0, high];
  if (high <= 0 && high > low * 0.7) return [low, 0];
  const room = (high - low) * 0.1;
  return [low - room, high + room];
}

/** Runs of neighbouring points that hold a value: [[first, last], …] by index. No line may cross from one to the next. */
export function runs(points) {
  return stretches(points, (point) => point.value !== null);
}

/** Gaps between values, and the silence after the last one; not the time before the first, nor the one step that is not over yet. */
export function gaps(points) {
  const held = runs(points);
  if (!held.length) return [];
  const found = held.slice(1).map(([first], index) => [held[index][1] + 1, first - 1]);
  const last = held.at(-1)[1];
  if (last < points.length - 2) found.push([last + 1, points.length - 1]);
  return found;
}

/** The gaps that several answers have in common: [[from, to], …], seconds since 1970. Each answer is walked through once, from its first point to its last. */
export function commonGaps(answers) {
  const spans = ({ points, step }, divided) => divided.map(([first, last]) => [points[first].t, points[last].t + step]);
  const missing = answers.map((answer) => spans(answer, gaps(answer.points)));
  const held = answers.map((answer) => spans(answer, runs(answer.points)));
  const moments = [...new Set([missing, held].flat(3))].sort((one, other) => one - other);
  const areIn = missing.map(walk);
  const before = held.map(walk);
  const found = [];
  moments.slice(1).forEach((to, index) => {
    const from = moments[index];
    // Before its first value a line neither has a gap nor fills one.
    const isIn = areIn.map((latest) => latest(from)).some((gap) => gap && to <= gap[1]);
    const isHeld = before.map((latest) => latest(from)).some((run) => run && to <= run[1]);
    if (!isIn || isHeld) return;
    if (found.at(-1)?.[1] === from) found.at(-1)[1] = to;
    else found.push([from, to]);
  });
  return found;
}

/** A function that returns the last of some spans, which are in order, that begins at a moment or before it; to be asked about ever later moments. */
function walk(spans) {
  let next = 0;
  return (moment) => {
    while (next < spans.length && spans[next][0] <= moment) next += 1;
    return spans[next - 1];
  };
}

/** What the band says of a point: complete, partial (at least 0.9), poor, unknown, or nothing where no value is. */
export function quality(point) {
  if (point.value === null && !point.lost) return "nothing";
  if (point.completeness === null || point.completeness === undefined) return point.value === null ? "nothing" : "unknown";
  if (point.completeness >= 1) return "complete";
  return point.completeness >= TRUSTED ? "partial" : "poor";
}

/** Runs of points of the same quality: [[first, last, quality], …]. */
export function bands(points) {
  const found = [];
  points.forEach((point, index) => {
    const is = quality(point);
    const last = found.at(-1);
    if (last && last[2] === is) last[1] = index;
    else found.push([index, index, is]);
  });
  return found.filter(([, , is]) => is !== "nothing");
}

function stretches(points, holds) {
  const found = [];
  points.forEach((point, index) => {
    if (!holds(point)) return;
    const last = found.at(-1);
    if (last && last[1] === index - 1) last[1] = index;
    else found.push([index, index]);
  });
  return found;
}
