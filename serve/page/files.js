/** From what a person chose or dropped to stacks: which files are sent, in which order, under which name. */

const IMAGE = /\.(jpe?g|png|bmp|tiff?)$/i;
const ARCHIVE = /\.zip$/i;
const HIDDEN = /(^|\/)(\.|__MACOSX(\/|$)|~\$)/;

/** A dropped disk would keep the browser busy for minutes. */
const MOST_FILES = 5000;

const LONGEST_NAME = 200; // of a stack, by the service

const numeric = new Intl.Collator("en", { numeric: true, sensitivity: "base" });

/** A sentence for the person at the page. */
export class ChoiceError extends Error {}

/** Compare names as people do: 2 before 10. */
export function byNumber(one, other) {
  return numeric.compare(one, other) || (one < other ? -1 : Number(one > other));
}

/** Files of an input, each with its path inside the chosen folder (its name where there is none). */
export function filesOfInput(input) {
  return [...input.files].map((file) => ({ file, path: file.webkitRelativePath || file.name }));
}

/**
 * Files of a drop, folders opened.
 *
 * The entries are taken before the first await: the browser empties the transfer when its event is over.
 */
export async function filesOfDrop(transfer) {
  const items = [...transfer.items].filter((item) => item.kind === "file");
  const dropped = items.map((item) => item.webkitGetAsEntry?.() ?? item.getAsFile()).filter(Boolean);
  if (!dropped.length) throw new ChoiceError("Only files and folders can be dropped here.");
  const found = [];
  for (const one of dropped) {
    if (one instanceof File) found.push({ file: one, path: one.name });
    else await openEntry(one, found);
  }
  return found;
}

async function openEntry(entry, found) {
  if (entry.isFile) {
    const file = await new Promise((resolve, reject) => entry.file(resolve, reject)).catch(() => null);
    if (!file) throw new ChoiceError(`The file ${entry.name} cannot be opened.`);
    if (found.push({ file, path: entry.fullPath.replace(/^\//, "") }) > MOST_FILES) throw tooMany();
    return;
  }
  for (const inside of await entriesOf(entry)) await openEntry(inside, found);
}

/** All entries of a folder; the browser hands them out a hundred at a time. */
async function entriesOf(folder) {
  const reader = folder.createReader();
  const all = [];
  for (;;) {
    const some = await new Promise((resolve, reject) => reader.readEntries(resolve, reject)).catch(() => null);
    if (!some) throw new ChoiceError(`The folder ${folder.name} cannot be opened.`);
    if (!some.length) return all;
    all.push(...some);
    if (all.length > MOST_FILES) throw tooMany();
  }
}

function tooMany() {
  return new ChoiceError(`More than ${MOST_FILES} files: choose the folder of one stack.`);
}

/**
 * Sort files into stacks, one for each folder that holds images.
 *
 * A single file is sent whatever it is, so that the service can say what is wrong with it. Of several, only images
 * count (Thumbs.db and notes are left behind); a zip counts where no image lies beside it.
 *
 * @param {{file: File, path: string}[]} found
 * @returns {{name: string, files: File[]}[]} in the order of their paths
 */
export function stacksOf(found) {
  if (found.length === 1) return [{ name: stem(found[0].file.name).slice(0, LONGEST_NAME), files: [found[0].file] }];
  const folders = new Map();
  for (const { file, path } of found) {
    if (HIDDEN.test(path) || !(IMAGE.test(path) || ARCHIVE.test(path))) continue;
    const folder = path.slice(0, Math.max(0, path.lastIndexOf("/")));
    folders.set(folder, [...(folders.get(folder) ?? []), file]);
  }
  if (!folders.size) {
    throw new ChoiceError(
      found.length ? `None of these ${found.length} files is an image or a zip.` : "This folder holds no files.",
    );
  }
  const paths = [...folders.keys()].sort(byNumber);
  const names = paths.map((path) => path.slice(path.lastIndexOf("/") + 1));
  return paths.map((path, at) => {
    const files = inOrder(folders.get(path));
    const isAlone = names.indexOf(names[at]) === names.lastIndexOf(names[at]);
    return { name: ((isAlone ? names[at] : path) || commonName(files)).slice(-LONGEST_NAME), files };
  });
}

function inOrder(files) {
  const images = files.filter((file) => IMAGE.test(file.name));
  return (images.length ? images : files).sort((one, other) => byNumber(one.name, other.name));
}

/** What the names of loose files begin with: "cell_z01.tif", "cell_z02.tif" ... are "cell_z". */
function commonName(files) {
  const [first, ...others] = files.map((file) => file.name);
  const until = [...first].findIndex((letter, at) => others.some((name) => name[at] !== letter));
  return (until < 0 ? stem(first) : first.slice(0, until)).replace(/[\d\s._-]+$/, "") || "stack";
}

function stem(name) {
  return name.replace(/\.[^.]*$/, "");
}

/** Tell whether the browser itself can show a file, in full; TIFF and zip it cannot. */
export function isShowable(file) {
  return /\.(jpe?g|png|bmp)$/i.test(file.name);
}
