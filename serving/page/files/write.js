// Write with live suggestions: completions of the word being typed and next words, the likeliest first.
import { act, ask, at, chosen, hasToken, make, percent, readAs, say } from "./api.js";
import { command, copyButton, curl } from "./copy.js";

const SHOWN = 5;
const LEAST = 0.005;
const PAUSE = 700; // milliseconds without a key before a screen reader says the words

export function startWrite() {
  const field = at("write-text");
  let offers = [], offeredFor = "", keys = 0, words = 0, pending = null, hidden = false, taken = "", marked = -1;

  function listed(found) {
    const readings = found.otherwise ? [found, found.otherwise] : [found];
    return readings.flatMap((each) => each.words.map(({ word, probability }) => ({
      word, text: each.space + word, replaces: each.typed.length,
      probability: each.typed || !found.otherwise ? probability : found.finished * probability,
      same: word === each.typed,
    }))).filter((each) => !each.same && each.probability >= LEAST)
      .sort((a, b) => b.probability - a.probability).slice(0, SHOWN);
  }

  function show() {
    const shown = hidden ? [] : offers;
    at("offers").replaceChildren(...shown.map((offer, place) => {
      const button = make("button", offer.word);
      button.type = "button";
      button.classList.toggle("marked", place === marked);
      button.setAttribute("aria-keyshortcuts", `${place ? "" : "Tab "}Alt+${place + 1}`);
      button.append(" ", make("small", percent(offer.probability)));
      button.addEventListener("click", () => take(place));
      return button;
    }));
    const length = field.value.length;
    const saved = length ? Math.round(100 * (1 - keys / length)) : 0;
    at("write-keys").textContent = words && saved > 0
      ? `${length} characters with ${keys} ${keys === 1 ? "key" : "keys"}: ${saved} % of the keys saved` : "";
    tellReader(shown);
  }

  // The field stays a field of several lines: arrow keys choose a word only at its end, where down leads nowhere.
  function tellReader(shown) {
    const listing = shown.map(({ word, probability }) => `${word} ${percent(probability)}`).join(", ");
    const said = [taken && `Written: ${taken}.`, field.value && listing && `Suggested: ${listing}. Tab writes ${shown[0].word}.`];
    if (marked < 0) say(said.filter(Boolean).join(" "), PAUSE);
    else say(`${shown[marked].word} ${percent(shown[marked].probability)}`);
  }

  async function suggest() {
    pending?.abort();
    pending = new AbortController();
    const end = field.selectionStart === field.value.length;
    const { signal } = pending, text = field.value, asked = chosen();
    at("offers").ariaBusy = "true";
    let found = null; // after an error there is nothing to offer
    await act(async () => {
      found = end && await ask("suggest", { prompt: text, k: SHOWN + 1, ...asked }, signal);
    });
    if (signal.aborted) return;
    at("offers").ariaBusy = "false";
    offers = found ? listed(found) : [];
    marked = -1;
    offeredFor = text;
    if (found) at("write-read").textContent = `${found.model}. ${readAs(found.ratings, asked.stars)}`;
    show();
  }

  function take(place) {
    const offer = offers[place];
    if (!offer || offeredFor !== field.value) return; // the answer for the text as it is now has not come yet
    keys += 1;
    words += 1;
    taken = offer.word;
    const start = field.value.length - offer.replaces;
    field.setRangeText(offer.text, start, field.value.length, "end");
    field.focus();
    suggest();
  }

  const request = () => ({ prompt: field.value, k: SHOWN, ...chosen() });
  at("write-copies").replaceChildren(
    copyButton("the text", () => field.value),
    copyButton("as a command", () => command("suggest", { model: request().model, stars: request().stars, k: SHOWN }, request().prompt)),
    copyButton("as curl", () => curl("suggest", request(), hasToken())),
  );
  field.addEventListener("input", (event) => {
    const pasted = event.inputType?.startsWith("insertFromPaste") ? event.data?.length ?? 1 : 1;
    keys = field.value ? keys + pasted : 0;
    words = field.value ? words : 0;
    hidden = false;
    marked = -1;
    taken = "";
    suggest();
  });
  field.addEventListener("keydown", (event) => {
    const digit = event.altKey && /^(?:Digit|Numpad)([1-9])$/.exec(event.code)?.[1]; // Option+2 has another `key`
    const listens = !hidden && offers.length && offeredFor === field.value && field.selectionStart === field.value.length;
    if (listens && !event.altKey && (event.key === "ArrowDown" || (event.key === "ArrowUp" && marked >= 0))) {
      event.preventDefault();
      marked = Math.min(offers.length - 1, marked + (event.key === "ArrowDown" ? 1 : -1));
      show();
    } else if (listens && event.key === "Enter" && marked >= 0) {
      event.preventDefault();
      take(marked);
    } else if (event.key === "Tab" && !event.shiftKey && !hidden && offers.length && field.value) {
      event.preventDefault();
      take(0);
    } else if (digit) {
      event.preventDefault();
      take(Number(digit) - 1);
    } else if (event.key === "Escape") {
      hidden = true;
      marked = -1;
      show();
    }
  });
  return suggest;
}
