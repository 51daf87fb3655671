/** The answer as files: JSON as the service gave it, CSV with one row a slice. */

const COLUMNS = ["index", "file", "score", "sharpness"];
const STACK_COLUMNS = [
  ...["stack", "best_file", "best_index", "best_position", "standard_error"],
  ...["best_z_um", "standard_error_um", "z_step_um", "status", "scores_used", "advice", "method"],
  ...["model", "model_version", "model_sha256", "problem"],
];

/** The answer without its previews: what `cli.py pick-focus --json` prints, and the fit. */
export function asJson(answer) {
  const slices = answer.slices.map(({ thumbnail, ...slice }) => slice);
  return `${JSON.stringify({ ...answer, slices }, null, 2)}\n`;
}

/** The slices as a table (RFC 4180), each with the answer of its stack; a value that is not known is an empty field. */
export function asCsv(answer) {
  return table([...COLUMNS, ...STACK_COLUMNS], answer.slices.map((slice) => ({ ...stackRow({ answer }), ...slice })));
}

/** One row a stack. */
export function asStacksCsv(results) {
  return table(STACK_COLUMNS, results.map(stackRow));
}

function stackRow({ name, answer, problem }) {
  if (!answer) return { stack: name, status: "unreadable", problem };
  const { model } = answer;
  return { ...answer, model: model?.name, model_version: model?.version, model_sha256: model?.sha256 };
}

function table(columns, rows) {
  const lines = rows.map((row) => columns.map((column) => field(row[column])).join(","));
  return [columns.join(","), ...lines, ""].join("\r\n");
}

function field(value) {
  if (value === null || value === undefined) return "";
  if (typeof value === "number") return String(value);
  const text = harmless(String(value));
  return /[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
}

/** A spreadsheet would run a file name such as "=HYPERLINK(...)" as a formula; "-1.jpg" is left as it is. */
function harmless(text) {
  return /^[=+\-@\t\r]/.test(text) && !/^[+-][\w. -]*$/.test(text) ? `'${text}` : text;
}

/** Name for a file of a stack, of letters that every system takes. */
export function fileName(stack, suffix) {
  const safe = stack.replace(/[^\p{L}\p{N}._-]+/gu, "_").replace(/^[._]+|[._]+$/g, "").slice(0, 80);
  return `${safe || "stack"}_focus.${suffix}`;
}

/** Hand a text to the browser as a download. */
export function download(name, text, type) {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([text], { type }));
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
}
