/** A model of one's own: sends the stacks that were chosen, shows how far it is, and hands out the model. */

import { count, sentence } from "./words.js";
import { adaptation, adaptedModel, ServiceError } from "./service.js";

const FEWEST = 10; // stacks from which a model is worth its while
const POLL_MS = 1500;
const USE = "to use it, unpack the download and start the service with --model and that folder";

const byId = (id) => document.getElementById(id);

let stacks = () => [];
let timer = null;

/** Make the section work; `chosen` gives the stacks that were chosen last. */
export async function listenToAdapt(chosen) {
  stacks = chosen;
  byId("adapt-start").addEventListener("click", () => attempt(start));
  byId("adapt-stop").addEventListener("click", () => attempt(stop));
  byId("adapt-model").addEventListener("click", () => attempt(download));
  await attempt(async () => show(await adaptation("GET")), true);
}

/** Offer an adaptation where enough stacks were answered. */
export function offerAdapt(number) {
  byId("adapt").hidden = false;
  byId("adapt-start").disabled = number < FEWEST;
  byId("adapt-hint").textContent =
    number < FEWEST
      ? `Drop ${FEWEST} or more stacks of this microscope, labelled by nobody, to get a model of it.`
      : `Makes a model of this microscope from these ${count(number, "stack")}; it takes a few minutes.`;
}

async function start() {
  const body = new FormData();
  for (const { name, files } of stacks()) {
    const alone = files.length === 1;
    for (const file of files) body.append("files", file, alone ? file.name : `${name}/${file.name}`);
  }
  say("Sending the stacks …");
  show(await adaptation("POST", body));
}

async function stop() {
  show(await adaptation("DELETE"));
}

async function poll() {
  show(await adaptation("GET"));
}

/** Show a state of the service's job, and ask again while it runs. */
function show(job) {
  clearTimeout(timer);
  const running = ["receiving", "running"].includes(job.state);
  byId("adapt-stop").hidden = !running;
  byId("adapt-start").hidden = running;
  byId("adapt-start").classList.toggle("primary", job.state !== "done");
  byId("adapt-progress").hidden = !running;
  byId("adapt-model").hidden = job.state !== "done";
  if (running) {
    byId("adapt-progress").max = job.total || 1;
    byId("adapt-progress").value = job.done;
    say(`${count(job.n_stacks, "stack")}: ${job.stage || "starting"} …`);
    timer = setTimeout(() => attempt(poll), POLL_MS);
  } else {
    const text = { done: `${job.words}\n${USE}`, failed: job.problem }[job.state] ?? "";
    say(text.split("\n").map(sentence).join("\n"));
  }
}

function say(text) {
  byId("adapt-words").textContent = text;
}

async function attempt(work, silent = false) {
  try {
    await work();
  } catch (error) {
    if (!(error instanceof ServiceError)) throw error;
    if (!silent) say(error.message);
  }
}

async function download() {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(await adaptedModel());
  link.download = "focus_model.zip";
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
}
