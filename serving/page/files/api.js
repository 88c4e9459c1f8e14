// Ask the server, and say what went wrong. Texts of the model are only ever set as textContent.

export const at = (id) => document.getElementById(id);

export function make(tag, text = "", className = "") {
  const element = document.createElement(tag);
  element.textContent = text;
  if (className) element.className = className;
  return element;
}

export function tell(message) {
  at("error").textContent = message;
  at("error").hidden = !message;
}

// Let a screen reader say a sentence or a whole text, unless something newer comes within the wait.
let saying = 0;
export function say(message, wait = 0) {
  clearTimeout(saying);
  saying = setTimeout(() => { at("said").textContent = message; }, wait);
}

export const hasToken = () => Boolean(at("token").value);

export const chosen = () => ({ model: at("model").value, stars: at("stars").value === "" ? null : Number(at("stars").value) });

const AWAY = "The server does not answer; trying again …";
const PAUSES = [500, 1000, 2000]; // milliseconds before each further try

async function fetched(path, options) {
  for (const pause of [...PAUSES, null]) {
    try {
      const answer = await fetch(path, options);
      if (at("error").textContent === AWAY) tell("");
      return answer;
    } catch (error) {
      if (error.name === "AbortError") throw error;
    }
    if (pause === null) break;
    tell(AWAY);
    await new Promise((go) => setTimeout(go, pause));
    options.signal?.throwIfAborted();
  }
  throw new Error("The server does not answer. Is it still running?");
}

// The replica that has read the text so far is to answer again. Without https there is no randomUUID.
const session = (() => {
  const made = crypto.randomUUID?.() ?? crypto.getRandomValues(new Uint32Array(4)).join("-");
  try {
    return sessionStorage.session ??= made;
  } catch {
    return made; // the user lets no page store anything
  }
})();

async function asked(path, body, signal) {
  const headers = { "X-Session-Id": session, ...(body && { "Content-Type": "application/json" }) };
  if (at("token").value) headers.Authorization = `Bearer ${at("token").value}`;
  const options = { method: body ? "POST" : "GET", headers, signal, body: body && JSON.stringify(body) };
  const answer = await fetched(path, options);
  if (answer.status === 401) at("token-label").hidden = false;
  if (!answer.ok) {
    const said = await answer.json().catch(() => null);
    throw new Error(said?.error?.message ?? `The server answered with status ${answer.status}.`);
  }
  return answer;
}

export async function ask(path, body, signal) {
  const answer = await (await asked(path, body, signal)).json();
  if (answer.warnings) tell(answer.warnings.join(" "));
  if (body?.model && answer.model) noteVersion(body.model, answer.model);
  return answer;
}

// Say that an alias means another version than the page has listed, and let the page list them again.
export function noteVersion(name, version) {
  const listed = [...at("model").options].find((option) => option.value === name);
  if (!listed || listed.dataset.version === version) return;
  listed.dataset.version = version;
  at("moved").textContent = `${name} is ${version} now.`;
  window.dispatchEvent(new Event("moved"));
}

export const rated = (rating) => (rating ? `${rating} ${rating === 1 ? "star" : "stars"}` : "no rating");

// Say with which ratings a text was read.
export function readAs(ratings, given) {
  if (given !== null) return `Read as a review with ${rated(given)}.`;
  if (ratings.length === 1) return `No rating is given: read like all training reviews, with ${rated(ratings[0])}.`;
  const known = ratings.filter((rating) => rating > 0);
  const [least, most] = [known[0], known.at(-1)], all = known.length > 2 && most - least === known.length - 1;
  const names = all ? [`${least} to ${rated(most)}`]
    : known.map((rating) => (rating < most ? `${rating}` : rated(rating)));
  if (ratings.includes(0)) names.push("without one");
  return `No rating is given: averaged over reviews with ${new Intl.ListFormat("en-GB").format(names)}.`;
}

const BROKEN = "The server broke off its answer. Is it still running?";

// Yield the choices of a streamed completion as they come, each with the version and the warnings of its event.
export async function* stream(body, signal) {
  const answer = await asked("v1/completions", { ...body, stream: true }, signal);
  const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
  let held = "", ended = false;
  for (;;) {
    const { done, value } = await reader.read().catch((error) => {
      if (error.name === "AbortError") throw error;
      throw new Error(BROKEN);
    });
    if (done && !ended) throw new Error(BROKEN);
    if (done) return;
    const events = (held + value).split("\n\n");
    held = events.pop();
    for (const event of events) {
      const data = event.replace(/^data: /, "");
      ended ||= data === "[DONE]";
      if (!event.startsWith("data: ") || data === "[DONE]") continue;
      const told = JSON.parse(data);
      if (told.error) throw new Error(told.error.message);
      if (body.model && told.model) noteVersion(body.model, told.model);
      yield { ...told.choices?.[0], model: told.model, warnings: told.warnings ?? [] };
    }
  }
}

// Run a user's action: no message of an earlier one stays, and its error is shown unless it was cancelled.
// *place*: the element that its answer fills, which says meanwhile that it comes.
export async function act(work, place = null) {
  tell("");
  if (place) place.textContent = "Loading …";
  try {
    return await work();
  } catch (error) {
    if (place) place.textContent = "";
    if (error.name !== "AbortError") tell(error.message);
    else if (at("error").textContent === AWAY) tell(""); // nothing tries again
    return undefined;
  }
}

export function percent(p) {
  if (p >= 0.995) return "> 99 %"; // never sure
  return p >= 0.1 ? `${Math.round(100 * p)} %` : p >= 0.001 ? `${(100 * p).toFixed(1)} %` : "< 0.1 %";
}
