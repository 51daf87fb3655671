/** The page's own life: choose, send, wait or cancel, show the answer or the error. */

import { listenToAdapt, offerAdapt } from "./adapt.js";
import { hideAnswer, redrawChart, showAnswer, shownAnswer } from "./answer.js";
import { asCsv, asJson, asStacksCsv, download, fileName } from "./downloads.js";
import { ChoiceError, filesOfDrop, filesOfInput, isShowable, stacksOf } from "./files.js";
import { exampleFiles, hasToken, health, keepToken, pickFocus, pickMany, scoreImage, ServiceError } from "./service.js";
import { hideSingle, showSingle, spokenSingle } from "./single.js";
import { addStack, beginStacks, filterStacks, markStack, stackResults } from "./stacks.js";
import { listenToViewer } from "./viewer.js";
import { count, excessOf, limitsText, sizeText, spoken } from "./words.js";

const byId = (id) => document.getElementById(id);

const PREVIEW_PX = 176; // twice the size on the page, for dense screens
const LARGE_PREVIEW_PX = 256; // where the browser cannot show the slices themselves
const MANY_SLICES = 60; // above which large previews would make a large answer
const MOST_STEP_UM = 1000; // as the service has it
const PATIENCE_MS = 200; // shorter work shows no progress, which would only flicker

/** What was chosen last, with which z step, and the work in progress; a newer choice takes its place. */
const state = { stacks: [], step: "", work: null, limits: {}, adapt: false };

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
    await answerAll(signal);
  });
}

/** Answer everything that was chosen last. */
async function answerAll(signal) {
  const { stacks } = state;
  const zStep = readStep();
  clearProblem();
  beginStacks(openStack);
  const [first] = stacks;
  if (stacks.length === 1 && first.files.length === 1 && isShowable(first.files[0])) await scoreOne(first, zStep, signal);
  else if (stacks.length === 1) await pickOne(first, zStep, signal);
  else await pickEach(stacks, zStep, signal);
  if (signal.aborted) return;
  closeTokenForm();
  if (state.adapt) offerAdapt(stackResults().length);
}

async function scoreOne({ files: [file] }, zStep, signal) {
  const answer = await scoreImage(file, { zStep, signal, onSent: progress(file.size, 1, "Looking at the image") });
  if (signal.aborted) return;
  hideAnswer();
  showSingle(answer, file);
  byId("announcer").textContent = spokenSingle(answer);
  bringIntoView(byId("single"));
}

/** Pick one stack; a zip or several TIFF files may turn out to be many, and a TIFF file to be one image. */
async function pickOne(stack, zStep, signal) {
  try {
    const onSent = progress(bytesOf(stack), stack.files.length, "Looking for the best plane");
    const answer = await pickFocus(stack, { ...options(stack, zStep, signal), onSent });
    openStack({ name: stack.name, files: stack.files, answer });
  } catch (error) {
    if (error.code === "several_stacks") await pickAll(stack, zStep, signal);
    else if (stack.files.length === 1 && / has one page/.test(error.message)) await scoreOne(stack, zStep, signal);
    else throw error;
  }
}

async function pickAll(stack, zStep, signal) {
  const onLine = (line) => {
    if (signal.aborted) return;
    const name = line.stack ?? stack.name;
    addResult(line.slices ? { name, files: [], answer: line } : { name, files: [], problem: line.problem ?? line.detail });
    say(`${count(stackResults().length, "stack")} answered …`);
  };
  const onSent = progress(bytesOf(stack), stack.files.length, "Looking for the best planes");
  await pickMany(stack, { ...options(stack, zStep, signal), onSent, onLine });
  bringIntoView(byId("stacks"));
}

async function pickEach(stacks, zStep, signal) {
  for (const [at, stack] of stacks.entries()) {
    say(`Stack ${at + 1} of ${stacks.length}: ${stack.name} …`, at / stacks.length);
    const result = await resultOf(stack, zStep, signal);
    if (signal.aborted) return;
    addResult(result);
  }
}

/** Answer of one of many stacks, or why there is none; what concerns all of them is thrown. */
async function resultOf({ name, files }, zStep, signal) {
  try {
    return { name, files, answer: await pickFocus({ name, files }, options({ name, files }, zStep, signal)) };
  } catch (error) {
    const ofThisStack = error instanceof ChoiceError || (error instanceof ServiceError && ![0, 401].includes(error.status));
    if (!ofThisStack) throw error;
    return { name, files, problem: error.message };
  }
}

/** Add a row, and show the first stack that has a best plane below the table. */
function addResult(result) {
  addStack(result);
  const answered = stackResults().filter((one) => one.answer?.best_file);
  if (answered.length === 1 && answered[0] === result) openStack(result);
}

function openStack(result) {
  hideSingle();
  showAnswer(result.answer, result.files);
  markStack(result);
  byId("announcer").textContent = spoken(result.answer);
  bringIntoView(byId(stackResults().length > 1 ? "stacks" : "answer"));
}

function options(stack, zStep, signal) {
  const excess = excessOf(stack, bytesOf(stack), state.limits);
  if (excess) throw new ChoiceError(excess);
  return { zStep, thumbnails: previewSize(stack.files), signal };
}

function bytesOf({ files }) {
  return files.reduce((sum, file) => sum + file.size, 0);
}

function progress(bytes, files, work) {
  const what = `${count(files, "file")}, ${sizeText(bytes)}`;
  say(`Sending ${what} …`);
  return (share) => (share < 1 ? say(`Sending ${what} …`, share) : say(`${work} (${what}) …`));
}

function previewSize(files) {
  return files.every(isShowable) || files.length > MANY_SLICES ? PREVIEW_PX : LARGE_PREVIEW_PX;
}

/** The z step in micrometres, null where none is given; a decimal comma counts. */
function readStep() {
  const input = byId("z-step");
  const text = input.value.trim().replace(",", ".");
  const step = Number(text);
  state.step = input.value;
  const wrong = text !== "" && !(step > 0 && step <= MOST_STEP_UM);
  input.setAttribute("aria-invalid", String(wrong));
  if (wrong) {
    const sentence = `The distance between slices is “${input.value.trim()}”: give micrometres up to ${MOST_STEP_UM}, such as 0.5, or nothing.`;
    throw Object.assign(new ChoiceError(sentence), { keepsAnswer: true });
  }
  return text === "" ? null : step;
}

function repick() {
  if (state.stacks.length) run(answerAll);
}

/** Show why there is no answer; a wanted token is asked for. */
function fail(error) {
  if (!(error instanceof ServiceError || error instanceof ChoiceError)) console.error(error);
  if (!error.keepsAnswer) {
    hideAnswer();
    hideSingle();
  }
  if (error.status === 401) {
    askToken();
    return;
  }
  const known = error instanceof ServiceError || error instanceof ChoiceError;
  const text = known ? error.message : "The page itself failed: reload it, and try again.";
  const title = document.createElement("strong");
  title.textContent = error.keepsAnswer ? "Not changed" : "No answer";
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
  const found = await health().catch(() => null);
  const calibrated = found?.calibrated ? "calibrated" : "not calibrated on this microscope";
  byId("model").textContent = found
    ? `Model ${found.model} ${found.model_version} · ${calibrated} · SHA-256 ${String(found.model_sha256).slice(0, 12)}`
    : "The service does not answer.";
  state.limits = found?.limits ?? {};
  state.adapt = Boolean(found?.adapt);
  if (state.adapt) {
    offerAdapt(0);
    await listenToAdapt(() => state.stacks);
  }
  byId("limits").textContent = limitsText(state.limits);
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
  byId("z-step").addEventListener("change", () => byId("z-step").value !== state.step && repick());
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
  byId("status-filter").addEventListener("change", filterStacks);
  byId("download-stacks").addEventListener("click", () => download("stacks_focus.csv", asStacksCsv(stackResults()), "text/csv"));
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
listenToViewer();
showModel();
