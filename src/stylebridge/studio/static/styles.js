// The palette of classes, and the style of each class: from a photo, the class mean, or an interpolation.

const MEAN = "mean";

function make(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (value === true) element.setAttribute(name, "");
    else if (value !== false && value != null) element.setAttribute(name, value);
  }
  element.append(...children);
  return element;
}

function swatch(colour) {
  const made = make("i", { class: colour ? "swatch" : "swatch void", "aria-hidden": "true" });
  if (colour) made.style.background = `rgb(${colour.join(" ")})`;
  return made;
}

// A group with one selected item: arrow keys move within it, Tab leaves it.
function oneOf(group, choose) {
  group.addEventListener("keydown", (event) => {
    const way = { ArrowDown: 1, ArrowRight: 1, ArrowUp: -1, ArrowLeft: -1 }[event.key];
    if (!way) return;
    const items = [...group.querySelectorAll("[role=radio], [role=tab]")];
    const next = items[(items.indexOf(document.activeElement) + way + items.length) % items.length];
    next.focus();
    choose(next);
    event.preventDefault();
    event.stopPropagation();
  });
}

class Styles extends EventTarget {
  constructor(editor) {
    super();
    this.editor = editor;
    this.photos = [];
    this.wells = new Map();
    this.means = [];
    this.used = false;
    oneOf(find("#sb-palette"), (item) => editor.choose(Number(item.dataset.value)));
    editor.addEventListener("class", () => this.show());
    for (const part of ["first", "second"]) {
      find(`#sb-${part}`).addEventListener("change", ({ target }) => {
        const well = this.well(editor.value);
        this.set(editor.value, { ...well, [part]: target.value || null,
          share: part === "second" ? (target.value ? well.share || 0.5 : 0) : well.share });
      });
    }
    find("#sb-share").addEventListener("input", ({ target }) => {
      this.wells.set(editor.value, { ...this.well(editor.value), share: target.value / 100 });
      this.showShare();
    });
    find("#sb-share").addEventListener("change", () => this.dispatchEvent(new Event("change")));
    find("#sb-means").addEventListener("click", () => {
      this.wells.clear();
      this.changed();
    });
  }

  open({ classes, styles, means }) {
    this.classes = classes;
    this.used = styles;
    this.means = means;
    this.photos = [];
    this.wells.clear();
    find("#sb-styles").classList.toggle("unused", !styles);
    for (const block of document.querySelectorAll(".well-block, .photo-block")) block.hidden = !styles;
    const items = [...classes.entries(), [NO_CLASS, { name: "no class", colour: null }]];
    find("#sb-palette").replaceChildren(...items.map(([value, { name, colour }]) => make(
      "button", { role: "radio", "data-value": value, onclick: () => this.editor.choose(value), title: name },
      swatch(colour), make("span", { class: "name" }, name), make("span", { class: "mark" }),
      make("kbd", {}, value === NO_CLASS ? "X" : String(value)),
    )));
    this.editor.choose(0);
    this.showPhotos();
  }

  well(value) {
    return this.wells.get(value) ?? { first: this.fallback(value), second: null, share: 0 };
  }

  // The default style of a class: its mean; without a mean, the first photo that contains it.
  fallback(value) {
    if (this.means[value]) return MEAN;
    return this.photos.find((photo) => photo.present.includes(value))?.id ?? MEAN;
  }

  set(value, well) {
    this.wells.set(value, well);
    this.changed();
  }

  changed() {
    this.show();
    this.dispatchEvent(new Event("change"));
  }

  add(photo) {
    this.photos.push(photo);
    if (this.photos.length === 1) this.everywhere(photo);
    this.showPhotos();
    this.changed();
  }

  everywhere(photo) {
    for (const value of photo.present) this.wells.set(value, { first: photo.id, second: null, share: 0 });
  }

  remove(photo) {
    this.photos = this.photos.filter((each) => each !== photo);
    for (const [value, well] of this.wells) {
      if (well.first === photo.id) well.first = this.fallback(value);
      if (well.second === photo.id) Object.assign(well, { second: null, share: 0 });
    }
    this.showPhotos();
    this.changed();
  }

  request() {
    return Object.fromEntries(this.classes.map((_, value) => [value, this.well(value)]));
  }

  // --- display ---

  photo(id) {
    return this.photos.find((photo) => photo.id === id);
  }

  show() {
    const value = this.editor.value;
    for (const item of document.querySelectorAll("#sb-palette [role=radio]")) {
      const chosen = Number(item.dataset.value) === value;
      item.setAttribute("aria-checked", chosen);
      item.tabIndex = chosen ? 0 : -1;
      if (chosen) this.reveal(item);
      const well = this.well(Number(item.dataset.value));
      const marks = [well.first, well.share > 0 ? well.second : null].map((id) => this.photo(id)).filter(Boolean);
      find(".mark", item).replaceChildren(...marks.map(({ thumbnail }) => make("img", { src: thumbnail, alt: "" })));
    }
    const known = value !== NO_CLASS && this.used;
    find(".well-block").hidden = !known;
    if (known) this.showWells(value);
  }

  reveal(item) {
    const list = find("#sb-palette");
    const above = item.offsetTop - list.scrollTop;
    if (above < 0 || above + item.offsetHeight > list.clientHeight) {
      list.scrollTop = item.offsetTop - list.clientHeight / 2;
    }
  }

  showWells(value) {
    const { name, colour } = this.classes[value];
    find("#sb-style-class").replaceChildren(swatch(colour), name);
    const well = this.well(value);
    for (const part of ["first", "second"]) {
      const select = find(`#sb-${part}`);
      const mean = make("option", { value: MEAN, disabled: !this.means[value] },
        this.means[value] ? "Class mean" : "Class mean (none)");
      const none = part === "second" ? [make("option", { value: "" }, "Nothing")] : [];
      select.replaceChildren(...none, mean, ...this.photos.map(({ id, name: called, present }) => make(
        "option", { value: id, disabled: !present.includes(value) },
        present.includes(value) ? called : `${called} (no ${name})`)));
      select.value = well[part] ?? "";
      this.showTile(find(`#sb-tile-${part}`), well[part], colour);
    }
    this.showShare();
  }

  showTile(tile, source, colour) {
    const photo = this.photo(source);
    tile.className = `tile ${source === MEAN ? "mean" : source ? "" : "none"}`;
    tile.style.setProperty("--colour", `rgb(${colour.join(" ")})`);
    tile.replaceChildren(photo ? make("img", { src: photo.thumbnail, alt: "" }) : source === MEAN ? "mean" : "none");
  }

  showShare() {
    const { second, share } = this.well(this.editor.value);
    const percent = Math.round(share * 100);
    Object.assign(find("#sb-share"), { disabled: !second, value: percent });
    find("#sb-share-out").textContent = second ? `${100 - percent} : ${percent}` : "";
  }

  showPhotos() {
    find("#sb-no-photos").hidden = this.photos.length > 0;
    find("#sb-means").hidden = this.photos.length === 0 || !this.means.some(Boolean);
    find("#sb-photos").replaceChildren(...this.photos.map((photo) => make("li", {},
      make("button", { class: "use", title: `Use ${photo.name} for all classes it contains`,
        onclick: () => { this.everywhere(photo); this.changed(); } },
      make("img", { src: photo.thumbnail, alt: "" }), make("span", {}, "Use everywhere")),
      make("span", { class: "called", title: photo.name }, photo.name),
      make("button", { class: "quiet", "aria-label": `Remove ${photo.name}`, onclick: () => this.remove(photo) }, "×"),
    )));
  }
}
