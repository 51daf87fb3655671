/** The service's own description as a page: every operation with its parameters, and an example of every answer. */

const { paths, components } = await (await fetch("/openapi.json")).json();

function make(name, className, ...children) {
  const made = document.createElement(name);
  made.className = className;
  made.append(...children);
  return made;
}

/** Every example of one answer: those that are named, or that of its schema. */
function examplesOf(content) {
  return Object.values(content ?? {}).flatMap(({ examples, example, schema }) => {
    if (examples) return Object.values(examples).map(({ value }) => value);
    if (example) return [example];
    return components.schemas[schema?.$ref?.split("/").pop()]?.examples ?? [];
  });
}

function answerOf(status, { description, content }) {
  const texts = examplesOf(content).map((one) => (typeof one === "string" ? one : JSON.stringify(one, null, 2)));
  const examples = texts.map((text) => make("pre", "example", text));
  return make("details", "", make("summary", "", make("strong", "", status), ` ${description ?? ""}`), ...examples);
}

function parameterOf({ name, description, schema }) {
  const detail = `${description ?? ""}${schema?.default === undefined ? "" : ` Default: ${schema.default}.`}`;
  return [make("dt", "", make("code", "", name)), make("dd", "", detail)];
}

function operationOf(path, method, { summary, description, parameters = [], responses }) {
  return make(
    "section",
    "card",
    make("h2", "", make("code", "", `${method.toUpperCase()} ${path}`)),
    make("p", "", description ?? summary ?? ""),
    make("dl", "", ...parameters.flatMap(parameterOf)),
    ...Object.entries(responses).map(([status, answer]) => answerOf(status, answer)),
  );
}

const operations = Object.entries(paths).flatMap(([path, methods]) =>
  Object.entries(methods).map(([method, operation]) => operationOf(path, method, operation)),
);
document.getElementById("operations").replaceChildren(...operations);
