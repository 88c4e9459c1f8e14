// Show what is recorded about a version.
import { act, ask, at, chosen, make, noteVersion, rated } from "./api.js";
import { table } from "./table.js";

function ratings(shares) {
  const known = shares.map((share, stars) => [share, stars]).filter(([share]) => share > 0);
  return known.map(([share, stars]) => `${rated(stars)} ${Math.round(100 * share)} %`).join(", ");
}

const MEANINGS = {
  "Kind of model": "how it computes: ngram counts sequences of words, rnn, gru, lstm and nplm are networks, mixture combines models",
  "Vocabulary": "what it reads and writes: words, or parts of words (bpe, unigram), or characters",
  "Preset and data": "settings and reviews of the run that made it; unknown: the registry does not say",
  "Data family": "real or synthetic reviews; models of two families are never compared",
  "Data (digest)": "equal for models of the same reviews",
  "Ratings in training": "shares of the ratings; a rating that is not here means nothing to the model",
  "Adapts while it reads": "static: its probabilities depend on the text alone, not on earlier requests",
  "Verdict": "what the gate, or a person, decided about it, and why",
  "Champion since (UTC)": "–: it is not the champion",
  "Texts are computed in": "number format; scores are always in float32",
  "Bundle (SHA-256)": "identifies the model's files",
};

const minute = (time) => time?.slice(0, 16).replace("T", " ");

// Figures first, each with its interval, then the sentences; "challenger, …" is said of this version.
function figures({ figures: all }) {
  const found = new Map(all.map(({ name, value }) => [name.replace(/^challenger, /, ""), value]));
  for (const [name, value] of found) {
    const [low, high, sure] = ["lower end", "upper end", "confidence"].map((end) => found.get(`${name}, ${end}`));
    if (low === undefined || high === undefined) continue;
    found.set(name, `${value} (${sure ? `${sure.replace("%", " %")} ` : ""}interval ${low} to ${high})`);
    for (const end of ["lower end", "upper end", "confidence"]) found.delete(`${name}, ${end}`);
  }
  const isNumber = ([, value]) => /^[-+]?\d/.test(value);
  return [...[...found].filter(isNumber), ...[...found].filter((row) => !isNumber(row))];
}

const cardOf = (model) => ask(`models/card?model=${encodeURIComponent(model)}`);

const MEASURE = "challenger, open bits per byte";

// Name the chosen version with its date and the figure by which models are compared.
function inShort({ model, name, kind, created, figures: all }) {
  const long = { day: "numeric", month: "long", year: "numeric" };
  const registered = created ? `, registered on ${new Date(1000 * created).toLocaleDateString("en-GB", long)}` : "";
  const measured = all.find((figure) => figure.name === MEASURE)?.value;
  const figure = measured ? `; ${Number(measured).toFixed(3)} open bits per byte of its test reviews (less is better)` : "";
  return `${model}: ${name}${name === kind ? "" : ` (${kind})`}${registered}${figure}.`;
}

// Say in short what the chosen version is, and link to the pages about the run that made it; without an answer, nothing.
export async function showLinks() {
  const { model } = chosen(), card = await cardOf(model).catch(() => null), links = card?.links ?? {};
  if (chosen().model !== model) return;
  at("about").textContent = card ? inShort(card) : "";
  const local = Object.values(links).some((address) => new URL(address).hostname === "127.0.0.1");
  const hidden = card?.family && Object.keys(links).length === 0;  // a recorded version, but MLflow does not run
  const needed = hidden ? " · Report of its run: after reviewlm services start on the server's machine" : "";
  at("links").replaceChildren(...Object.entries(links).flatMap(([name, address]) => {
    const link = make("a", name);
    link.href = address;
    return [" · ", link];
  }), local ? " (on the server's machine)" : "", needed);
}

// A decision that took no effect says so.
const decided = ({ decision, state }) => (!state || state === "carried out" ? decision : `${decision} (${state})`);

export function startCard() {
  return () => act(async () => {
    const { model } = chosen();
    const card = await cardOf(model);
    noteVersion(model, card.model);
    const told = card.rules.filter((rule) => rule.outcome !== "not applicable");
    const rules = told.map(({ rule, outcome, why }) => [rule, outcome, why]);
    const silent = card.rules.length - told.length;
    const facts = table([
        ["Kind of model", card.kind], ["Vocabulary", `${card.vocabulary.entries.toLocaleString("en")} entries, unit: ${card.vocabulary.unit}`],
        ["Preset and data", card.data?.made_from || "unknown"], ["Data family", card.family || "unknown"],
        ["Data (digest)", card.data?.digest || "–"], ["Ratings in training", ratings(card.stars)],
        ["Adapts while it reads", card.adaptation === "static" ? "no (static)" : card.adaptation || "–"], ["Verdict", card.verdict || "none recorded"],
        ["Champion since (UTC)", minute(card.since)], ["Texts are computed in", `${card.numbers.used}: ${card.numbers.why}`], ["Bundle (SHA-256)", card.bundle],
    ].map(([name, value]) => [name, value, MEANINGS[name]]), ["field", "value", "what it means"]);
    facts.classList.add("meanings");
    at("card-body").replaceChildren(
      make("h2", `${card.model}: ${card.name}`), facts,
      make("h2", "Figures of the decision"), table(figures(card)),
      make("h2", "Rules of the gate"), ...(told.length ? [table(rules, ["rule", "outcome", "why"])] : []),
      make("p", silent ? `${silent}${told.length ? " further" : ""} ${silent === 1 ? "rule" : "rules"} did not apply.`
        : told.length ? "" : "No rule is recorded.", "help"),
      make("h2", "History"), table(card.history.map((event) => [minute(event.when), event.version,
        decided(event), event.who, event.why]), ["when (UTC)", "version", "decision", "who", "why"]),
    );
  }, at("card-body"));
}
