// Colour each token of a text by its surprisal, and show what the model expected instead.
import { act, ask, at, chosen, hasToken, make, percent, readAs } from "./api.js";
import { curl, offerCopies } from "./copy.js";

const SHOWN = 5;
const EDGES = [1, 3, 6, 10]; // bits at which the next level begins
const NAMES = ["below 1 bit", "1 to 3", "3 to 6", "6 to 10", "10 bits and more"];
const level = (bits) => 1 + EDGES.filter((edge) => bits >= edge).length;

const END = "<eos>";
const SPECIAL = { "<unk>": "an unknown word", [END]: "the end of the review" };
const named = (token) => SPECIAL[token] ?? (token.trim() ? `“${token.trim()}”` : "a line break");

const STRAIGHT = { "’": "'", "‘": "'", "“": '"', "”": '"' };
// Lower case and straight quotes, as the models read them; the length stays.
const folded = (text) => text.replace(/./gsu, (char) => {
  const lower = (STRAIGHT[char] ?? char).toLowerCase();
  return lower.length === char.length ? lower : char;
});

const PIECES = /\s*(?:[\p{L}\p{M}\p{N}]+(?:['’]\p{L}+)*|[^\s\p{L}\p{N}])/gu;

// The characters of each token. Unknown words have none of their own: they get those between their neighbours.
function surfaces(text, tokens) {
  const found = [], lower = folded(text);
  let from = 0, unknown = 0;
  const fill = (gap) => {
    const parts = gap.match(PIECES) ?? [];
    const each = parts.length === unknown ? parts : [gap, ...Array(Math.max(0, unknown - 1)).fill("")];
    found.push(...each.slice(0, unknown));
    unknown = 0;
  };
  for (const token of tokens) {
    const piece = folded(token.trim());
    if (!piece) {
      unknown += 1;
      continue;
    }
    const start = lower.indexOf(piece, from);
    if (start < 0) return tokens.map((each) => each || " <unk>"); // the model reads the text in another form
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
    const written = named(place === tokens.length - 1 ? END : text.replace(" <unk>", "<unk>"));
    const word = known || !text.trim() || text === " <unk>" ? written : `${written}, an unknown word`;
    at("alternatives").textContent = `${word}: ${bits.toFixed(1)} bits (${percent(2 ** -bits)}). `
      + `Expected: ${expected}.`;
  }

  at("surprisal-form").addEventListener("submit", (event) => {
    event.preventDefault();
    act(async () => {
      const text = at("surprisal-text").value.trim(), { model, stars: rating } = chosen();
      if (!text) throw new Error("Give a text of one word or more.");
      const asked = { model, stars: rating, texts: [text], alternatives: SHOWN };
      const { model: version, scores: [whole], ratings } = await ask("score", asked);
      const { written: shown, likeliest } = whole.alternatives, count = whole.per_token.length - 1;
      tokens = [...surfaces(text, shown.slice(0, count)), ""].map((token, place) => ({
        text: token, known: place === count || Boolean(shown[place].trim()), bits: whole.per_token[place][1] / Math.LN2,
        others: likeliest[place].map(([word, nats]) => [word, Math.exp(-nats)]),
      }));
      heat.replaceChildren(...tokens.map(({ text: written, bits }, place) => {
        const span = make("span", written, `level${level(bits)}${place === count ? " end" : ""}`);
        span.id = `token-${place}`;
        span.setAttribute("role", "option");
        span.setAttribute("aria-selected", "false");
        if (place === count) span.setAttribute("aria-label", SPECIAL[END]);
        else if (!written.trim()) span.setAttribute("aria-label", "a line break");
        span.addEventListener("pointerenter", () => choose(place));
        span.addEventListener("click", () => choose(place));
        return span;
      }));
      heat.hidden = false;
      offerCopies(at("surprisal-copies"), { "as curl": curl("score", { ...asked, model: version }, hasToken()) });
      current = -1;
      choose(tokens.reduce((most, token, place) => (token.bits > tokens[most].bits ? place : most), 0));
      const [inTokens, surface] = [whole.nats / Math.LN2, whole.surface_nats / Math.LN2];
      const spelled = whole.spelling_nats / Math.LN2 - surface;
      at("surprisal-sum").textContent = `${version}. ${readAs(ratings, rating)} ${inTokens.toFixed(1)} bits in ${whole.tokens} tokens with `
        + `the end of the text (■), ${surface.toFixed(1)} bits for capitals, spaces and quotes, which tokens leave out`
        + `${whole.oov ? `, and ${spelled.toFixed(1)} bits for the letters of ${whole.oov} unknown ${whole.oov === 1 ? "word" : "words"}` : ""}: `
        + `${whole.open_bits_per_byte.toFixed(3)} open bits per byte.`;
    }, at("surprisal-sum"));
  });
  heat.addEventListener("keydown", (event) => {
    const step = { ArrowRight: 1, ArrowLeft: -1, Home: -tokens.length, End: tokens.length }[event.key];
    if (!step) return;
    event.preventDefault();
    choose(current + step);
  });
}
