"use strict";
// Shows the values of the point next to the pointer, and hides a model when its name in a legend is chosen.
const near = 24;
const tip = document.body.appendChild(document.createElement("div"));
tip.className = "tip";
tip.hidden = true;

function toggle(model) {
  for (const node of document.querySelectorAll(`figure .${model}`)) {
    if (node.classList.contains("key")) node.setAttribute("aria-pressed", node.classList.contains("off"));
    node.classList.toggle("off");
  }
}

function closest(hits, event) {
  let found = null;
  let least = near;
  for (const hit of hits) {
    if (hit.parentNode.classList.contains("off")) continue;
    const box = hit.getBoundingClientRect();
    const far = Math.hypot(box.x + box.width / 2 - event.clientX, box.y + box.height / 2 - event.clientY);
    if (far < least) [least, found] = [far, hit];
  }
  return found;
}

for (const svg of document.querySelectorAll("figure svg")) {
  const hits = [...svg.querySelectorAll(".hit")];
  const words = new Map(hits.map((hit) => [hit, hit.textContent]));
  hits.forEach((hit) => hit.replaceChildren());
  let shown = null;
  const show = (hit, event) => {
    shown?.classList.remove("near");
    hit?.classList.add("near");
    shown = hit;
    tip.hidden = !hit;
    if (!hit) return;
    tip.textContent = words.get(hit);
    const left = Math.min(event.clientX + 14, document.documentElement.clientWidth - tip.offsetWidth - 4);
    tip.style.left = `${Math.max(4, left)}px`;
    tip.style.top = `${event.clientY + 18}px`;
  };
  for (const kind of ["pointermove", "pointerdown"]) svg.addEventListener(kind, (event) => show(closest(hits, event), event));
  svg.addEventListener("pointerleave", () => show(null));
  svg.setAttribute("role", "group");
  for (const key of svg.querySelectorAll(".key")) {
    const model = [...key.classList].find((name) => name !== "key");
    key.setAttribute("role", "button");
    key.setAttribute("tabindex", "0");
    key.setAttribute("aria-pressed", "true");
    key.addEventListener("click", () => toggle(model));
    key.addEventListener("keydown", (event) => {
      if (event.key !== "Enter" && event.key !== " ") return;
      event.preventDefault();
      toggle(model);
    });
  }
}
