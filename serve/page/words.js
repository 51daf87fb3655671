/** What people read: statuses in plain words, numbers as text. Everything here is a pure function. */

/** Every status of a pick: a short word, a tone that chooses its colour, and what it means. */
export const STATUSES = {
  ok: {
    word: "Clear answer",
    tone: "good",
    meaning: "The stack has one clear peak of sharpness, away from its ends.",
  },
  edge: {
    word: "At the edge",
    tone: "warn",
    meaning: "The best slice is the first or the last one, so the true focus may lie outside this stack.",
  },
  flat: {
    word: "Nothing to focus on",
    tone: "none",
    meaning: "The slices do not differ in sharpness beyond noise, so no plane can be called the best.",
  },
  ambiguous: {
    word: "Two candidates",
    tone: "warn",
    meaning: "Two planes far apart are both sharp. The position shown is the likelier of the two.",
  },
  disagree: {
    word: "Contradiction",
    tone: "warn",
    meaning:
      "The model’s scores and the sharpness point to different planes. The position shown is by sharpness alone.",
  },
  unreadable: {
    word: "Unreadable",
    tone: "none",
    meaning: "No slice of this stack could be read as an image.",
  },
};

/** Every status of a single image: a short word, its tone, and what to do. */
export const IMAGE_STATUSES = {
  in_focus: { word: "In focus", tone: "good", meaning: "The lens is within half a slice of focus." },
  pre_focal: { word: "Lens too close", tone: "warn", meaning: "The lens is too close to the sample." },
  post_focal: { word: "Lens too far", tone: "warn", meaning: "The lens is too far from the sample." },
  unsure: {
    word: "Not sure",
    tone: "none",
    meaning: "The image does not settle which way to go: take a second one at another height, or a stack.",
  },
  uncalibrated: {
    word: "Not calibrated",
    tone: "none",
    meaning:
      "The model was not calibrated on this microscope, so its score names no side: record stacks and run adapt. " +
      "A stack is answered by its own sharpness meanwhile.",
  },
};

/** Status of a single image in words. */
export function imageStatusOf(answer) {
  return IMAGE_STATUSES[answer.status] ?? { word: String(answer.status), tone: "warn", meaning: "" };
}

/** What to do with the lens for a single image: an arrow, and a sentence. */
export function moveOf(answer) {
  const { move } = answer;
  if (answer.status === "in_focus") return { arrow: "✓", text: "Stay here" };
  if (!move || !isKnown(move.slices) || !["pre_focal", "post_focal"].includes(answer.status)) {
    return { arrow: "", text: "No move can be told" };
  }
  const away = move.slices > 0;
  const size = `${withError(Math.abs(move.slices), move.standard_error)} slices`;
  const um = isKnown(move.um) ? ` (${withError(Math.abs(move.um), move.standard_error_um)} µm)` : "";
  return { arrow: away ? "↑" : "↓", text: `Move the lens ${away ? "away from" : "towards"} the sample by ${size}${um}` };
}

/** Tell whether a stack has scores that had no say in its answer. */
export function hasUnusedScores(answer) {
  return answer.scores_used === false && answer.slices.some((slice) => isKnown(slice.score));
}

/** Why scores had no say. */
export function unusedNote(answer) {
  return answer.model?.calibrated === false
    ? "Scores not used: the model was not calibrated on this microscope; record stacks and run adapt."
    : "Scores not used: sharpness alone decides, or they failed the test on this stack.";
}

/** A file in words: a plane of a TIFF file comes as "a.tif[6]". */
export function fileWords(file) {
  const [, name, plane] = /^(.*)\[(\d+)\]$/s.exec(file) ?? [];
  return name ? `slice ${plane} of ${name}` : file;
}

const SIGMA_OF_90 = 1.645;

/** Tell whether a value of an answer is known; what is not known comes as null. */
export function isKnown(value) {
  return typeof value === "number" && Number.isFinite(value);
}

/** Status of an answer in words; a status of a newer service is shown as it is. */
export function statusOf(answer) {
  return STATUSES[answer.status] ?? { word: String(answer.status), tone: "warn", meaning: "" };
}

/** A number with a fixed number of decimals and a true minus sign; "–" where it is not known. */
export function fixed(value, decimals) {
  if (!isKnown(value)) return "–";
  const text = Math.abs(value).toFixed(decimals);
  return value < 0 && Number(text) !== 0 ? `−${text}` : text;
}

/** A signed score: two decimals, always with its sign, "0.00" without one. */
export function scoreText(score) {
  const text = fixed(score, 2);
  return isKnown(score) && score > 0 && text !== "0.00" ? `+${text}` : text;
}

/** Which way the lens is off, by the sign of a score. */
export function scoreMeaning(score) {
  const text = scoreText(score);
  if (text === "–") return "no score";
  if (text === "0.00") return "in focus";
  return text.startsWith("+") ? "lens too far" : "lens too close";
}

/** Sharpness to three significant digits, large ones in full. */
export function sharpnessText(sharpness) {
  if (!isKnown(sharpness)) return "–";
  return Math.abs(sharpness) < 1000 ? sharpness.toPrecision(3) : sharpness.toFixed(0);
}

/** Position with its standard error, "5.43 ± 0.12", in the unit of both. */
export function withError(position, error) {
  return isKnown(error) ? `${fixed(position, 2)} ± ${fixed(error, 2)}` : fixed(position, 2);
}

/** Position in micrometres from the first slice, with its error. */
export function micrometres(answer) {
  return `${withError(answer.best_z_um, answer.standard_error_um)} µm`;
}

/** The 90 % interval of the position in slices. */
export function intervalText(answer) {
  const half = SIGMA_OF_90 * answer.standard_error;
  return `${fixed(answer.best_position - half, 2)} to ${fixed(answer.best_position + half, 2)}`;
}

/** The answer as one sentence for screen readers. */
export function spoken(answer) {
  const { word } = statusOf(answer);
  if (!isKnown(answer.best_position)) return `${answer.stack}: no best plane. ${word}.`;
  const error = isKnown(answer.standard_error) ? `, plus or minus ${fixed(answer.standard_error, 2)}` : "";
  return `${answer.stack}: use ${fileWords(answer.best_file)}, best plane ${fixed(answer.best_position, 2)}${error}. ${word}.`;
}

/** A clause of the service as a sentence: first letter large, a full stop at its end. */
export function sentence(clause) {
  const text = String(clause ?? "").trim();
  if (!text) return "";
  return text[0].toUpperCase() + text.slice(1) + (/[.!?]$/.test(text) ? "" : ".");
}

/** Why the best plane is not where the sharpness curve peaks; empty where it is, or for another reason. */
export function offsetNote(answer) {
  const { fit } = answer;
  if (!fit || answer.status !== "ok" || answer.method !== "fused" || !isKnown(answer.best_position)) return "";
  const highest = fit.sharpness.indexOf(Math.max(...fit.sharpness));
  const peak = fit.position[highest];
  const whole = highest > 0 && highest < fit.sharpness.length - 1; // else the peak is beyond what is drawn
  if (!whole || Math.abs(peak - answer.best_position) < 0.2) return "";
  return (
    `The curve shown peaks at ${fixed(peak, 2)}. The best plane lies at ${fixed(answer.best_position, 2)}, which is what ` +
    `several measures of sharpness${answer.scores_used ? " and the signed scores" : ""} say together.`
  );
}

/** The end of a long file name, where the number of the slice is. */
export function shortName(name, most = 10) {
  const letters = [...name];
  return letters.length > most ? `…${letters.slice(1 - most).join("")}` : name;
}

/** Bytes for people. */
export function sizeText(bytes) {
  if (bytes < 1e6) return `${Math.max(1, Math.round(bytes / 1e3))} kB`;
  return `${(bytes / 1e6).toFixed(1)} MB`;
}

/** What one stack may have at most, as `/health` tells it; empty where it is not known. */
export function limitsText(limits) {
  if (!limits.max_files) return "";
  return (
    `At most ${limits.max_files} slices or pages a stack, ${millions(limits.max_image_pixels)} pixels a slice and ` +
    `${millions(limits.max_request_pixels)} a stack; ${sizeText(limits.max_request_bytes)} an upload; ` +
    `a zip ${limits.max_stacks} stacks and ${sizeText(limits.max_unpacked_bytes)} unpacked.`
  );
}

/** In what a stack goes beyond the limits, as a sentence; empty where it does not. */
export function excessOf({ name, files }, bytes, { max_files: most = Infinity, max_request_bytes: room = Infinity }) {
  if (files.length > most) return `${name} has ${files.length} files, more than ${most}: leave slices out.`;
  if (bytes > room) return `${name} has ${sizeText(bytes)}, more than ${sizeText(room)}: send fewer files.`;
  return "";
}

function millions(number) {
  return `${Number((number / 1e6).toPrecision(3))} million`;
}

/** "1 slice", "11 slices". */
export function count(number, noun) {
  return `${number} ${noun}${number === 1 ? "" : "s"}`;
}
