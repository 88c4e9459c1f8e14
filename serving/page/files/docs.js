// List the addresses of this server with their parameters, as /openapi.json describes them.
import { at, hasToken, make } from "./api.js";
import { copyButton, curl } from "./copy.js";
import { table } from "./table.js";

// The alternatives of a type, without null, which stands for the default.
const kinds = (type) => (type.anyOf ?? [type]).flatMap((each) => (each.anyOf ? kinds(each) : [each])).filter(({ type: name }) => name !== "null");

const nameOf = ({ type }) => (Array.isArray(type) ? type.find((name) => name !== "null") : type);

const bounds = (value) => value !== undefined && Math.abs(value) < 2 ** 31 - 1; // larger ones only keep numbers finite

function inWords(type) {
  const names = kinds(type).map((each) => {
    if (each.$ref) return "object";
    if (each.enum) return each.enum.filter((value) => value !== null).map((value) => JSON.stringify(value)).join(" or ");
    const low = each.minimum ?? each.exclusiveMinimum, high = each.maximum ?? each.exclusiveMaximum;
    const range = [bounds(low) && `from ${low}`, bounds(high) && `to ${high}`].filter(Boolean).join(" ");
    const kind = nameOf(each), name = kind === "array" ? `list of ${inWords(each.items ?? {})}` : kind ?? "any value";
    return range ? `${name} ${range}` : name;
  });
  return [...new Set(names)].join(", or ");
}

function parameters(operation) {
  const body = operation.requestBody?.content["application/json"].schema, required = body?.required ?? [];
  const rows = Object.entries(body?.properties ?? {}).map(([name, type]) => [name, type, required.includes(name)]);
  rows.push(...(operation.parameters ?? []).map(({ name, schema, required: needed }) => [name, schema, needed]));
  return rows.map(([name, type, needed]) => [
    name, inWords(type), needed ? "required" : (type.default ?? null) === null ? "" : JSON.stringify(type.default), type.description ?? "",
  ]);
}

// The address of an operation, relative to this page, with the parameters of its example.
function addressOf(path, operation) {
  const values = operation["x-example"] ?? {};
  return path.slice(1).replace(/\{(\w+)\}/g, (_, name) => encodeURIComponent(values[name] ?? ""));
}

function headers(body) {
  return { ...(body !== undefined && { "Content-Type": "application/json" }), ...(hasToken() && { Authorization: `Bearer ${at("token").value}` }) };
}

// The answer as it is read best: JSON with line breaks, anything else as it is.
function shown(text) {
  try {
    return JSON.stringify(JSON.parse(text), null, 1);
  } catch {
    return text;
  }
}

// A form that sends an example, which may be changed before, and shows the answer.
function trial(path, method, operation) {
  const details = make("details"), address = addressOf(path, operation), answer = make("pre");
  const example = operation.requestBody?.content["application/json"].example, field = make("textarea");
  field.value = example ? JSON.stringify(example, null, 1) : "";
  field.rows = field.value.split("\n").length + 1;
  field.spellcheck = false;
  field.ariaLabel = `Body of ${method.toUpperCase()} ${path}`;
  answer.hidden = true;
  answer.tabIndex = 0;
  answer.setAttribute("role", "status");
  const body = () => (example ? field.value : undefined), send = make("button", "Send");
  send.type = "button";
  send.addEventListener("click", async () => {
    answer.hidden = false;
    answer.textContent = "Waiting …";
    try {
      const got = await fetch(address, { method: method.toUpperCase(), headers: headers(body()), body: body() });
      if (got.status === 401) at("token-label").hidden = false;
      answer.textContent = `${got.status}\n${shown(await got.text())}`;
    } catch {
      answer.textContent = "The server does not answer. Is it still running?";
    }
  });
  const asCurl = copyButton("as curl", () => {
    let values = body();
    try {
      values = values && JSON.parse(values);
    } catch { /* it is copied as it is, and the server says what is wrong */ }
    return curl(address, values, hasToken());
  });
  const buttons = make("p", "", "copies");
  buttons.append(send, asCurl);
  details.append(make("summary", "Try it"), ...(example ? [field] : []), buttons, answer);
  return details;
}

function part(path, method, operation) {
  const section = make("section"), rows = parameters(operation);
  section.append(make("h2", `${method.toUpperCase()} ${path}`), make("p", operation.summary));
  for (const paragraph of (operation.description ?? "").split("\n\n").filter(Boolean))
    section.append(make("p", paragraph, "help"));
  if (rows.length) section.append(table(rows, ["parameter", "kind", "default", "meaning"]));
  section.append(trial(path, method, operation));
  for (const cell of section.querySelectorAll("td, p.help")) // names stand between backquotes
    cell.replaceChildren(...cell.textContent.split("`").map((words, place) => (place % 2 ? make("code", words) : words)));
  return section;
}

at("token-label").addEventListener("submit", (event) => event.preventDefault());

async function list() {
  const answer = await fetch("openapi.json");
  if (!answer.ok) throw new Error(`The server answered with status ${answer.status}.`);
  const { paths } = await answer.json();
  at("addresses").replaceChildren(...Object.entries(paths).flatMap(([path, methods]) =>
    Object.entries(methods).map(([method, operation]) => part(path, method, operation))));
}

list().catch((error) => at("addresses").replaceChildren(make("p", error.message, "error")));
