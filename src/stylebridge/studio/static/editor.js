// The canvas: shows a label map in the exact colours of its classes; paints with pointer and keyboard.

const find = (selector, root = document) => root.querySelector(selector);

// Class colours as pixels of ImageData (little-endian RGBA); "no class" is transparent, so that the chequered background shows.
function pixelsOf(classes) {
  const table = new Uint32Array(256);
  classes.forEach(({ colour: [r, g, b] }, index) => (table[index] = (255 << 24) | (b << 16) | (g << 8) | r));
  return table;
}

function drawMap(canvas, { map, width, height }, table, box = { x: 0, y: 0, width, height }) {
  if (canvas.width !== width || canvas.height !== height) Object.assign(canvas, { width, height });
  const image = new ImageData(box.width, box.height);
  const pixels = new Uint32Array(image.data.buffer);
  for (let row = 0, at = 0; row < box.height; row++) {
    const start = (box.y + row) * width + box.x;
    for (let column = 0; column < box.width; column++) pixels[at++] = table[map[start + column]];
  }
  canvas.getContext("2d").putImageData(image, box.x, box.y);
}

class Editor extends EventTarget {
  constructor() {
    super();
    this.stage = find("#sb-stage");
    this.view = find("#sb-view");
    this.canvas = find("#sb-canvas");
    this.ring = find("#sb-ring");
    this.photo = find("#sb-photo");
    this.classes = [];
    this.table = new Uint32Array(256);
    this.at = { map: new Uint8Array(1), width: 1, height: 1 };
    this.history = new History();
    this.tool = "brush";
    this.size = 16;
    this.value = 0;
    this.zoom = 1;
    this.cursor = null;
    this.stroke = null;
    this.listen();
  }

  tell(name) {
    this.dispatchEvent(new Event(name));
  }

  setClasses(classes) {
    this.classes = classes;
    this.table = pixelsOf(classes);
    this.tell("classes");
  }

  name(value) {
    return value === NO_CLASS ? "no class" : (this.classes[value]?.name ?? "");
  }

  // Load a map and clear the history: the first map, or one with other classes.
  load(at, photo = null) {
    this.history = new History();
    this.place({ ...at, photo });
  }

  // Replace the map; this can be undone.
  replace(at, photo = null) {
    const placed = { ...at, photo };
    this.history.replace(this.at, placed);
    this.place(placed);
  }

  place(at) {
    const { photo } = at;
    this.at = at;
    this.stroke = null;
    this.cursor = null;
    this.photo.hidden = !photo;
    if (photo) this.photo.src = photo;
    else this.photo.removeAttribute("src");
    this.redraw();
    this.setZoom(1);
    this.tell("history");
    this.tell("photo");
    this.tell("placed");
  }

  redraw(box) {
    drawMap(this.canvas, this.at, this.table, box);
    this.showRing();
  }

  // The point under the cursor (without a cursor, the middle) stays in place.
  setZoom(zoom) {
    this.zoom = Math.min(16, Math.max(1, zoom));
    const { view, stage, at: { width, height } } = this;
    const shown = (share, length, scroll, side) => {
      const place = share * length - scroll;
      return place >= 0 && place <= side ? [share, place] : [(scroll + side / 2) / length, side / 2];
    };
    const part = (value, side) => (value == null ? -1 : (value + 0.5) / side);
    const [x, left] = shown(part(this.cursor?.x, width), stage.clientWidth || 1, view.scrollLeft, view.clientWidth);
    const [y, top] = shown(part(this.cursor?.y, height), stage.clientHeight || 1, view.scrollTop, view.clientHeight);
    view.style.setProperty("--zoom", this.zoom);
    for (const each of [view, find("#sb-result")]) each.style.setProperty("--shape", width / height);
    view.scrollTo({ left: x * stage.clientWidth - left, top: y * stage.clientHeight - top, behavior: "instant" });
    this.showRing();
  }

  // --- painting ---

  touch(from, to) {
    const { map, width, height } = this.at;
    return paintStroke(map, width, height, from, to, this.size, this.value);
  }

  begin(point, tool = this.tool) {
    const { map, width, height } = this.at;
    if (tool === "pick") {
      const picked = map[point.y * width + point.x];
      if (picked !== undefined) this.choose(picked);
      return;
    }
    const before = map.slice();
    if (tool === "fill") {
      this.finish(before, bucketFill(map, width, height, point.x, point.y, this.value));
      return;
    }
    this.stroke = { before, last: point, box: this.touch(point, point) };
    this.redraw(this.stroke.box ?? undefined);
  }

  extend(point) {
    if (!this.stroke) return;
    const box = this.touch(this.stroke.last, point);
    this.stroke.last = point;
    this.stroke.box = joined(this.stroke.box, box);
    if (box) this.redraw(box);
  }

  end() {
    const stroke = this.stroke;
    this.stroke = null;
    if (stroke) this.finish(stroke.before, stroke.box);
  }

  finish(before, box) {
    if (!box) return;
    this.history.record(before, this.at.map, this.at.width, box);
    this.redraw(box);
    this.tell("history");
    this.tell("painted");
  }

  step(which) {
    if (this.stroke) return;
    const changed = this.history[which](this.at.map, this.at.width);
    if (!changed) return;
    if (changed.map) {
      this.place(changed);
      return;
    }
    this.redraw(changed);
    this.tell("history");
    this.tell("painted");
  }

  choose(value) {
    if (value !== NO_CLASS && !(value < this.classes.length)) return;
    this.value = value;
    this.tell("class");
    this.showRing();
  }

  setTool(tool) {
    this.tool = tool;
    this.tell("tool");
    this.showRing();
  }

  setSize(size) {
    this.size = Math.min(96, Math.max(1, size));
    this.tell("size");
    this.showRing();
  }

  // --- pointer and keyboard ---

  point(event) {
    const box = this.canvas.getBoundingClientRect();
    return {
      x: Math.floor(((event.clientX - box.left) / box.width) * this.at.width),
      y: Math.floor(((event.clientY - box.top) / box.height) * this.at.height),
    };
  }

  listen() {
    const stage = this.stage;
    stage.addEventListener("pointerdown", (event) => {
      if (event.button !== 0) return;
      event.preventDefault();
      stage.focus({ preventScroll: true });
      stage.setPointerCapture(event.pointerId);
      this.cursor = this.point(event);
      this.begin(this.cursor, event.altKey ? "pick" : this.tool);
    });
    stage.addEventListener("pointermove", (event) => {
      this.cursor = this.point(event);
      if (this.stroke) for (const each of event.getCoalescedEvents?.() ?? [event]) this.extend(this.point(each));
      if (this.stroke) this.extend(this.cursor);
      this.showRing();
    });
    for (const name of ["pointerup", "pointercancel"]) stage.addEventListener(name, () => this.end());
    stage.addEventListener("pointerleave", () => {
      if (!this.stroke && document.activeElement !== stage) this.cursor = null;
      this.showRing();
    });
    stage.addEventListener("blur", () => this.end());
    stage.addEventListener("focus", () => {
      this.cursor ??= { x: this.at.width >> 1, y: this.at.height >> 1 };
      this.showRing();
    });
    stage.addEventListener("keydown", (event) => this.key(event));
    stage.addEventListener("keyup", (event) => event.key === " " && this.end());
    this.view.addEventListener("wheel", (event) => {
      if (!event.ctrlKey) return;
      event.preventDefault();
      this.setZoom(this.zoom * (event.deltaY < 0 ? 1.25 : 0.8));
    }, { passive: false });
    new ResizeObserver(() => this.showRing()).observe(this.canvas);
  }

  key(event) {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const steps = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
    const by = event.shiftKey ? 10 : 1;
    if (event.key in steps) {
      const [x, y] = steps[event.key];
      const { width, height } = this.at;
      this.cursor ??= { x: width >> 1, y: height >> 1 };
      this.cursor = {
        x: Math.min(width - 1, Math.max(0, this.cursor.x + x * by)),
        y: Math.min(height - 1, Math.max(0, this.cursor.y + y * by)),
      };
      this.extend(this.cursor);
      this.showRing();
      this.ring.scrollIntoView({ block: "nearest", inline: "nearest" });
    } else if (event.key === " " || event.key === "Enter") {
      this.cursor ??= { x: this.at.width >> 1, y: this.at.height >> 1 };
      if (!this.stroke && !event.repeat) this.begin(this.cursor);
      if (event.key === "Enter") this.end();
    } else return;
    event.preventDefault();
    event.stopPropagation();
  }

  showRing() {
    const { width, height, map } = this.at;
    const at = this.cursor;
    const inside = at && at.x >= 0 && at.y >= 0 && at.x < width && at.y < height;
    this.ring.hidden = !at;
    find("#sb-where").textContent = inside
      ? `${this.name(map[at.y * width + at.x])} · ${at.x}, ${at.y}` : `${width} × ${height}`;
    if (!at) return;
    const size = this.tool === "brush" ? this.size : 1;
    const shift = (size - 1) >> 1;
    Object.assign(this.ring.style, {
      left: `${((at.x - shift) / width) * 100}%`, top: `${((at.y - shift) / height) * 100}%`,
      width: `${(size / width) * 100}%`, height: `${(size / height) * 100}%`,
    });
    this.ring.classList.toggle("small", this.tool !== "brush" || size < 3);
  }
}
