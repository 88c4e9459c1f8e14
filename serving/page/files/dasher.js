// Write with one pointer: zoom into nested boxes, each as large as its character is probable (Dasher).
import { act, ask, at, chosen, make, noteVersion, percent, readAs, say } from "./api.js";
import { others, paint } from "./dasher_boxes.js";

const SPEED = 1.6; // zooming at full deflection, in nats per second
const STEP = 0.25; // zooming by one arrow key, in nats
const AIM = 0.05; // aiming by one arrow key, as a share of the height
const BUTTONS = 12;
const SMALLEST = 1e-6; // smallest box, as a share of the one around it: one that cannot be pointed at cannot be written
const REST = 200; // milliseconds without a new finished word before the code length is asked for
const IN_WORD = /[\p{L}\p{M}\p{N}'’]/u;
const counted = (count) => `${count} ${count === 1 ? "character" : "characters"}`;

export function startDasher() {
  const canvas = at("dasher-canvas"), failed = new Set();
  // The text is written with one version, also when the alias comes to mean another: `moved`.
  let version = "", ratings = [], moved = "";
  let root, low, high, written, running = false, pointer = { x: 0.5, y: 0.5 }, before = 0, waiting = 0, era = 0;
  let compared = null, later = 0, asking = null;

  const box = (parent, child, from, to) => ({
    parent, from, to, kind: child.kind, symbol: child.symbol, begun: child.begun, probability: child.probability,
    text: parent ? parent.text + child.symbol : "", bits: (parent?.bits ?? 0) - Math.log2(child.probability),
    insides: null, asked: false, depth: parent ? parent.depth + 1 : 0,
  });

  function fill(node, children) {
    const sizes = children.map(({ probability }) => Math.max(SMALLEST, probability));
    const whole = sizes.reduce((sum, size) => sum + size, 0);
    let from = 0;
    node.asked = true;
    node.insides = children.map((child, place) => {
      const inside = box(node, child, from, from + sizes[place] / whole);
      from = inside.to;
      if (child.children?.length) fill(inside, child.children);
      return inside;
    });
  }

  async function divide(node) {
    if (node.asked || node.kind === "end" || waiting > 3) return;
    node.asked = true;
    waiting += 1;
    const mine = era;
    const told = await act(async () => {
      const inside = node.kind === "other" ? { other: true, begun: node.begun } : {};
      const divided = await ask("intervals", { prompt: node.text, ...inside, smallest: 0.2, ...pinned() });
      if (mine !== era) return true;
      [version, ratings] = [divided.model, divided.ratings];
      fill(node, divided.intervals);
      return true;
    });
    waiting -= 1;
    if (!told && mine === era) {
      failed.add(node);
      running = false;
    }
    tellReading();
    if (node === written) offer();
    draw();
  }

  const pinned = () => ({ ...chosen(), ...(version && { model: version }) });

  // What could not be asked is asked again when the user goes on.
  function retry() {
    for (const node of failed) node.asked = false;
    failed.clear();
    draw();
  }

  function tellReading() {
    const { model, stars } = chosen(), newer = moved && ` ${model} is ${moved} now; “Start again” takes it.`;
    const said = version && `${version}. ${readAs(ratings, stars)}${newer}`;
    if (at("dasher-read").textContent !== said) at("dasher-read").textContent = said;
  }

  // Ask whether the alias has moved. A text in progress goes on with its version; nothing is lost if there is none yet.
  async function look() {
    const { model } = chosen(), mine = era;
    const { version: current } = await ask(`v1/models/${model.split("/").map(encodeURIComponent).join("/")}`);
    noteVersion(model, current);
    if (mine !== era || !version) return;
    moved = current === version ? "" : current;
    if (moved && !written.text) await restart();
    else tellReading();
  }

  function restart() {
    era += 1;
    root = box(null, { kind: "character", symbol: "", probability: 1 }, 0, 1);
    low = 0; high = 1; written = root; running = false;
    version = moved = "";
    failed.clear();
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
    running &&= canvas.clientWidth > 0; // another tab is shown
    if (!running) return;
    zoom(SPEED * 2 * (pointer.x - 0.5) * seconds);
    requestAnimationFrame(step);
  }

  // Enlarge the view by *rate* nats around the place that is pointed at, which moves to the middle.
  function zoom(rate) {
    const size = high - low, aimed = low + pointer.y * size;
    const longer = size * Math.exp(-rate);
    const drift = pointer.y + (0.5 - pointer.y) * Math.min(1, 2 * Math.abs(rate));
    low = aimed - drift * longer;
    high = low + longer;
    while (rebase());
    if (!root.parent) {
      const whole = Math.min(1, high - low);
      low = Math.max(0, Math.min(1 - whole, low));
      high = low + whole;
    }
    locate();
    draw();
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

  function draw() {
    paint(canvas, root, low, high, pointer, divide);
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
    say(ended ? `${written.text} End of the review.` : written.text.slice(-60).replace(/^\S*\s(?=\S)/, ""), REST);
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
        const { scores: [score] } = await ask("score", { texts: [text], ...pinned() }, signal);
        const last = ended ? 0 : score.per_token.at(-1)[1]; // the text goes on: its end is not counted
        const inTokens = (score.nats - last) / Math.LN2, spelled = score.spelling_nats / Math.LN2;
        const what = ended ? "the whole text" : `the finished words (${counted([...text.trimEnd()].length)})`;
        at("dasher-code").textContent = `${inTokens.toFixed(1)} bits in tokens for ${what}`
          + (spelled >= 0.05 ? `, and ${spelled.toFixed(1)} for what tokens leave out` : "")
          + (ended ? "" : `; pointing took ${bits.toFixed(1)} bits up to there`);
        await look();
        return true;
      });
      if (told || signal.aborted) return;
      at("dasher-code").textContent = "–";
      compared = null;
    }, REST);
  }

  function enter(node) {
    running = false;
    retry();
    root = node; low = 0; high = 1; written = node;
    if (node.parent) { const margin = 0.05; low = -margin; high = 1 + margin; }
    tell();
    draw();
  }

  // The likeliest boxes, or all that are inside.
  function offer(most = BUTTONS) {
    const all = [...(written.insides ?? [])].sort((a, b) => b.probability - a.probability), best = all.slice(0, most);
    const focused = [...at("dasher-buttons").children].indexOf(document.activeElement);
    at("dasher-buttons").replaceChildren(...best.map((inside) => {
      const name = { end: "end of the review", other: `other characters: ${others(inside)}` }[inside.kind]
        ?? { " ": "space", "\n": "line break" }[inside.symbol] ?? inside.symbol;
      const button = make("button", name);
      button.type = "button";
      button.append(" ", make("small", percent(inside.probability)));
      button.addEventListener("click", () => enter(inside));
      return button;
    }));
    if (all.length > best.length) {
      const more = make("button", `all ${all.length}`);
      more.type = "button";
      more.addEventListener("click", () => offer(all.length));
      at("dasher-buttons").append(more);
    }
    if (focused >= 0) at("dasher-buttons").children[0]?.focus();
  }

  const aim = (event) => {
    const area = canvas.getBoundingClientRect();
    pointer = { x: (event.clientX - area.left) / area.width, y: Math.max(0, Math.min(1, (event.clientY - area.top) / area.height)) };
    if (!running && root) draw();
  };
  canvas.addEventListener("pointermove", aim);
  canvas.addEventListener("pointerdown", (event) => {
    aim(event);
    retry();
    running = !running;
    if (running) requestAnimationFrame((time) => { before = time; step(time); });
  });
  const back = () => written.parent && enter(written.parent);
  const KEYS = {
    ArrowUp: () => { pointer = { x: 0.5, y: Math.max(0, pointer.y - AIM) }; draw(); },
    ArrowDown: () => { pointer = { x: 0.5, y: Math.min(1, pointer.y + AIM) }; draw(); },
    ArrowRight: () => zoom(STEP), ArrowLeft: () => zoom(-STEP), Backspace: back,
  };
  canvas.addEventListener("keydown", (event) => {
    const key = KEYS[event.key];
    if (!key || event.altKey || event.ctrlKey || event.metaKey) return;
    event.preventDefault();
    running = false;
    retry();
    key();
  });
  window.addEventListener("resize", () => root && draw());
  window.matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => root && draw());
  at("dasher-clear").addEventListener("click", restart);
  at("dasher-back").addEventListener("click", back);
  let last = "";
  return () => {
    const now = JSON.stringify(chosen());
    if (now !== last) restart();
    else {
      retry();
      act(look);
    }
    last = now;
  };
}
