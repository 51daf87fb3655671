/** The table of many stacks: one row each, the answer of one is shown below. */

import { isPicture, make } from "./answer.js";
import { fileWords, isKnown, micrometres, statusOf, withError } from "./words.js";

const byId = (id) => document.getElementById(id);

/** Results in the order in which they came: name, files, and an answer or a problem. */
let results = [];
let open = () => {};

/** Begin a table; `onOpen` is called with the result of a row that is chosen. */
export function beginStacks(onOpen) {
  results = [];
  open = onOpen;
  byId("stack-rows").replaceChildren();
  byId("stacks").hidden = true;
  byId("status-filter").replaceChildren(new Option("all", ""));
}

/** Add the result of one stack: `{name, files, answer}` or `{name, files, problem}`. */
export function addStack(result) {
  results.push(result);
  const row = rowOf(result, results.length - 1);
  byId("stack-rows").append(row);
  byId("stacks").hidden = results.length < 2;
  byId("stacks-title").textContent = `${results.length} stacks`;
  const { word } = stateOf(result);
  if (![...byId("status-filter").options].some((option) => option.value === word)) {
    byId("status-filter").append(new Option(word, word));
  }
  filterStacks();
}

/** All results. */
export function stackResults() {
  return results;
}

/** Show the rows of the chosen status only. */
export function filterStacks() {
  const wanted = byId("status-filter").value;
  [...byId("stack-rows").children].forEach((row, at) => {
    row.hidden = wanted !== "" && stateOf(results[at]).word !== wanted;
  });
}

/** Mark the row that is shown below. */
export function markStack(result) {
  [...byId("stack-rows").children].forEach((row, at) => row.classList.toggle("selected", results[at] === result));
}

function stateOf({ answer }) {
  return answer ? statusOf(answer) : { word: "Unreadable", tone: "none" };
}

function rowOf(result, index) {
  const { answer, problem } = result;
  const best = answer?.slices[answer.best_index];
  const picture = isPicture(best?.thumbnail) ? make("img", "small") : "–";
  if (picture !== "–") Object.assign(picture, { src: best.thumbnail, alt: "" });
  const button = make("button", "link", result.name);
  button.type = "button";
  button.disabled = !answer;
  button.addEventListener("click", () => open(result));
  const { word, tone } = stateOf(result);
  const state = make("td", "", make("span", `chip ${tone}`, word));
  if (problem) state.append(make("span", "hint", ` ${problem}`));
  const use = answer?.best_file ? fileWords(answer.best_file) : "–";
  if (answer?.best_file) state.append(make("span", "hint narrow", ...planeOf(answer))); // for its column, on a phone
  const plane = make("td", "", ...planeOf(answer));
  const row = make("tr", "", make("td", "", picture), make("td", "", button), make("td", "", use), plane, state);
  row.dataset.index = String(index);
  return row;
}

/** Texts of the best plane: in slices, and in micrometres where they are known. */
function planeOf(answer) {
  if (!isKnown(answer?.best_position)) return ["–"];
  const plane = withError(answer.best_position, answer.standard_error);
  return isKnown(answer.best_z_um) ? [plane, make("span", "hint um", micrometres(answer))] : [plane];
}
