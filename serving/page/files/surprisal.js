// Colour each token of a text by its surprisal, and show what the model expected instead.
import { act, ask, at, chosen, make, percent } from "/page/api.js";

const LIMITS = [2, 4, 7, 11];
const NAMES = ["up to 2 bits", "2–4", "4–7", "7–11", "over 11 bits"];
const level = (bits) => 1 + LIMITS.filter((limit) => bits > limit).length;

const SPECIAL = { "<unk>": "an unknown word", "<eos>": "the end of the review" };
const named = (token) => SPECIAL[token] ?? (token.trim() ? `“${token.trim()}”` : "a line break");

const PIECES = /\s*(?:[\p{L}\p{M}\p{N}]+(?:['’]\p{L}+)*|[^\s\p{L}\p{N}])/gu;

// The characters of each token. Unknown words have none of their own: they get those between their neighbours.
function surfaces(text, tokens) {
  const found = [], lower = text.toLowerCase();
  let from = 0, unknown = 0;
  const fill = (gap) => {
    const parts = gap.match(PIECES) ?? [];
    const each = parts.length === unknown ? parts : [gap, ...Array(Math.max(0, unknown - 1)).fill("")];
    found.push(...each.slice(0, unknown));
    unknown = 0;
  };
  for (const token of tokens) {
    const piece = token.trim().toLowerCase();
    if (!piece) {
      unknown += 1;
      continue;
    }
    const start = lower.indexOf(piece, from);
    if (start < 0 || lower.length !== text.length) return tokens;
    const space = unknown ? text.slice(from, start).match(/\s*$/)[0].length : start - from;
    if (unknown) fill(text.slice(from, start - space));
    found.push(text.slice(start - space, start + piece.length));
    from = start + piece.length;
  }
  if (unknown) fill(text.slice(from));
  return found;
}

export function startSurprisal() {
  let tokens = [], current = -1;
  const heat = at("heat");
  at("legend").replaceChildren(...NAMES.map((name, place) => make("li", name, `level${place + 1}`)));

  function choose(place) {
    if (!tokens.length) return;
    heat.children[current]?.classList.remove("chosen");
    heat.children[current]?.setAttribute("aria-selected", "false");
    current = Math.max(0, Math.min(tokens.length - 1, place));
    const { text, bits, others, known } = tokens[current];
    const element = heat.children[current];
    element.classList.add("chosen");
    element.setAttribute("aria-selected", "true");
    heat.setAttribute("aria-activedescendant", element.id);
    const expected = others.map(([word, p]) => `${named(word)} ${percent(p)}`).join(", ");
    const word = known || !text.trim() ? named(text) : `${named(text)}, an unknown word`;
    at("alternatives").textContent = `${word}: ${bits.toFixed(1)} bits (${percent(2 ** -bits)}). `
      + `Expected: ${expected}.`;
  }

  at("surprisal-form").addEventListener("submit", (event) => {
    event.preventDefault();
    act(async () => {
      const text = at("surprisal-text").value, { model, stars } = chosen();
      if (!text.trim()) throw new Error("Give a text of one word or more.");
      const [read, score] = await Promise.all([
        ask("/v1/completions", { model, stars, prompt: text, echo: true, logprobs: 5, max_tokens: 1 }),
        ask("/score", { model, stars, texts: [text] }),
      ]);
      const said = read.choices[0].logprobs;
      const shown = said.tokens.slice(0, read.usage.prompt_tokens);
      tokens = surfaces(text.trim(), shown).map((token, place) => ({
        text: token, known: Boolean(shown[place].trim()), bits: -(said.token_logprobs[place] ?? 0) / Math.LN2,
        others: Object.entries(said.top_logprobs[place] ?? {}).map(([word, logp]) => [word, Math.exp(logp)]),
      }));
      heat.replaceChildren(...tokens.map(({ text: written, bits }, place) => {
        const span = make("span", written, `level${level(bits)}`);
        span.id = `token-${place}`;
        span.setAttribute("role", "option");
        span.setAttribute("aria-selected", "false");
        span.addEventListener("pointerenter", () => choose(place));
        span.addEventListener("click", () => choose(place));
        return span;
      }));
      heat.hidden = false;
      current = -1;
      choose(tokens.reduce((most, token, place) => (token.bits > tokens[most].bits ? place : most), 0));
      const whole = score.scores[0];
      at("surprisal-sum").textContent = `${whole.open_bits_per_byte.toFixed(3)} open bits per byte; ${whole.tokens} tokens `
        + `with the end of the text, ${whole.oov} of them unknown words.`;
    });
  });
  heat.addEventListener("keydown", (event) => {
    const step = { ArrowRight: 1, ArrowLeft: -1, Home: -tokens.length, End: tokens.length }[event.key];
    if (!step) return;
    event.preventDefault();
    choose(current + step);
  });
}
