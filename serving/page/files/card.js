// Show what is recorded about a version.
import { act, ask, at, chosen, make, noteVersion, rated } from "./api.js";
import { table } from "./table.js";

function ratings(shares) {
  const known = shares.map((share, stars) => [share, stars]).filter(([share]) => share > 0);
  return known.map(([share, stars]) => `${rated(stars)} ${Math.round(100 * share)} %`).join(", ");
}

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

// Link to the pages about the run that made the chosen version; without an answer, to none.
export async function showLinks() {
  const { model } = chosen(), { links } = await cardOf(model).catch(() => ({ links: {} }));
  if (chosen().model !== model) return;
  const local = Object.values(links).some((address) => new URL(address).hostname === "127.0.0.1");
  const needed = local ? " (on the server's machine, after reviewlm services start)" : "";  // nothing may listen there
  at("links").replaceChildren(...Object.entries(links).flatMap(([name, address]) => {
    const link = make("a", name);
    link.href = address;
    return [" · ", link];
  }), needed);
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
    at("card-body").replaceChildren(
      make("h2", `${card.model}: ${card.name}`),
      table([
        ["Kind of model", card.kind], ["Vocabulary", `${card.vocabulary.entries.toLocaleString("en")} entries, unit: ${card.vocabulary.unit}`],
        ["Preset and data", card.data?.made_from || "unknown"], ["Data family", card.family || "unknown"],
        ["Data (digest)", card.data?.digest || "–"], ["Ratings in training", ratings(card.stars)],
        ["Adapts while it reads", card.adaptation === "static" ? "no (static)" : card.adaptation || "–"], ["Verdict", card.verdict || "none recorded"],
        ["Champion since (UTC)", minute(card.since)], ["Texts are computed in", `${card.numbers.used}: ${card.numbers.why}`], ["Bundle (SHA-256)", card.bundle],
      ]),
      make("h2", "Figures of the decision"), table(figures(card)),
      make("h2", "Rules of the gate"), ...(told.length ? [table(rules, ["rule", "outcome", "why"])] : []),
      make("p", silent ? `${silent}${told.length ? " further" : ""} ${silent === 1 ? "rule" : "rules"} did not apply.`
        : told.length ? "" : "No rule is recorded.", "help"),
      make("h2", "History"), table(card.history.map((event) => [minute(event.when), event.version,
        decided(event), event.who, event.why]), ["when (UTC)", "version", "decision", "who", "why"]),
    );
  }, at("card-body"));
}
