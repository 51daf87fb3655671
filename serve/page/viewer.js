/** The slices at full size: arrow keys go through them, and two neighbours may alternate in place. */

import { neighbour, step } from "./answer.js";

const FLICKER_MS = 450;

const byId = (id) => document.getElementById(id);
const urls = new Map(); // file -> object URL, while the viewer is open

let timer = null;

/** Make the buttons and keys of the viewer work. */
export function listenToViewer() {
  const viewer = byId("viewer");
  byId("enlarge").addEventListener("click", () => {
    viewer.showModal();
    show(0);
  });
  byId("close-viewer").addEventListener("click", () => viewer.close());
  byId("flicker").addEventListener("click", () => flicker(timer === null));
  viewer.addEventListener("close", () => {
    flicker(false);
    urls.forEach((url) => URL.revokeObjectURL(url));
    urls.clear();
  });
  viewer.addEventListener("keydown", (event) => {
    const by = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    if (!by) return;
    event.preventDefault();
    flicker(false);
    step(by);
    show(0);
  });
}

/** Show the selected slice, or the one `by` places after it; the last one has no next and flickers with the one before. */
function show(by) {
  const slice = neighbour(by) ?? neighbour(-by) ?? neighbour(0);
  if (!slice) return;
  byId("viewer-title").textContent = `Slice ${slice.index} · ${slice.file}`;
  byId("viewer-picture").hidden = !slice.source;
  byId("viewer-picture").alt = `Slice ${slice.index}`;
  if (slice.source) byId("viewer-picture").src = urlOf(slice.source);
}

function urlOf(source) {
  if (typeof source === "string") return source;
  if (!urls.has(source)) urls.set(source, URL.createObjectURL(source));
  return urls.get(source);
}

function flicker(on) {
  clearInterval(timer);
  let next = 0;
  timer = on ? setInterval(() => show((next = 1 - next)), FLICKER_MS) : null;
  byId("flicker").setAttribute("aria-pressed", String(on));
  if (!on) show(0);
}
