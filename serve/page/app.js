/** The page's own life: choose, send, wait or cancel, show the answer or the error. */

import { hideAnswer, redrawChart, showAnswer, shownAnswer } from "./answer.js";
import { asCsv, asJson, download, fileName } from "./downloads.js";
import { ChoiceError, filesOfDrop, filesOfInput, isShowable, stacksOf } from "./files.js";
import { exampleFiles, hasToken, health, keepToken, pickFocus, ServiceError } from "./service.js";
import { count, sizeText, spoken } from "./words.js";

const byId = (id) => document.getElementById(id);

const PREVIEW_PX = 176; // twice the size on the page, for dense screens
const LARGE_PREVIEW_PX = 256; // where the browser cannot show the slices themselves
const MANY_SLICES = 60; // above which large previews would make a large answer
const PATIENCE_MS = 200; // shorter work shows no progress, which would only flicker

/** What was chosen last, and the work in progress; a newer choice takes its place. */
const state = { stacks: [], current: null, work: null, waitForToken: false };

/** Run one piece of work, after stopping the one before. Errors go to the page, a cancelled work is silent. */
async function run(work) {
  state.work?.abort();
  const controller = new AbortController();
  state.work = controller;
  const patience = setTimeout(() => showWorking(true), PATIENCE_MS);
  byId("answer").setAttribute("aria-busy", "true");
  try {
    await work(controller.signal);
  } catch (error) {
    if (state.work === controller) fail(error);
  } finally {
    clearTimeout(patience);
    if (state.work === controller) finish();
  }
}

function finish() {
  state.work = null;
  byId("answer").removeAttribute("aria-busy");
  showWorking(false);
}

function showWorking(working) {
  const hadFocus = byId("working").contains(document.activeElement);
  byId("working").hidden = !working;
  if (!working && hadFocus) byId("files").focus({ preventScroll: true });
}

function cancel() {
  if (!state.work) return;
  state.work.abort();
  finish();
  byId("announcer").textContent = "Cancelled.";
}

function say(text, share = null) {
  byId("working-text").textContent = text;
  const progress = byId("progress");
  if (share === null) progress.removeAttribute("value");
  else progress.value = share;
}

/** Take what a person chose; `find` gives the files, so that opening a folder can be cancelled too. */
function choose(find) {
  run(async (signal) => {
    clearProblem();
    say("Looking at the files …");
    const stacks = stacksOf(await find(signal));
    if (signal.aborted) return;
    state.stacks = stacks;
    offerStacks(stacks);
    await pick(stacks[0], signal);
  });
}

/** Show a menu where a folder holds several stacks. */
function offerStacks(stacks) {
  byId("stacks").hidden = stacks.length < 2;
  byId("stacks-label").textContent = `Stack (${stacks.length} in this folder)`;
  const options = stacks.map((stack, index) => new Option(stack.name, String(index)));
  byId("stack-choice").replaceChildren(...options);
}

async function pick(stack, signal) {
  state.current = stack;
  clearProblem();
  const zStep = readStep();
  const bytes = stack.files.reduce((sum, file) => sum + file.size, 0);
  const what = `${count(stack.files.length, "file")}, ${sizeText(bytes)}`;
  say(`Sending ${what} …`);
  const answer = await pickFocus(stack, {
    zStep,
    thumbnails: previewSize(stack.files),
    signal,
    onSent: (share) =>
      share < 1 ? say(`Sending ${what} …`, share) : say(`Looking for the best plane (${what}) …`),
  });
  if (signal.aborted) return;
  showAnswer(answer, stack.files, zStep);
  closeTokenForm();
  byId("announcer").textContent = spoken(answer);
  bringIntoView(byId("answer"));
}

function previewSize(files) {
  return files.every(isShowable) || files.length > MANY_SLICES ? PREVIEW_PX : LARGE_PREVIEW_PX;
}

/** The z step in micrometres, null where none is given; a decimal comma counts. */
function readStep() {
  const input = byId("z-step");
  const text = input.value.trim().replace(",", ".");
  const step = Number(text);
  const wrong = text !== "" && !(Number.isFinite(step) && step > 0);
  input.setAttribute("aria-invalid", String(wrong));
  if (wrong) {
    throw new ChoiceError(
      `The distance between slices is “${input.value.trim()}”: give micrometres, such as 0.5, or nothing.`,
    );
  }
  return text === "" ? null : step;
}

function repick() {
  if (state.current) run((signal) => pick(state.current, signal));
}

/** Show why there is no answer; a wanted token is asked for. */
function fail(error) {
  if (!(error instanceof ServiceError || error instanceof ChoiceError)) console.error(error);
  hideAnswer();
  if (error.status === 401) {
    askToken();
    return;
  }
  const known = error instanceof ServiceError || error instanceof ChoiceError;
  const text = known ? error.message : "The page itself failed: reload it, and try again.";
  const title = document.createElement("strong");
  title.textContent = "No answer";
  const body = document.createElement("p");
  body.textContent = text;
  byId("problem").replaceChildren(title, body);
  // A person who is typing keeps the focus; the alert is read out either way.
  if (!(document.activeElement instanceof HTMLInputElement && document.activeElement.type === "text")) {
    byId("problem").focus({ preventScroll: true });
  }
  bringIntoView(byId("problem"));
}

function clearProblem() {
  byId("problem").replaceChildren();
  byId("announcer").textContent = "";
}

function askToken() {
  byId("token-help").textContent = hasToken()
    ? "The service does not accept this token. Ask whoever runs it."
    : "This service asks for an access token. It is kept until you close this tab.";
  byId("token-form").hidden = false;
  byId("token").focus();
}

function closeTokenForm() {
  const hadFocus = byId("token-form").contains(document.activeElement);
  byId("token-form").hidden = true;
  if (hadFocus) byId("best-plane").focus({ preventScroll: true });
}

function bringIntoView(part) {
  const { top } = part.getBoundingClientRect();
  if (top < 0 || top > 0.6 * window.innerHeight) part.scrollIntoView({ block: "start" });
}

async function showModel() {
  const state = await health().catch(() => null);
  const parts = !state
    ? ["The service does not answer."]
    : state.model_loaded
      ? [`Model ${state.model} ${state.model_version}`, `SHA-256 ${String(state.model_sha256).slice(0, 12)}`]
      : ["No model: sharpness only"];
  byId("model").textContent = parts.join(" · ");
}

function listenToChoices() {
  for (const id of ["files", "folder"]) {
    const input = byId(id);
    input.addEventListener("change", () => {
      const found = filesOfInput(input);
      input.value = ""; // so that the same files can be chosen again
      if (found.length) choose(async () => found);
    });
  }
  byId("folder-choice").hidden = !("webkitdirectory" in byId("folder"));
  byId("example").addEventListener("click", () =>
    choose(async (signal) => (await exampleFiles(signal)).map((file) => ({ file, path: `example/${file.name}` }))),
  );
  byId("stack-choice").addEventListener("change", () => {
    const stack = state.stacks[Number(byId("stack-choice").value)];
    run((signal) => pick(stack, signal));
  });
  byId("z-step").addEventListener("change", repick);
  byId("cancel").addEventListener("click", cancel);
  byId("token-form").addEventListener("submit", (event) => {
    event.preventDefault();
    keepToken(byId("token").value.trim());
    repick();
  });
}

/** The whole page takes drops; a drop beside the zone would otherwise leave the page for the file. */
function listenToDrops() {
  let inside = 0;
  const mark = () => byId("drop-zone").classList.toggle("over", inside > 0);
  document.addEventListener("dragenter", () => void ((inside += 1), mark()));
  document.addEventListener("dragleave", () => void ((inside -= 1), mark()));
  document.addEventListener("dragover", (event) => event.preventDefault());
  document.addEventListener("drop", (event) => {
    event.preventDefault();
    inside = 0;
    mark();
    const files = filesOfDrop(event.dataTransfer);
    files.catch(() => {}); // run() reports it
    choose(() => files);
  });
}

function listenToAnswer() {
  const save = (suffix, write, type) => () => {
    const answer = shownAnswer();
    if (answer) download(fileName(answer.stack, suffix), write(answer), type);
  };
  byId("download-json").addEventListener("click", save("json", asJson, "application/json"));
  byId("download-csv").addEventListener("click", save("csv", asCsv, "text/csv"));
  byId("strip").addEventListener("keydown", (event) => {
    const radios = byId("strip").querySelectorAll("input");
    const to = { Home: radios[0], End: radios[radios.length - 1] }[event.key];
    if (!to) return;
    event.preventDefault();
    to.focus();
    to.click();
  });
  new ResizeObserver(redrawChart).observe(byId("chart"));
}

listenToChoices();
listenToDrops();
listenToAnswer();
showModel();
