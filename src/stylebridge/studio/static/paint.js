// Painting on label maps: Uint8Array, row by row, 255 = no class. Independent of the page.

const NO_CLASS = 255;

// A disc of a diameter in pixels, as [from, to) columns of each of its rows.
function discRows(size) {
  const centre = (size - 1) / 2;
  return Array.from({ length: size }, (_, row) => {
    const half = Math.sqrt(Math.max(0, (size / 2) ** 2 - (row - centre) ** 2));
    return [Math.ceil(centre - half), Math.floor(centre + half) + 1];
  });
}

// Paint a disc along a line between two pixels {x, y}. Returns the box {x, y, width, height} it lies in, or null.
function paintStroke(map, width, height, from, to, size, value) {
  const rows = discRows(size);
  const shift = (size - 1) >> 1;
  const steps = Math.max(Math.abs(to.x - from.x), Math.abs(to.y - from.y), 1);
  for (let step = 0; step <= steps; step++) {
    const left = Math.round(from.x + ((to.x - from.x) * step) / steps) - shift;
    const top = Math.round(from.y + ((to.y - from.y) * step) / steps) - shift;
    for (let row = Math.max(0, -top); row < Math.min(size, height - top); row++) {
      const start = Math.max(0, left + rows[row][0]);
      const end = Math.min(width, left + rows[row][1]);
      if (start < end) map.fill(value, (top + row) * width + start, (top + row) * width + end);
    }
  }
  const left = Math.max(0, Math.min(from.x, to.x) - shift);
  const top = Math.max(0, Math.min(from.y, to.y) - shift);
  const right = Math.min(width, Math.max(from.x, to.x) - shift + size);
  const bottom = Math.min(height, Math.max(from.y, to.y) - shift + size);
  return left < right && top < bottom ? { x: left, y: top, width: right - left, height: bottom - top } : null;
}

// Give the region of a pixel (4-connected pixels of its class) another class, one run of a row at a
// time. Returns the box that changed, or null.
function bucketFill(map, width, height, x, y, value) {
  if (x < 0 || y < 0 || x >= width || y >= height) return null;
  const old = map[y * width + x];
  if (old === value) return null;
  let [left, top, right, bottom] = [x, y, x, y];
  const seeds = [y * width + x];
  while (seeds.length) {
    const seed = seeds.pop();
    if (map[seed] !== old) continue;
    const row = Math.floor(seed / width);
    let start = seed, end = seed;
    while (start > row * width && map[start - 1] === old) start--;
    while (end < (row + 1) * width - 1 && map[end + 1] === old) end++;
    map.fill(value, start, end + 1);
    left = Math.min(left, start - row * width);
    right = Math.max(right, end - row * width);
    top = Math.min(top, row);
    bottom = Math.max(bottom, row);
    for (const step of [-width, width]) {
      if (row + Math.sign(step) < 0 || row + Math.sign(step) >= height) continue;
      for (let at = start + step; at <= end + step; at++) {
        // One seed for each run: its last pixel.
        if (map[at] === old && (at === end + step || map[at + 1] !== old)) seeds.push(at);
      }
    }
  }
  return { x: left, y: top, width: right - left + 1, height: bottom - top + 1 };
}

function joined(a, b) {
  if (!a || !b) return a || b;
  const x = Math.min(a.x, b.x), y = Math.min(a.y, b.y);
  const right = Math.max(a.x + a.width, b.x + b.width), bottom = Math.max(a.y + a.height, b.y + b.height);
  return { x, y, width: right - x, height: bottom - y };
}

function cut(map, width, box) {
  const out = new Uint8Array(box.width * box.height);
  for (let row = 0; row < box.height; row++) {
    const start = (box.y + row) * width + box.x;
    out.set(map.subarray(start, start + box.width), row * box.width);
  }
  return out;
}

function paste(map, width, box, pixels) {
  for (let row = 0; row < box.height; row++) {
    map.set(pixels.subarray(row * box.width, (row + 1) * box.width), (box.y + row) * width + box.x);
  }
}

// The history: changed boxes and replaced maps; the oldest entries are dropped when they take too much memory.
class History {
  constructor(bytes = 64 * 2 ** 20) {
    this.bytes = bytes;
    this.done = [];
    this.undone = [];
  }

  record(before, after, width, box) {
    const step = { box, before: cut(before, width, box), after: cut(after, width, box) };
    if (!step.before.every((value, at) => value === step.after[at])) this.keep(step);
  }

  // Record the replacement of a map, each as {map, width, height, photo}.
  replace(before, after) {
    this.keep({ before: before.map, after: after.map, replaced: { undo: before, redo: after } });
  }

  keep(step) {
    this.done.push(step);
    this.undone = [];
    const size = ({ before, after }) => before.length + after.length;
    let held = this.done.reduce((sum, each) => sum + size(each), 0);
    while (held > this.bytes && this.done.length > 1) held -= size(this.done.shift());
  }

  // Both return the changed box, or the map that replaces the current one.

  undo(map, width) {
    const step = this.done.pop();
    if (!step) return null;
    this.undone.push(step);
    if (step.replaced) return step.replaced.undo;
    paste(map, width, step.box, step.before);
    return step.box;
  }

  redo(map, width) {
    const step = this.undone.pop();
    if (!step) return null;
    this.done.push(step);
    if (step.replaced) return step.replaced.redo;
    paste(map, width, step.box, step.after);
    return step.box;
  }
}

// --- to and from the server: bytes, deflated, in base64; browsers may change the pixels of images -------

async function through(bytes, transform) {
  return new Uint8Array(await new Response(new Blob([bytes]).stream().pipeThrough(transform)).arrayBuffer());
}

function toBase64(bytes) {
  let text = "";
  for (let at = 0; at < bytes.length; at += 32768) text += String.fromCharCode(...bytes.subarray(at, at + 32768));
  return btoa(text);
}

async function packMap({ map, width, height }) {
  return { width, height, data: toBase64(await through(map, new CompressionStream("deflate"))) };
}

async function unpackMap({ width, height, data }) {
  const bytes = Uint8Array.from(atob(data), (char) => char.charCodeAt(0));
  return { width, height, map: await through(bytes, new DecompressionStream("deflate")) };
}
