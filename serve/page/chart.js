/** The focus curve as SVG: sharpness with its fit above, signed scores below, the best plane through both. */

import { fixed, hasUnusedScores, isKnown, scoreText, statusOf, withError } from "./words.js";

const SVG = "http://www.w3.org/2000/svg";
const MARGIN = { left: 52, right: 14, top: 42 };
const SHARPNESS_PX = 210;
const SCORE_PX = 150;
const GAP_PX = 52; // room for the lower panel's title
const AXIS_PX = 42; // tick labels and the axis title
const LEAST_TICK_PX = 26;

/** Make an SVG element; attributes by name, children or one text last. */
function element(name, attributes = {}, ...children) {
  const made = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, String(value));
  made.append(...children);
  return made;
}

/** Straight scale from an interval of values to an interval of pixels. */
function scale([low, high], [from, to]) {
  const span = high - low || 1;
  return (value) => from + ((value - low) / span) * (to - from);
}

/** Round values that cover an interval, about `number` of them. */
export function ticks([low, high], number) {
  const raw = (high - low) / number || 1;
  const power = 10 ** Math.floor(Math.log10(raw));
  const step = power * ([1, 2, 5, 10].find((factor) => factor * power >= raw * 0.999) ?? 10);
  const first = Math.ceil(low / step - 1e-9);
  const last = Math.floor(high / step + 1e-9);
  return Array.from({ length: last - first + 1 }, (_, index) => Number(((first + index) * step).toPrecision(12)));
}

/** Interval of sharpness to show: from 0, so that a curve that hardly varies looks like one. */
function sharpnessRange({ slices, fit }) {
  const values = [...slices.map((slice) => slice.sharpness), ...(fit?.sharpness ?? [])].filter(isKnown);
  const low = Math.min(0, ...values);
  const high = Math.max(0, ...values);
  return high > low ? [low, high + 0.09 * (high - low)] : [0, 1];
}

/** Interval of scores to show: zero always inside. */
function scoreRange(scores) {
  const reach = Math.max(0.5, ...scores.map(Math.abs));
  const low = Math.min(-0.35 * reach, ...scores);
  const high = Math.max(0.35 * reach, ...scores);
  const room = 0.08 * (high - low);
  return [low - room, high + room];
}

/**
 * Draw the curves of an answer.
 *
 * @param {object} answer from the service
 * @param {{width: number, selected: number, onSelect: (index: number) => void}} options width in pixels
 * @returns {SVGElement} an image with a text alternative; a click on it selects the nearest slice
 */
export function drawChart(answer, { width, selected, onSelect }) {
  const count = answer.slices.length;
  const signed = answer.slices.some((slice) => isKnown(slice.score));
  const right = width - MARGIN.right;
  const x = scale([-0.5, count - 0.5], [MARGIN.left, right]);
  const upper = { top: MARGIN.top, bottom: MARGIN.top + SHARPNESS_PX };
  const lower = { top: upper.bottom + GAP_PX, bottom: upper.bottom + GAP_PX + SCORE_PX };
  const bottom = signed ? lower.bottom : upper.bottom;
  const height = bottom + AXIS_PX;
  const frame = { x, right, bottom, selected, radius: count > 60 ? 2 : count > 25 ? 3 : 4.5 };

  const svg = element("svg", { width, height, viewBox: `0 0 ${width} ${height}`, role: "img" });
  svg.setAttribute("aria-label", alternative(answer));
  svg.append(...bestPlane(answer, frame, signed ? [upper, lower] : [upper]));
  svg.append(...sharpnessPanel(answer, frame, upper));
  if (signed) svg.append(...scorePanel(answer, frame, lower));
  svg.append(...sliceAxis(count, frame));
  svg.addEventListener("click", (event) => {
    const inside = event.clientX - svg.getBoundingClientRect().left - MARGIN.left;
    const at = Math.round((inside / (right - MARGIN.left)) * count - 0.5);
    onSelect(Math.min(count - 1, Math.max(0, at)));
  });
  return svg;
}

/** The picture in words; the table holds its numbers. */
function alternative(answer) {
  const known = answer.slices.filter((slice) => isKnown(slice.sharpness));
  const sharpest = known.reduce((best, slice) => (slice.sharpness > best.sharpness ? slice : best), known[0]);
  const parts = [`Focus curve of ${answer.slices.length} slices.`];
  if (sharpest) parts.push(`Sharpness is highest at slice ${sharpest.index}.`);
  if (isKnown(answer.best_position)) {
    parts.push(`Best plane at ${withError(answer.best_position, answer.standard_error)}.`);
  }
  return parts.join(" ");
}

/** Line at the best plane through all panels, with a band of one standard error and its value on top. */
function bestPlane(answer, { x, right }, panels) {
  if (!isKnown(answer.best_position)) return [];
  const at = x(answer.best_position);
  const tone = `best ${statusOf(answer).tone}`;
  const half = isKnown(answer.standard_error) ? Math.max(1, x(answer.standard_error) - x(0)) : 0;
  const drawn = panels.flatMap(({ top, bottom }) => [
    element("rect", { class: `band ${tone}`, x: at - half, y: top, width: 2 * half, height: bottom - top }),
    element("line", { class: `plane ${tone}`, x1: at, x2: at, y1: top, y2: bottom }),
  ]);
  const edge = 70; // about half the label
  const anchor = at < MARGIN.left + edge ? "start" : at > right - edge ? "end" : "middle";
  const label = `best plane ${fixed(answer.best_position, 2)}`;
  const place = { x: at, y: MARGIN.top - 8, "text-anchor": anchor };
  return [...drawn, element("text", { class: `plane-label ${tone}`, ...place }, label)];
}

function sharpnessPanel(answer, frame, { top, bottom }) {
  const range = sharpnessRange(answer);
  const y = scale(range, [bottom, top]);
  const points = placed(answer.slices, "sharpness", frame.x, y);
  const drawn = [...valueAxis(ticks(range, 4), y, frame, String), title("Sharpness", MARGIN.top - 26)];
  drawn.push(line("course", points));
  if (answer.fit) {
    const { position, sharpness } = answer.fit;
    drawn.push(line("fit", position.map((at, index) => [frame.x(at), y(sharpness[index])])));
  }
  return [...drawn, ...marks(points, frame, bottom)];
}

/** Place of a slice's value in pixels; its height is null where the value is not known. */
function placed(slices, key, x, y) {
  return slices.map((slice) => [x(slice.index), isKnown(slice[key]) ? y(slice[key]) : null]);
}

function scorePanel(answer, frame, { top, bottom }) {
  const scores = answer.slices.map((slice) => slice.score);
  const known = scores.filter(isKnown);
  const range = scoreRange(known);
  const y = scale(range, [bottom, top]);
  const points = placed(answer.slices, "score", frame.x, y);
  const zero = element("line", { class: "zero", x1: MARGIN.left, x2: frame.right, y1: y(0), y2: y(0) });
  const unused = hasUnusedScores(answer);
  const drawn = [
    ...valueAxis(ticks(range, 6), y, frame, (value) => scoreText(value).replace(/\.?0+$/, "") || "0"),
    title("Signed score", top - 14, unused ? "not used" : "− lens too close, + too far"),
    zero,
    line("course", points),
    ...marks(points, frame, bottom),
  ];
  return unused ? [element("g", { class: "unused" }, ...drawn)] : drawn;
}

function title(text, y, explanation = "") {
  const added = element("tspan", { class: "explanation", dx: 8 }, explanation);
  return element("text", { class: "panel-title", x: 0, y }, text, added);
}

/** Grid lines with their values. */
function valueAxis(values, y, { right }, text) {
  return values.flatMap((value) => [
    element("line", { class: "grid", x1: MARGIN.left, x2: right, y1: y(value), y2: y(value) }),
    element("text", { class: "tick", x: MARGIN.left - 8, y: y(value) + 4, "text-anchor": "end" }, text(value)),
  ]);
}

/** One tick a slice, or every second, fifth ... where they would touch. */
function sliceAxis(count, { x, right, bottom }) {
  const pitch = (right - MARGIN.left) / count;
  const every = [1, 2, 5, 10, 20, 50, 100, 200, 500].find((step) => step * pitch >= LEAST_TICK_PX) ?? 1000;
  const shown = Array.from({ length: Math.ceil(count / every) }, (_, index) => index * every);
  const centred = (at, y, text) => element("text", { class: "tick", x: at, y, "text-anchor": "middle" }, text);
  return [
    element("line", { class: "axis", x1: MARGIN.left, x2: right, y1: bottom, y2: bottom }),
    ...shown.map((index) => centred(x(index), bottom + 17, String(index))),
    centred((MARGIN.left + right) / 2, bottom + 36, "slice"),
  ];
}

/** A line through points, broken where a value is not known. */
function line(name, points) {
  let open = false;
  const path = points.map(([x, y]) => {
    const part = y === null ? "" : `${open ? "L" : "M"}${x.toFixed(1)} ${y.toFixed(1)}`;
    open = y !== null;
    return part;
  });
  return element("path", { class: name, d: path.join("") });
}

/** A dot for each value, a cross at the bottom for a slice without one, a ring around the selected slice. */
function marks(points, { selected, radius }, bottom) {
  return points.flatMap(([x, y], index) => {
    const at = y ?? bottom - 8;
    const mark =
      y === null
        ? element("path", { class: "missing", d: `M${x - 4} ${at - 4}l8 8m0 -8l-8 8` })
        : element("circle", { class: "dot", cx: x, cy: y, r: radius });
    const ring = element("circle", { class: "ring", cx: x, cy: at, r: radius + 4 });
    return index === selected ? [mark, ring] : [mark];
  });
}
