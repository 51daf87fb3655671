/** The service as the page sees it: requests with progress and cancel, errors as sentences, the access token. */

const TOKEN = "focus-picker-token"; // of this tab only, gone when it is closed

/** Why the service gave no answer: its HTTP status (0 where there was none), a sentence, and the reason's code. */
export class ServiceError extends Error {
  constructor(status, sentence, code = "") {
    super(sentence);
    this.status = status;
    this.code = code;
  }
}

/** Keep the token for the requests of this tab. */
export function keepToken(token) {
  sessionStorage.setItem(TOKEN, token);
}

/** Tell whether a token was given in this tab. */
export function hasToken() {
  return Boolean(sessionStorage.getItem(TOKEN));
}

/**
 * Ask for the best plane.
 *
 * @param {{name: string, files: File[]}} stack
 * @param {{zStep: number|null, thumbnails: number, signal: AbortSignal, onSent: (share: number) => void}} options
 *   thumbnails: side of the previews in pixels; onSent gets the share of the upload that has been sent
 * @returns {Promise<object>} the answer; rejected with an AbortError when it is cancelled
 */
export function pickFocus(stack, { zStep, thumbnails, signal, onSent }) {
  const query = new URLSearchParams({ name: stack.name, thumbnails: String(thumbnails) });
  if (zStep !== null) query.set("z_step_um", String(zStep));
  const body = new FormData();
  // With its name: without it, a browser sends the path inside the chosen folder.
  for (const file of stack.files) body.append("files", file, file.name);
  return send("POST", `/pick-focus?${query}`, { body, signal, onSent });
}

/**
 * Ask for the best planes of all stacks in one upload; `onLine` gets each answer as soon as it is there.
 *
 * @returns {Promise<void>}
 */
export async function pickMany(stack, { zStep, thumbnails, signal, onSent, onLine }) {
  const query = new URLSearchParams({ thumbnails: String(thumbnails) });
  if (zStep !== null) query.set("z_step_um", String(zStep));
  const body = new FormData();
  for (const file of stack.files) body.append("files", file, file.name);
  let read = 0;
  const onText = (text) => {
    for (let end = text.indexOf("\n", read); end >= 0; end = text.indexOf("\n", read)) {
      onLine(JSON.parse(text.slice(read, end)));
      read = end + 1;
    }
  };
  await send("POST", `/pick-focus-batch?${query}`, { body, signal, onSent, onText });
}

/** Score one image. */
export function scoreImage(file, { zStep, signal, onSent }) {
  const query = new URLSearchParams(zStep === null ? {} : { z_step_um: String(zStep) });
  const body = new FormData();
  body.append("files", file, file.name);
  return send("POST", `/score?${query}`, { body, signal, onSent });
}

/** Start (POST, with stacks), watch (GET) or stop (DELETE) the adaptation of a model. */
export function adaptation(method, body = null) {
  return send(method, "/adapt", { body });
}

/** The adapted model as a zip. */
export async function adaptedModel() {
  const token = sessionStorage.getItem(TOKEN);
  const headers = token ? { Authorization: `Bearer ${token}` } : {};
  const response = await fetch("/adapt/model", { headers }).catch(() => null);
  if (!response?.ok) throw new ServiceError(response?.status ?? 0, "The model could not be loaded: adapt it again.");
  return response.blob();
}

/** State of the service and its model. */
export function health() {
  return send("GET", "/health", {});
}

/** The slices of the example that comes with the page, as files. */
export async function exampleFiles(signal) {
  const names = Array.from({ length: 11 }, (_, index) => `${index}.jpg`);
  return Promise.all(
    names.map(async (name) => {
      const response = await fetch(`/static/example/${name}`, { signal }).catch(() => null);
      if (!response?.ok) throw new ServiceError(response?.status ?? 0, "The example could not be loaded.");
      return new File([await response.blob()], name, { type: "image/jpeg" });
    }),
  );
}

// XMLHttpRequest, because fetch does not tell how much of a body has been sent.
function send(method, url, { body = null, signal, onSent, onText }) {
  return new Promise((resolve, reject) => {
    const request = new XMLHttpRequest();
    let sentWhole = body === null;
    request.open(method, url);
    const token = sessionStorage.getItem(TOKEN);
    if (token) request.setRequestHeader("Authorization", `Bearer ${token}`);
    request.upload.addEventListener("progress", (event) => onSent?.(event.loaded / event.total));
    request.upload.addEventListener("load", () => {
      sentWhole = true;
      onSent?.(1);
    });
    request.addEventListener("error", () => reject(new ServiceError(0, noAnswer(sentWhole))));
    if (onText) request.addEventListener("progress", () => request.status === 200 && onText(request.responseText));
    request.addEventListener("load", () => {
      if (!onText || request.status !== 200) settle(request, resolve, reject);
      else resolve(onText(request.responseText));
    });
    request.addEventListener("abort", () => reject(new DOMException("Cancelled.", "AbortError")));
    signal?.addEventListener("abort", () => request.abort());
    request.send(body);
  });
}

function settle(request, resolve, reject) {
  const content = parsed(request.responseText);
  if ([200, 202].includes(request.status) && content !== null) resolve(content);
  else reject(new ServiceError(request.status, detailOf(content) || unexplained(request.status), content?.code));
}

function parsed(text) {
  try {
    return JSON.parse(text);
  } catch {
    return null;
  }
}

/** The service's sentence; none where something before it, a proxy say, has answered. */
function detailOf(content) {
  return typeof content?.detail === "string" ? content.detail : "";
}

function unexplained(status) {
  return `The service answered with status ${status} and no explanation.`;
}

function noAnswer(sentWhole) {
  return sentWhole
    ? "The service cannot be reached: check that it is running, and try again."
    : "The connection broke while the files were sent: the service has stopped, or the stack is too large for it.";
}
