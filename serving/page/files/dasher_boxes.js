// Draw the nested boxes of the next characters that are in view.

const ASKED = 0.08; // boxes of this share of the screen are asked for their insides
const DRAWN = 4; // smallest height of a box that is drawn, in pixels
const NAMES = { " ": "␣", "\n": "⏎" };

// Name characters beyond ASCII by the first one that begins with their bytes.
export function others({ begun }) {
  const bytes = (begun || "c3a9").match(/../g).map((each) => parseInt(each, 16)), [first] = bytes;
  const size = first < 0xe0 ? 2 : first < 0xf0 ? 3 : 4;
  const code = bytes.reduce((sum, byte, place) => sum * 64 + (place ? byte & 0x3f : byte & (0x7f >> size)), 0);
  const least = [0, 0, 0x80, 0x800, 0x10000][size]; // lower ones take fewer bytes
  return `${String.fromCodePoint(Math.max(least, code * 64 ** (size - bytes.length)))}…`;
}

function colour(node, style) {
  if (node.kind === "end") return style.getPropertyValue("--heat5");
  if (node.kind === "other") return style.getPropertyValue("--line");
  if (/\s/.test(node.symbol)) return style.getPropertyValue("--field");
  return style.getPropertyValue(`--heat${1 + (node.symbol.codePointAt(0) + node.depth) % 4}`);
}

function paintBox(view, node, from, size, least = 0) {
  const { pen, low, high, wide, tall, style, divide } = view;
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
    const [first, last] = [Math.max(0, top), Math.min(tall, top + height)], seen = last - first;
    const letter = Math.max(9, Math.min(34, seen * 0.7));
    if (seen > 9) {
      pen.font = `${letter}px system-ui, sans-serif`;
      pen.fillStyle = style.getPropertyValue(/\s/.test(node.symbol) ? "--ink" : "--heat-ink");
      const label = { end: "end", other: others(node) }[node.kind] ?? NAMES[node.symbol] ?? node.symbol;
      right += 4 + pen.measureText(label).width;
      pen.fillText(label, left + 4, (first + last) / 2 + letter * 0.35);
    }
  }
  if (height > ASKED * tall) divide(node);
  for (const inside of node.insides ?? []) {
    paintBox(view, inside, from + inside.from * size, (inside.to - inside.from) * size, right);
  }
}

// Draw the part [low, high] of a box, the cross in its middle, and a line to the place that is pointed at.
export function paint(canvas, root, low, high, pointer, divide) {
  if (!canvas.clientWidth) return;
  const pen = canvas.getContext("2d"), ratio = window.devicePixelRatio || 1;
  const wide = canvas.clientWidth, tall = canvas.clientHeight, style = getComputedStyle(document.documentElement);
  const [width, height] = [Math.round(wide * ratio), Math.round(tall * ratio)];
  if (canvas.width !== width || canvas.height !== height) [canvas.width, canvas.height] = [width, height];
  pen.setTransform(ratio, 0, 0, ratio, 0, 0);
  pen.clearRect(0, 0, wide, tall);
  pen.textBaseline = "alphabetic";
  pen.lineWidth = 1;
  paintBox({ pen, low, high, wide, tall, style, divide }, root, 0, 1);
  pen.strokeStyle = pen.fillStyle = style.getPropertyValue("--accent");
  pen.lineWidth = 2;
  pen.beginPath();
  pen.moveTo(wide * 0.45, tall / 2); pen.lineTo(wide * 0.55, tall / 2);
  pen.moveTo(wide / 2, tall / 2 - 8); pen.lineTo(wide / 2, tall / 2 + 8);
  pen.moveTo(wide / 2, tall / 2); pen.lineTo(pointer.x * wide, pointer.y * tall);
  pen.stroke();
  pen.beginPath();
  pen.arc(pointer.x * wide, pointer.y * tall, 5, 0, 2 * Math.PI);
  pen.fill();
}
