// Build a table; its first column names the rows.
import { make } from "./api.js";

export function table(rows, heads) {
  const holder = make("div", "", "wide"), found = make("table", "", "stack");
  if (heads) {
    const line = make("tr");
    line.append(...heads.map((head) => { const cell = make("th", head); cell.scope = "col"; return cell; }));
    const top = make("thead");
    top.append(line);
    found.append(top);
  }
  const body = make("tbody");
  for (const row of rows) {
    const line = make("tr");
    line.append(...row.map((text, place) => {
      const cell = make(place ? "td" : "th", String(text ?? "–"), text === "failed" ? "failed" : "");
      if (!place) cell.scope = "row";
      else if (heads) cell.dataset.head = heads[place]; // shown where a narrow window hides the heads
      return cell;
    }));
    body.append(line);
  }
  found.append(body);
  holder.append(found);
  return holder;
}
