"use strict";
// Texts of a run are set by textContent only, so that nothing in them is read as HTML.
const { runs, figures, ignored } = JSON.parse(document.getElementById("runs").textContent);
const body = document.querySelector("#list tbody");
const rows = [...body.rows];
const compared = document.getElementById("compared");
let chosen = [];

function make(parent, tag, text = "", kind = "") {
  const node = parent.appendChild(document.createElement(tag));
  node.textContent = text;
  if (kind) node.className = kind;
  return node;
}

function table(caption, head, lines) {
  const box = make(compared, "div", "", "wide");
  box.tabIndex = 0;
  const made = make(box, "table");
  make(made, "caption", caption);
  const top = make(make(made, "thead"), "tr");
  head.forEach((text, place) => { make(top, "th", text, place ? "number" : "").scope = "col"; });
  const inner = make(made, "tbody");
  for (const line of lines) {
    const row = make(inner, "tr");
    line.forEach((text, place) => make(row, "td", text, place ? "number" : ""));
  }
}

function shown(value) {
  if (value === undefined || value === null) return "–";
  return value.toLocaleString("en", Number.isInteger(value) ? {} : { maximumSignificantDigits: 4 });
}

function winner(run) {
  return run.models.find((model) => model.model === run.winner) || {};
}

function differing(a, b) {
  const names = [...new Set([...Object.keys(a), ...Object.keys(b)])];
  return names.filter((name) => a[name] !== b[name] && !ignored.some((start) => name.startsWith(start)))
    .map((name) => [name, a[name] ?? "–", b[name] ?? "–"]);
}

function compare() {
  compared.replaceChildren();
  if (chosen.length < 2) return;
  const pair = chosen.map((place) => runs[place]);
  make(compared, "h2", "Two runs beside each other");
  const [a, b] = pair;
  const heads = ["A", "B"];
  pair.forEach((run, place) => make(compared, "p", `${heads[place]}, ${run.run.started}: ${run.headline}`));
  table("Figures of the two winners", ["figure", ...heads, "B against A"], Object.entries(figures).map(([key, name]) => {
    const [then, now] = [winner(a)[key], winner(b)[key]];
    const known = typeof then === "number" && typeof now === "number" && then !== 0;
    const share = known ? 100 * (now - then) / Math.abs(then) : 0;
    return [name, shown(then), shown(now), known ? `${share > 0 ? "+" : ""}${share.toFixed(1)}%` : "–"];
  }));
  const bits = (run, name) => run.models.find((model) => model.model === name)?.open_bits_per_byte;
  const names = [...new Set(pair.flatMap((run) => run.models.map((model) => model.model)))];
  table("Bits per byte of all models", ["model", ...heads],
    names.map((name) => [name, ...pair.map((run) => shown(bits(run, name)))]));
  const settings = differing(a.settings, b.settings);
  if (settings.length) table("Settings that differ", ["setting", ...heads], settings);
  else make(compared, "p", "The settings are the same.");
  const data = differing(a.data, b.data);
  if (data.length) table("Data that differ", ["what", ...heads], data);
  else make(compared, "p", "The facts about the data are the same.");
  const sides = make(compared, "div", "", "sides");
  pair.forEach((run, place) => {
    const side = make(sides, "div");
    make(side, "h3", `Written by ${heads[place]}`);
    for (const sample of run.samples) {
      const quote = make(side, "blockquote");
      make(quote, "b", sample.stars ? "★".repeat(sample.stars) + "☆".repeat(5 - sample.stars) : "no rating");
      make(quote, "span", sample.text);
    }
  });
}

function filter(words) {
  const wanted = words.toLowerCase().split(/\s+/).filter(Boolean);
  let left = 0;
  for (const row of rows) {
    const text = row.textContent.toLowerCase();
    row.hidden = !wanted.every((word) => text.includes(word));
    left += row.hidden ? 0 : 1;
  }
  document.getElementById("count").textContent = wanted.length ? `${left} of ${rows.length}` : "";
}

function sort(head, column) {
  const up = head.getAttribute("aria-sort") !== "ascending";
  for (const other of head.parentNode.cells) other.removeAttribute("aria-sort");
  head.setAttribute("aria-sort", up ? "ascending" : "descending");
  const key = (row) => row.cells[column].dataset.value;
  const order = (one, two) => {
    const [a, b] = [key(one), key(two)];
    if (a !== undefined && b !== undefined) return a - b;
    if (a !== b) return a === undefined ? 1 : -1;
    return one.cells[column].textContent.localeCompare(two.cells[column].textContent, "en", { numeric: true });
  };
  const sorted = [...rows].sort((one, two) => (up ? order(one, two) : order(two, one)));
  body.append(...sorted);
}

for (const node of document.querySelectorAll(".scripted")) node.hidden = false;
document.getElementById("filter").addEventListener("input", (event) => filter(event.target.value));
[...document.querySelectorAll("#list th")].forEach((head, column) => {
  if (!column) return;
  const name = head.textContent;
  head.textContent = "";
  make(head, "button", name).addEventListener("click", () => sort(head, column));
});
rows.forEach((row, place) => {
  const box = make(row.cells[0], "input");
  box.type = "checkbox";
  box.disabled = !runs[place].models;
  box.setAttribute("aria-label", `compare run ${place + 1}`);
  box.addEventListener("change", () => {
    chosen = box.checked ? [...chosen, place] : chosen.filter((one) => one !== place);
    while (chosen.length > 2) rows[chosen.shift()].cells[0].firstElementChild.checked = false;
    compare();
  });
});
