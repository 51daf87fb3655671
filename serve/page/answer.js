/** One answer on the page. Every text of the service goes through textContent: file names may hold anything. */

import { drawChart } from "./chart.js";
import { isShowable } from "./files.js";
import {
  count,
  fileWords,
  fixed,
  hasUnusedScores,
  intervalText,
  isKnown,
  micrometres,
  offsetNote,
  scoreMeaning,
  scoreText,
  sentence,
  sharpnessText,
  shortName,
  statusOf,
  unusedNote,
  withError,
} from "./words.js";

const byId = (id) => document.getElementById(id);

/** Make an HTML element with a class and text or children. */
export function make(name, className = "", ...children) {
  const made = document.createElement(name);
  if (className) made.className = className;
  made.append(...children);
  return made;
}

/** The answer that is shown, its files and the selected slice; the page shows one at a time. */
let shown = null;
let largePicture = null; // object URL of the preview

/**
 * Show an answer.
 *
 * @param {object} answer from the service
 * @param {File[]} files the files it was made from, for previews at full size where the browser can show them
 */
export function showAnswer(answer, files) {
  shown = { answer, files: new Map(files.map((file) => [file.name, file])), selected: firstSelected(answer) };
  showHeadline(answer);
  showMeaning(answer);
  showLegend(answer);
  byId("curve-note").textContent = offsetNote(answer);
  byId("strip").replaceChildren(...answer.slices.map((slice) => thumbnail(slice, answer)));
  byId("rows").replaceChildren(...answer.slices.map((slice) => row(slice, answer)));
  showUnused(answer);
  byId("answer").hidden = false;
  document.body.classList.add("answered");
  select(shown.selected);
}

/** The answer that is shown, null where there is none. */
export function shownAnswer() {
  return shown?.answer ?? null;
}

/** Take the answer off the page. */
export function hideAnswer() {
  shown = null;
  byId("answer").hidden = true;
  document.body.classList.remove("answered");
}

/** Picture and name of a slice beside the selected one; null beyond the ends and without an answer. */
export function neighbour(step) {
  const slice = shown?.answer.slices[shown.selected + step];
  if (!slice) return null;
  const file = shown.files.get(slice.file);
  const source = file && isShowable(file) ? file : isPicture(slice.thumbnail) ? slice.thumbnail : null;
  return { index: slice.index, file: slice.file, source };
}

/** Select the slice before or after. */
export function step(by) {
  if (shown) select(shown.selected + by);
}

/** Draw the chart again for the width it has now. */
export function redrawChart() {
  if (!shown) return;
  const { answer, selected } = shown;
  const width = Math.floor(byId("chart").clientWidth);
  if (width > 0) byId("chart").replaceChildren(drawChart(answer, { width, selected, onSelect: select }));
}

function firstSelected(answer) {
  return answer.best_index ?? Math.floor((answer.slices.length - 1) / 2);
}

function showHeadline(answer) {
  const { word, tone } = statusOf(answer);
  byId("stack-name").textContent = `${answer.stack} · ${count(answer.n_slices, "slice")}`;
  byId("status").textContent = word;
  byId("status").className = `chip ${tone}`;
  byId("best-plane").replaceChildren(...headline(answer));
  byId("best-position").textContent = isKnown(answer.best_position)
    ? `Best plane ${withError(answer.best_position, answer.standard_error)}`
    : "";
  byId("best-um").textContent = isKnown(answer.best_z_um) ? `${micrometres(answer)} from the first slice` : "";
  byId("best-explained").textContent = isKnown(answer.best_position)
    ? `In slices, counted from 0${isKnown(answer.standard_error) ? "; ± is one standard error" : ""}.`
    : "";
}

/** "Use 5.jpg": what a person does with the answer. */
function headline(answer) {
  if (!isKnown(answer.best_position)) return [make("span", "number none", "No best plane")];
  const file = fileWords(answer.best_file);
  return [make("span", "label", "Use "), make("span", file.length > 14 ? "number long" : "number", file)];
}

/** Scores that had no say are shown in grey, and named so. */
function showUnused(answer) {
  const unused = hasUnusedScores(answer);
  byId("answer").classList.toggle("unused-scores", unused);
  byId("unused-note").hidden = !unused;
  byId("unused-note").textContent = unused ? unusedNote(answer) : "";
  byId("score-head").textContent = unused ? "Signed score (not used)" : "Signed score";
}

function showMeaning(answer) {
  byId("status-meaning").textContent = statusOf(answer).meaning;
  const advice = sentence(answer.advice);
  byId("advice").hidden = !advice;
  byId("advice").replaceChildren(make("strong", "", answer.status === "ok" ? "Note: " : "What to do: "), advice);
  const facts = factsOf(answer).flatMap(([term, value]) => [make("dt", "", term), make("dd", "", value)]);
  byId("facts").replaceChildren(...facts);
}

function factsOf(answer) {
  const facts = [];
  if (isKnown(answer.standard_error)) facts.push(["90 % interval", intervalText(answer)]);
  if (answer.method !== "fused") facts.push(["Method", answer.method.replaceAll("_", " ")]);
  if (hasUnusedScores(answer)) facts.push(["Model’s scores", "not used"]);
  return facts;
}

function showLegend(answer) {
  const entries = [["dot", "slices"]];
  if (answer.fit) entries.push(["fit", "fit near the peak"]);
  if (isKnown(answer.best_position)) entries.push([`plane ${statusOf(answer).tone}`, "best plane"]);
  if (isKnown(answer.standard_error)) entries.push([`band ${statusOf(answer).tone}`, "± 1 standard error"]);
  if (answer.slices.some((slice) => !isKnown(slice.sharpness))) entries.push(["missing", "left out"]);
  byId("legend").replaceChildren(...entries.map(([key, text]) => make("li", "", make("span", `key ${key}`), text)));
}

/** A native radio button with a picture for its label: arrow keys move between the slices by themselves. */
function thumbnail(slice, answer) {
  const best = slice.index === answer.best_index;
  const input = make("input", "visually-hidden");
  Object.assign(input, { type: "radio", name: "slice", value: String(slice.index) });
  input.addEventListener("change", () => select(slice.index));
  const label = make("label", best ? `slice best ${statusOf(answer).tone}` : "slice", input, smallPicture(slice));
  if (best) label.append(make("span", "best-tag", "best"));
  const short = make("span", "file", shortName(slice.file));
  short.setAttribute("aria-hidden", "true");
  label.append(short, make("span", "visually-hidden", `${slice.file}, score `));
  label.append(make("span", "score", scoreText(slice.score)));
  label.title = slice.file;
  return label;
}

function smallPicture(slice) {
  if (!isPicture(slice.thumbnail)) return make("span", "picture missing", "no picture");
  return Object.assign(make("img", "picture"), { src: slice.thumbnail, alt: "", draggable: false });
}

export function isPicture(url) {
  return typeof url === "string" && /^data:image\/(jpeg|png|webp);base64,/.test(url);
}

function row(slice, answer) {
  const texts = [fileWords(slice.file), scoreText(slice.score), sharpnessText(slice.sharpness)];
  const cells = texts.map((text) => make("td", "", text));
  const head = make("th", "", String(slice.index));
  head.scope = "row";
  if (slice.index === answer.best_index) cells[0].append(make("span", "best-tag", "best"));
  const made = make("tr", "", head, ...cells);
  made.addEventListener("click", () => select(slice.index));
  return made;
}

/** Make a slice the selected one, everywhere on the page. */
function select(index) {
  const slice = shown?.answer.slices[index];
  if (!slice) return;
  shown.selected = index;
  const radio = byId("strip").children[index].querySelector("input");
  radio.checked = true;
  [...byId("rows").children].forEach((made, at) => made.classList.toggle("selected", at === index));
  showPreview(slice);
  redrawChart();
}

function showPreview(slice) {
  if (largePicture) URL.revokeObjectURL(largePicture);
  const file = shown.files.get(slice.file);
  largePicture = file && isShowable(file) && isPicture(slice.thumbnail) ? URL.createObjectURL(file) : null;
  const source = largePicture ?? (isPicture(slice.thumbnail) ? slice.thumbnail : "");
  const image = byId("preview");
  image.hidden = !source;
  byId("no-preview").hidden = Boolean(source);
  image.alt = `Slice ${slice.index}`;
  if (source) image.src = source;
  const place = make("span", "place", `Slice ${slice.index} `, make("span", "file", slice.file));
  const meaning = hasUnusedScores(shown.answer) ? "not used" : scoreMeaning(slice.score);
  const score = isKnown(slice.score) ? `Score ${scoreText(slice.score)}: ${meaning}` : "No score";
  const values = [score, `Sharpness ${sharpnessText(slice.sharpness)}`].map((text) => make("span", "value", text));
  byId("preview-caption").replaceChildren(place, ...values);
}
