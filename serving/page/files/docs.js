// List the addresses of this server with their parameters, as /openapi.json describes them.
import { at, make } from "./api.js";
import { table } from "./table.js";

// The alternatives of a type, without null, which stands for the default.
const kinds = (type) => (type.anyOf ?? [type]).flatMap((each) => (each.anyOf ? kinds(each) : [each])).filter(({ type: name }) => name !== "null");

const bounds = (value) => value !== undefined && Math.abs(value) < 2 ** 31 - 1; // larger ones only keep numbers finite

function inWords(type) {
  const names = kinds(type).map((each) => {
    if (each.$ref) return "object";
    if (each.enum) return each.enum.map((value) => JSON.stringify(value)).join(" or ");
    const low = each.minimum ?? each.exclusiveMinimum, high = each.maximum ?? each.exclusiveMaximum;
    const range = [bounds(low) && `from ${low}`, bounds(high) && `to ${high}`].filter(Boolean).join(" ");
    const name = each.type === "array" ? `list of ${inWords(each.items ?? {})}` : each.type ?? "any value";
    return range ? `${name} ${range}` : name;
  });
  return [...new Set(names)].join(", or ");
}

function parameters(operation) {
  const body = operation.requestBody?.content["application/json"].schema, required = body?.required ?? [];
  const rows = Object.entries(body?.properties ?? {}).map(([name, type]) => [name, type, required.includes(name)]);
  rows.push(...(operation.parameters ?? []).map(({ name, schema, required: needed }) => [name, schema, needed]));
  return rows.map(([name, type, needed]) => [
    name, inWords(type), needed ? "required" : type.default === undefined ? "" : JSON.stringify(type.default), type.description ?? "",
  ]);
}

function part(path, method, operation) {
  const section = make("section"), rows = parameters(operation);
  section.append(make("h2", `${method.toUpperCase()} ${path}`), make("p", operation.summary));
  if (rows.length) section.append(table(rows, ["parameter", "kind", "default", "meaning"]));
  for (const cell of section.querySelectorAll("td")) // names stand between backquotes
    cell.replaceChildren(...cell.textContent.split("`").map((words, place) => (place % 2 ? make("code", words) : words)));
  return section;
}

async function list() {
  const answer = await fetch("openapi.json");
  if (!answer.ok) throw new Error(`The server answered with status ${answer.status}.`);
  const { paths } = await answer.json();
  at("addresses").replaceChildren(...Object.entries(paths).flatMap(([path, methods]) =>
    Object.entries(methods).map(([method, operation]) => part(path, method, operation))));
}

list().catch((error) => at("addresses").replaceChildren(make("p", error.message, "error")));
