// Write with live suggestions: completions of the word being typed and next words, the likeliest first.
import { act, ask, at, chosen, make, percent } from "/page/api.js";

const SHOWN = 5;
const LEAST = 0.005;

export function startWrite() {
  const field = at("write-text");
  let offers = [], offeredFor = "", keys = 0, pending = null, hidden = false;

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
    at("offers").replaceChildren(...(hidden ? [] : offers).map((offer, place) => {
      const button = make("button", offer.word);
      button.type = "button";
      button.append(" ", make("small", percent(offer.probability)));
      button.addEventListener("click", () => take(place));
      return button;
    }));
    const length = field.value.length;
    const saved = length ? Math.round(100 * (1 - keys / length)) : 0;
    at("write-keys").textContent = length ? `${length} characters with ${keys} keys: ${saved} % of the keys saved` : "";
  }

  async function suggest() {
    pending?.abort();
    pending = new AbortController();
    const end = field.selectionStart === field.value.length;
    const { signal } = pending, text = field.value;
    let found = null; // after an error there is nothing to offer
    await act(async () => {
      found = end && await ask("/suggest", { prompt: text, k: SHOWN + 1, ...chosen() }, signal);
    });
    if (signal.aborted) return;
    offers = found ? listed(found) : [];
    offeredFor = text;
    show();
  }

  function take(place) {
    const offer = offers[place];
    if (!offer || offeredFor !== field.value) return; // the answer for the text as it is now has not come yet
    keys += 1;
    const start = field.value.length - offer.replaces;
    field.setRangeText(offer.text, start, field.value.length, "end");
    field.focus();
    suggest();
  }

  field.addEventListener("input", (event) => {
    const pasted = event.inputType?.startsWith("insertFromPaste") ? event.data?.length ?? 1 : 1;
    keys = field.value ? keys + pasted : 0;
    hidden = false;
    suggest();
  });
  field.addEventListener("keydown", (event) => {
    if (event.key === "Tab" && !event.shiftKey && !hidden && offers.length && field.value) {
      event.preventDefault();
      take(0);
    } else if (event.altKey && /^[1-9]$/.test(event.key)) {
      event.preventDefault();
      take(Number(event.key) - 1);
    } else if (event.key === "Escape") {
      hidden = true;
      show();
    }
  });
  return suggest;
}
