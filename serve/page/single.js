/** The answer about one image: which way to move the lens, and by how much. */

import { make } from "./answer.js";
import { isShowable } from "./files.js";
import { fixed, imageStatusOf, isKnown, moveOf, scoreText } from "./words.js";

const byId = (id) => document.getElementById(id);

let picture = null; // object URL

/** Show the answer of `/score` about a file. */
export function showSingle(answer, file) {
  const { word, tone, meaning } = imageStatusOf(answer);
  const { arrow, text } = moveOf(answer);
  hideSingle();
  picture = isShowable(file) ? URL.createObjectURL(file) : null;
  byId("single-picture").hidden = !picture;
  if (picture) byId("single-picture").src = picture;
  byId("single-name").textContent = answer.image_path;
  byId("single-status").textContent = word;
  byId("single-status").className = `chip ${tone}`;
  byId("single-arrow").textContent = arrow;
  byId("single-move").textContent = text;
  byId("single-meaning").textContent = meaning;
  byId("single-facts").replaceChildren(
    ...factsOf(answer).flatMap(([term, value]) => [make("dt", "", term), make("dd", "", value)]),
  );
  byId("single").classList.toggle("unused-scores", answer.status === "uncalibrated");
  byId("single").hidden = false;
  document.body.classList.add("answered");
}

/** Take it off the page. */
export function hideSingle() {
  if (picture) URL.revokeObjectURL(picture);
  picture = null;
  byId("single").hidden = true;
}

function factsOf(answer) {
  const used = answer.status === "uncalibrated" ? " (not calibrated)" : "";
  const facts = [["Signed score", `${scoreText(answer.focus_score)}${used}`]];
  if (isKnown(answer.lower) && isKnown(answer.upper)) {
    facts.push(["90 % interval", `${fixed(answer.lower, 2)} to ${fixed(answer.upper, 2)}`]);
  }
  return facts;
}

/** The answer as a sentence for screen readers. */
export function spokenSingle(answer) {
  return `${answer.image_path}: ${imageStatusOf(answer).word}. ${moveOf(answer).text}.`;
}
