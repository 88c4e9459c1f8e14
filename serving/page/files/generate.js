// Write whole reviews, streamed: with one model, or with two models side by side.
import { act, at, chosen, hasToken, rated, say, stream, tell } from "./api.js";
import { command, curl, offerCopies } from "./copy.js";

function values(form) {
  const found = Object.fromEntries(new FormData(form));
  const number = (name) => (name in found ? { [name]: Number(found[name]) } : {});
  return { ...found, ...number("temperature"), ...number("seed"), ...number("max_tokens") };
}

async function write(target, body, signal) {
  target.textContent = body.prompt;
  target.classList.remove("cut");
  target.setAttribute("aria-busy", "true");
  const done = { finish: "", model: "", warnings: [], stars: body.stars };
  try {
    for await (const piece of stream(body, signal)) {
      if (piece.text) target.append(piece.text);
      done.finish = piece.finish_reason ?? done.finish;
      done.model = piece.model ?? done.model;
      done.stars = piece.stars ?? done.stars;
      done.warnings.push(...piece.warnings);
    }
  } finally {
    target.removeAttribute("aria-busy");
    target.classList.toggle("cut", done.finish === "length");
  }
  return done;
}

const SEEDS = 1e6; // a number that is quickly typed again
const full = (name, { model }) => (name === model ? name : `${name} (${model})`);
const warn = (...texts) => tell([...new Set(texts.flatMap(({ warnings }) => warnings))].join(" "));

// Say with which rating a text was written; without one, each text draws its own.
function writtenAs({ stars }, given) {
  if (given !== null) return `Written as a review with ${rated(given)}.`;
  return `No rating is given: it was drawn as in the training reviews${stars === null ? "" : ` (${rated(stars)})`}.`;
}

function bothWrittenAs(first, second, given) {
  if (given !== null) return `Both are written as reviews with ${rated(given)}.`;
  if (first.stars === null) return "No rating is given: each version drew its own.";
  if (first.stars === second.stars) return `No rating is given: both drew ${rated(first.stars)}.`;
  return `No rating is given: they drew ${rated(first.stars)} and ${rated(second.stars)}; choose one to compare at the same.`;
}

function startOne() {
  let running = null;
  const form = at("generate-form"), stop = at("generate-stop");
  form.temperature.addEventListener("input", () => { at("temperature-shown").textContent = form.temperature.value; });
  stop.addEventListener("click", () => running?.abort());

  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    running?.abort();
    const mine = running = new AbortController();
    stop.disabled = false;
    at("generate-state").textContent = "Writing …";
    offerCopies(at("generate-copies"), {});
    const begun = performance.now(), { model, stars } = chosen();
    const seed = form.seed.value === "" ? Math.floor(SEEDS * Math.random()) : Number(form.seed.value);
    const asked = { ...values(form), model, stars, seed };
    const done = await act(() => write(at("generated"), asked, mine.signal));
    if (running !== mine) return;
    stop.disabled = true;
    const seconds = ((performance.now() - begun) / 1000).toFixed(1);
    const why = done?.finish === "length" ? "cut at the longest length" : "ended";
    at("generate-state").textContent = done ? `${done.model}: ${why} after ${seconds} s; seed ${seed}. ${writtenAs(done, stars)}`
      : mine.signal.aborted ? "Stopped." : "";
    if (!done) return;
    warn(done);
    say(at("generated").textContent);
    const { prompt, temperature, max_tokens } = asked, body = { ...asked, model: done.model };
    offerCopies(at("generate-copies"), {
      "the text": at("generated").textContent,
      "as a command": command("generate", { model: done.model, prompt, stars, temperature, seed, "max-tokens": max_tokens }),
      "as curl": curl("v1/completions", body, hasToken()),
    });
  });
}

function startPair() {
  const pair = at("compare-form");
  let running = null;
  pair.addEventListener("submit", async (event) => {
    event.preventDefault();
    running?.abort();
    const mine = running = new AbortController();
    const { first, second, ...body } = values(pair), { stars } = chosen();
    at("first-name").textContent = first;
    at("second-name").textContent = second;
    at("compare-state").textContent = "Writing …";
    for (const name of ["first", "second"]) offerCopies(at(`${name}-copies`), {});
    const done = await act(() => Promise.all([
      write(at("first-text"), { ...body, stars, model: first }, mine.signal),
      write(at("second-text"), { ...body, stars, model: second }, mine.signal),
    ]));
    if (running !== mine) return;
    if (!done) {
      mine.abort(); // the other text would go on alone
      at("compare-state").textContent = "";
      return;
    }
    warn(...done);
    at("first-name").textContent = full(first, done[0]);
    at("second-name").textContent = full(second, done[1]);
    const texts = [at("first-text").textContent, at("second-text").textContent];
    for (const [place, name] of ["first", "second"].entries()) {
      const asked = { ...body, stars, model: done[place].model };
      offerCopies(at(`${name}-copies`), { "the text": texts[place], "as curl": curl("v1/completions", asked, hasToken()) });
    }
    const [one, other] = done, same = texts[0] === texts[1];
    at("compare-state").textContent = one.model === other.model
      ? `Both are ${one.model}, so the texts are equal. Choose another version.`
      : `Same beginning and seed; the texts ${same ? "are equal" : "differ"}. ${bothWrittenAs(one, other, stars)}`;
    say(`${first} wrote: ${texts[0]} ${second} wrote: ${texts[1]}`);
  });
}

export function startGenerate() {
  startOne();
  startPair();
}
