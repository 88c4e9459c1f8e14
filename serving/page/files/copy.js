// Copy texts, and requests as commands for a shell. No command ever has the access token in it.
import { make } from "./api.js";

const SHOWN = 2000; // milliseconds for which a button says that it has copied

async function copied(text) {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch { // without https, or where the user forbids it
    const field = make("textarea");
    field.value = text;
    field.className = "unseen";
    document.body.append(field);
    field.select();
    const done = document.execCommand("copy");
    field.remove();
    return done;
  }
}

// A button that copies what a function returns at that moment.
export function copyButton(name, text) {
  const label = `Copy ${name}`, button = make("button", label, "copy");
  button.type = "button";
  let showing = 0;
  button.addEventListener("click", async () => {
    const done = await copied(text());
    clearTimeout(showing);
    button.textContent = done ? "Copied" : "Press Ctrl+C";
    showing = setTimeout(() => { button.textContent = label; }, SHOWN);
  });
  button.ariaLive = "polite";
  return button;
}

// Show buttons for a finished answer, each with the text that it copies; none without an answer.
export function offerCopies(place, texts) {
  place.replaceChildren(...Object.entries(texts).map(([name, text]) => copyButton(name, () => text)));
}

const quoted = (text) => `'${String(text).replaceAll("'", "'\\''")}'`;

// The words of a command line; options that are null or "" are left out. *text*: its argument, if it has one.
export function command(verb, options, text = null) {
  const given = Object.entries(options).filter(([, value]) => value !== null && value !== "");
  const words = given.flatMap(([name, value]) => [`--${name}`, /^[\w@./-]+$/.test(value) ? value : quoted(value)]);
  return ["reviewlm", verb, ...words, ...(text === null ? [] : ["--", quoted(text)])].join(" ");
}

export function curl(path, body, needsToken) {
  const words = ["curl -s", quoted(new URL(path, document.baseURI).href)];
  if (needsToken) words.push("-H 'Authorization: Bearer TOKEN'");
  if (body !== undefined) words.push("-H 'Content-Type: application/json' -d", quoted(JSON.stringify(body)));
  return words.join(" ");
}
