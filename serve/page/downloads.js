/** The answer as files: JSON as the service gave it, CSV with one row a slice. */

const COLUMNS = ["index", "file", "score", "sharpness"];

/** The answer without its previews: what `cli.py pick-focus --json` prints, and the fit. */
export function asJson(answer) {
  const slices = answer.slices.map(({ thumbnail, ...slice }) => slice);
  return `${JSON.stringify({ ...answer, slices }, null, 2)}\n`;
}

/** The slices as a table (RFC 4180); a value that is not known is an empty field. */
export function asCsv(answer) {
  const rows = answer.slices.map((slice) => COLUMNS.map((column) => field(slice[column])).join(","));
  return [COLUMNS.join(","), ...rows, ""].join("\r\n");
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
