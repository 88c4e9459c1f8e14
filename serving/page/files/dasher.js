// Write with one pointer: zoom into nested boxes, each as large as its character is probable (Dasher).
import { act, ask, at, chosen, make, percent } from "/page/api.js";

const SPEED = 1.6; // zooming at full deflection, in nats per second
const ASKED = 0.08; // boxes of this share of the screen are asked for their insides
const DRAWN = 4; // smallest height of a box that is drawn, in pixels
const BUTTONS = 12;
const REST = 200; // milliseconds without a new finished word before the code length is asked for
const IN_WORD = /[\p{L}\p{M}\p{N}'’]/u;
const counted = (count) => `${count} ${count === 1 ? "character" : "characters"}`;
const NAMES = { " ": "␣", "\n": "⏎" };

export function startDasher() {
  const canvas = at("dasher-canvas");
  const pen = canvas.getContext("2d");
  let root, low, high, written, running = false, pointer = { x: 0.5, y: 0.5 }, before = 0, waiting = 0, era = 0;
  let compared = null, later = 0, asking = null;

  const box = (parent, child, from) => ({
    parent, from, to: from + child.probability, kind: child.kind, symbol: child.symbol,
    text: parent ? parent.text + child.symbol : "", bits: (parent?.bits ?? 0) - Math.log2(child.probability),
    insides: null, asked: false, depth: parent ? parent.depth + 1 : 0,
  });

  function fill(node, children) {
    let from = 0;
    node.asked = true;
    node.insides = children.map((child) => {
      const inside = box(node, child, from);
      from += child.probability;
      if (child.children?.length) fill(inside, child.children);
      return inside;
    });
  }

  async function divide(node) {
    if (node.asked || node.kind === "end" || waiting > 3) return;
    node.asked = true;
    waiting += 1;
    const mine = era;
    await act(async () => {
      const { intervals: children } = await ask("/intervals", { prompt: node.text, other: node.kind === "other", smallest: 0.2, ...chosen() });
      if (mine === era) fill(node, children);
    });
    waiting -= 1;
    if (node === written) offer();
    draw();
  }

  function restart() {
    era += 1;
    root = box(null, { kind: "character", symbol: "", probability: 1 }, 0);
    low = 0; high = 1; written = root; running = false;
    tell();
    return divide(root);
  }

  // The view is [low, high] of the root's interval. A new root keeps the numbers precise.
  function rebase() {
    const inside = root.insides?.find((each) => each.from <= low && each.to >= high);
    const size = inside && inside.to - inside.from;
    if (inside) {
      [low, high, root] = [(low - inside.from) / size, (high - inside.from) / size, inside];
      return true;
    }
    if (root.parent && (low < 0 || high > 1)) {
      const own = root.to - root.from;
      [low, high, root] = [root.from + low * own, root.from + high * own, root.parent];
      return true;
    }
    return false;
  }

  function step(time) {
    const seconds = Math.min(0.1, (time - before) / 1000);
    before = time;
    if (!running) return;
    const rate = SPEED * 2 * (pointer.x - 0.5) * seconds;
    const size = high - low, aimed = low + pointer.y * size;
    const longer = Math.min(size * Math.exp(-rate), root.parent ? Infinity : 1);
    const drift = pointer.y + (0.5 - pointer.y) * Math.min(1, 2 * Math.abs(rate));
    low = aimed - drift * longer;
    high = low + longer;
    if (!root.parent) {
      const shift = Math.max(0, -low) - Math.max(0, high - 1);
      low += shift; high += shift;
    }
    while (rebase());
    locate();
    draw();
    requestAnimationFrame(step);
  }

  // The text is that of the innermost box that holds the middle of the view and fills half of it.
  function locate() {
    let node = root, from = 0, size = 1;
    for (;;) {
      const middle = ((low + high) / 2 - from) / size;
      const inside = node.insides?.find((each) => each.from <= middle && middle < each.to);
      if (!inside || (inside.to - inside.from) * size < 0.5 * (high - low)) break;
      [from, size, node] = [from + inside.from * size, size * (inside.to - inside.from), inside];
    }
    if (node === written) return;
    written = node;
    if (node.kind === "end") running = false;
    tell();
  }

  function colour(node, style) {
    if (node.kind === "end") return style.getPropertyValue("--heat5");
    if (node.kind === "other") return style.getPropertyValue("--line");
    if (/\s/.test(node.symbol)) return style.getPropertyValue("--field");
    return style.getPropertyValue(`--heat${1 + (node.symbol.codePointAt(0) + node.depth) % 4}`);
  }

  function paint(node, from, size, wide, tall, style, least = 0) {
    const top = ((from - low) / (high - low)) * tall, height = (size / (high - low)) * tall;
    if (height < DRAWN || top > tall || top + height < 0) return;
    const left = Math.max(least, wide * (1 - Math.min(1, height / tall)) * 0.9);
    if (left > wide) return;
    let right = left; // the boxes inside begin right of the label
    if (node.parent) {
      pen.fillStyle = colour(node, style);
      pen.fillRect(left, top, wide - left, height);
      pen.strokeStyle = style.getPropertyValue("--page");
      pen.strokeRect(left, top, wide - left, height);
      const letter = Math.max(9, Math.min(34, height * 0.7));
      if (height > 9) {
        pen.font = `${letter}px system-ui, sans-serif`;
        pen.fillStyle = style.getPropertyValue(/\s/.test(node.symbol) ? "--ink" : "--heat-ink");
        const label = node.kind === "end" ? "end" : node.kind === "other" ? "é…" : NAMES[node.symbol] ?? node.symbol;
        right += 4 + pen.measureText(label).width;
        pen.fillText(label, left + 4, Math.max(letter, Math.min(tall - 4, top + height / 2)) + letter * 0.35);
      }
    }
    if (height > ASKED * tall) divide(node);
    for (const inside of node.insides ?? []) {
      paint(inside, from + inside.from * size, (inside.to - inside.from) * size, wide, tall, style, right);
    }
  }

  function draw() {
    if (!canvas.clientWidth) return;
    const ratio = window.devicePixelRatio || 1, wide = canvas.clientWidth, tall = canvas.clientHeight;
    if (canvas.width !== Math.round(wide * ratio)) [canvas.width, canvas.height] = [Math.round(wide * ratio), Math.round(tall * ratio)];
    pen.setTransform(ratio, 0, 0, ratio, 0, 0);
    pen.clearRect(0, 0, wide, tall);
    pen.textBaseline = "alphabetic";
    const style = getComputedStyle(document.documentElement);
    paint(root, 0, 1, wide, tall, style);
    pen.strokeStyle = style.getPropertyValue("--accent");
    pen.lineWidth = 2;
    pen.beginPath();
    pen.moveTo(wide * 0.45, tall / 2); pen.lineTo(wide * 0.55, tall / 2);
    pen.moveTo(wide / 2, tall / 2 - 8); pen.lineTo(wide / 2, tall / 2 + 8);
    pen.stroke();
    pen.lineWidth = 1;
  }

  function tell() {
    const ended = written.kind === "end", count = [...written.text].length;
    at("dasher-text").textContent = written.text + (ended ? " ■" : "");
    const what = ended ? "the whole text" : counted(count);
    at("dasher-bits").textContent = count
      ? `${written.bits.toFixed(1)} bits for ${what}: ${(written.bits / count).toFixed(2)} bits per character` : "–";
    compare();
    offer();
    divide(written);
  }

  // The last box up to which all words are finished: the length in tokens of half a word is not known.
  function finished() {
    let node = written;
    while (node.parent && node.kind !== "end" && (!node.symbol || IN_WORD.test(node.symbol))) node = node.parent;
    return node;
  }

  // Say the code length up to there as soon as the pointer has rested; one question at a time.
  function compare() {
    const node = finished();
    if (node === compared) return;
    compared = node;
    clearTimeout(later);
    asking?.abort();
    if (!node.text.trim()) {
      at("dasher-code").textContent = "– (after the first finished word)";
      return;
    }
    asking = new AbortController();
    const { signal } = asking, { text, bits, kind } = node, ended = kind === "end";
    later = setTimeout(async () => {
      const told = await act(async () => {
        const { scores: [score] } = await ask("/score", { texts: [text], ...chosen() }, signal);
        const last = ended ? 0 : score.per_token.at(-1)[1]; // the text goes on: its end is not counted
        const inTokens = (score.nats - last) / Math.LN2, spelled = score.spelling_nats / Math.LN2;
        const what = ended ? "the whole text" : `the finished words (${counted([...text.trimEnd()].length)})`;
        at("dasher-code").textContent = `${inTokens.toFixed(1)} bits in tokens for ${what}`
          + (spelled >= 0.05 ? `, and ${spelled.toFixed(1)} for what tokens leave out` : "")
          + (ended ? "" : `; pointing took ${bits.toFixed(1)} bits up to there`);
        return true;
      });
      if (told || signal.aborted) return;
      at("dasher-code").textContent = "–";
      compared = null;
    }, REST);
  }

  function enter(node) {
    running = false;
    root = node; low = 0; high = 1; written = node;
    if (node.parent) { const margin = 0.05; low = -margin; high = 1 + margin; }
    tell();
    draw();
  }

  function offer() {
    const best = [...(written.insides ?? [])].sort((a, b) => (b.to - b.from) - (a.to - a.from)).slice(0, BUTTONS);
    const focused = [...at("dasher-buttons").children].indexOf(document.activeElement);
    at("dasher-buttons").replaceChildren(...best.map((inside) => {
      const name = inside.kind === "end" ? "end of the review" : inside.kind === "other" ? "other characters"
        : { " ": "space", "\n": "line break" }[inside.symbol] ?? inside.symbol;
      const button = make("button", name);
      button.type = "button";
      button.append(" ", make("small", percent(inside.to - inside.from)));
      button.addEventListener("click", () => enter(inside));
      return button;
    }));
    if (focused >= 0) at("dasher-buttons").children[0]?.focus();
  }

  const aim = (event) => {
    const area = canvas.getBoundingClientRect();
    pointer = { x: (event.clientX - area.left) / area.width, y: Math.max(0, Math.min(1, (event.clientY - area.top) / area.height)) };
  };
  canvas.addEventListener("pointermove", aim);
  canvas.addEventListener("pointerdown", (event) => {
    aim(event);
    running = !running;
    if (running) requestAnimationFrame((time) => { before = time; step(time); });
  });
  window.addEventListener("resize", () => root && draw());
  window.matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => root && draw());
  at("dasher-clear").addEventListener("click", restart);
  at("dasher-back").addEventListener("click", () => written.parent && enter(written.parent));
  let last = "";
  return () => {
    const now = JSON.stringify(chosen());
    if (now !== last) restart();
    else draw();
    last = now;
  };
}
