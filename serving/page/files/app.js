// The tabs, the choice of a model, and the start of each part.
import { act, ask, at, make, say } from "./api.js";
import { showLinks, startCard } from "./card.js";
import { startDasher } from "./dasher.js";
import { startGenerate } from "./generate.js";
import { startSurprisal } from "./surprisal.js";
import { startWrite } from "./write.js";

const tabs = [...document.querySelectorAll("[role=tab]")];
const started = {};

function show(tab, focus = false) {
  for (const each of tabs) {
    const open = each === tab;
    each.setAttribute("aria-selected", String(open));
    each.tabIndex = open ? 0 : -1;
    at(each.getAttribute("aria-controls")).hidden = !open;
  }
  if (focus) tab.focus();
  say("");
  const name = tab.getAttribute("aria-controls");
  history.replaceState(null, "", `#${name}`);
  at("model").parentElement.hidden = name === "compare"; // it has two of its own
  started[name]?.();
}

for (const tab of tabs) {
  tab.addEventListener("click", () => show(tab));
  tab.addEventListener("keydown", (event) => {
    const place = tabs.indexOf(tab), count = tabs.length;
    const next = { ArrowRight: (place + 1) % count, ArrowLeft: (place + count - 1) % count, Home: 0, End: count - 1 }[event.key];
    if (next === undefined) return;
    event.preventDefault();
    show(tabs[next], true);
  });
}

// Offer the models; what was chosen stays chosen as long as it is there.
function offer(select, models, value) {
  const before = models.some((model) => model.id === select.value) && select.value;
  select.replaceChildren(...models.map((model) => {
    const day = new Date(1000 * model.created).toISOString().slice(0, 10);
    const version = model.id.includes("@") ? `version ${model.version.split("/").at(-1)}, ` : "";
    const option = make("option", `${model.id} (${version}${day})`);
    option.value = model.id;
    option.dataset.version = model.version;
    return option;
  }));
  select.value = before || value;
}

const EMPTY = "This server serves no language model yet, so there is nothing to try here; a classifier is asked with "
  + "POST /classify. Load this page again once a language model has been promoted.";

async function listModels() {
  const models = (await ask("v1/models")).data;
  document.body.classList.toggle("empty", !models.length);
  if (!models.length) throw new Error(EMPTY);
  const champion = models.find((model) => model.id.endsWith("@champion")) ?? models[0];
  const second = models.find((model) => model.id.includes("/") && model.version !== champion.version) ?? champion;
  offer(at("model"), models, champion.id);
  offer(document.querySelector("[name=first]"), models, champion.id);
  offer(document.querySelector("[name=second]"), models, second.id);
}

started.write = startWrite();
startGenerate();
startSurprisal();
started.dasher = startDasher();
started.card = startCard();
async function begin() {
  at("loading").hidden = false;
  const listed = await act(async () => { await listModels(); return true; });
  at("loading").hidden = true;
  if (!listed) return;
  showLinks();
  show(tabs.find((tab) => `#${tab.getAttribute("aria-controls")}` === location.hash) ?? tabs[0]);
}
at("token").addEventListener("change", begin);
at("token-label").addEventListener("submit", (event) => event.preventDefault());
for (const id of ["model", "stars"]) {
  at(id).addEventListener("change", () => {
    at("moved").textContent = "";
    at("stars-help").hidden = at("stars").value !== "";
    started[location.hash.slice(1) || "write"]?.();
    if (id === "model") showLinks();
  });
}
window.addEventListener("moved", () => listModels().then(showLinks).catch(() => undefined)); // the older list goes on
await begin();
