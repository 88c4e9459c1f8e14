// Write whole reviews, streamed: with one model, or with two models side by side.
import { act, at, chosen, stream } from "/page/api.js";

function values(form) {
  const found = Object.fromEntries(new FormData(form));
  const number = (name) => (name in found ? { [name]: Number(found[name]) } : {});
  return { ...found, ...number("temperature"), ...number("seed"), ...number("max_tokens") };
}

async function write(target, body, signal) {
  target.textContent = body.prompt;
  let tokens = 0, finish = "", model = "", stars = null;
  for await (const piece of stream(body, signal)) {
    if (piece.text) {
      target.append(piece.text);
      tokens += 1;
    }
    finish = piece.finish_reason ?? finish;
    model = piece.model ?? model;
    stars = piece.stars ?? stars;
  }
  return { finish, model, stars };
}

export function startGenerate() {
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
    const begun = performance.now();
    const { stars, ...version } = chosen();
    const done = await act(() => write(at("generated"), { ...values(form), ...version, stars }, mine.signal));
    if (running !== mine) return;
    stop.disabled = true;
    const seconds = ((performance.now() - begun) / 1000).toFixed(1);
    const why = done?.finish === "length" ? "cut at the longest length" : "ended";
    const rating = stars !== null || !done?.stars ? "" : ` Its rating was drawn: ${"★".repeat(done.stars)}.`;
    at("generate-state").textContent = done ? `${done.model}: ${why} after ${seconds} s.${rating}`
      : mine.signal.aborted ? "Stopped." : "";
  });

  const pair = at("compare-form");
  pair.addEventListener("submit", async (event) => {
    event.preventDefault();
    const { first, second, ...body } = values(pair);
    at("first-name").textContent = first;
    at("second-name").textContent = second;
    at("compare-state").textContent = "Writing …";
    const { stars } = chosen();
    const done = await act(() => Promise.all([
      write(at("first-text"), { ...body, stars, model: first }),
      write(at("second-text"), { ...body, stars, model: second }),
    ]));
    if (!done) {
      at("compare-state").textContent = "";
      return;
    }
    const same = at("first-text").textContent === at("second-text").textContent;
    const [{ model }, other] = done;
    at("compare-state").textContent = model === other.model
      ? `Both are ${model}, so the texts are equal. Choose another version.`
      : `Same beginning, rating and seed; ${same ? "the texts are equal" : "the texts differ"}.`;
  });
}
