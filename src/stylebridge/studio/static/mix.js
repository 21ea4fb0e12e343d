// The Mix tab: a well of photos for each of the four factors, and the mixes.

const FACTORS = ["pose", "background", "shape", "texture"];
const titled = (word) => word[0].toUpperCase() + word.slice(1);
const bare = (name) => name.replace(/\.\w+$/, "");

// The photos of one factor. Files stay in the page and are sent once to each run.
class MixWell extends EventTarget {
  constructor(factor, facts) {
    super();
    Object.assign(this, { factor, facts, photos: [] });
    this.input = make("input", { type: "file", accept: "image/*", multiple: true, id: `sb-mix-${factor}`,
      onchange: () => { this.take([...this.input.files]); this.input.value = ""; } });
    this.tile = make("span", { class: "tile" });
    this.drop = make("label", { class: "drop", for: `sb-mix-${factor}` },
      make("span", { class: "sr" }, `${titled(factor)} photo`), this.input, this.tile);
    this.remove = make("button", { type: "button", class: "quiet", "aria-label": `Remove the ${factor} photo`,
      onclick: () => { this.take([]); this.input.focus(); } }, "×");
    this.called = make("span", { class: "called" });
    this.root = make("div", { class: "mix-well", "data-factor": factor },
      make("div", { class: "heading" }, make("h2", {}, titled(factor)), this.remove), this.drop, this.called);
    for (const [kind, over] of [["dragenter", true], ["dragover", true], ["dragleave", false], ["drop", false]]) {
      this.drop.addEventListener(kind, (event) => {
        event.preventDefault();
        this.drop.classList.toggle("over", over);
        if (kind === "drop") this.take([...event.dataTransfer.files]);
      });
    }
    this.show();
  }

  take(files) {
    for (const photo of this.photos) URL.revokeObjectURL(photo.url);
    this.photos = files.map((file) => ({ file, name: bare(file.name), url: URL.createObjectURL(file), run: null }));
    this.show();
    this.dispatchEvent(new Event("change"));
  }

  show() {
    const many = this.photos.length > 1;
    this.tile.classList.toggle("full", this.photos.length > 0);
    this.tile.classList.toggle("many", many);
    this.tile.style.setProperty("--across", Math.ceil(Math.sqrt(this.photos.length)));
    this.tile.replaceChildren(...(this.photos.length
      ? this.photos.map(({ url, seen, name }) => make("img", { src: seen ?? url, alt: name }))
      : [`Choose or drop a ${this.factor} photo`]));
    this.remove.hidden = !this.photos.length;
    this.called.textContent = many ? `${this.photos.length} photos` : this.photos[0]?.name ?? "";
  }

  allow(on) {
    this.root.classList.toggle("off", !on);
    this.input.disabled = !on;
  }

  // The server's ids of the photos.
  async ids(run) {
    for (const photo of this.photos.filter((each) => each.run !== run)) {
      const reply = await call("mix_photo", { run, photo: await sentFile(photo.file, this.facts) });
      Object.assign(photo, { id: reply.id, seen: reply.picture, run });
    }
    this.show();
    return this.photos.map((photo) => photo.id);
  }
}

function mixCard(mix, source, factor, alone) {
  const part = (picture, caption) => make("figure", {}, make("img", { src: picture, alt: caption }),
    make("figcaption", {}, caption));
  const name = source && !alone ? `mix-${source.name}.png` : "mix.png";
  const card = make("li", {});
  if (!alone) {
    card.append(make("figure", { class: "source" }, make("img", { src: source.seen, alt: `${titled(factor)} photo` }),
      make("figcaption", { class: "called" }, source.name)));
  }
  card.append(make("img", { class: "mix", src: mix.picture, alt: alone ? "The mix" : `The mix with ${source.name}` }));
  if (mix.shape_mask) {
    card.append(make("div", { class: "masks" }, part(mix.shape_mask, "Shape mask"), part(mix.texture_mask, "Texture mask")));
  }
  card.append(make("a", { class: "button", href: mix.picture, download: name,
    "aria-label": alone ? "Download the mix" : `Download the mix with ${source.name}` }, "Download"));
  return card;
}

function mixTab(facts) {
  const section = find("#sb-mix"), form = find("form", section), { run, mode, masks } = form.elements;
  const wells = Object.fromEntries(FACTORS.map((factor) => [factor, new MixWell(factor, facts)]));
  find("#sb-mix-wells").append(...FACTORS.map((factor) => wells[factor].root));
  mode.addEventListener("change", () => wells.pose.allow(mode.value === "code"));

  const inUse = () => FACTORS.filter((factor) => factor !== "pose" || mode.value === "code");
  // Checks before photos are sent.
  const check = () => {
    const empty = inUse().find((factor) => !wells[factor].photos.length);
    if (!run.value.trim()) throw new Sentence("No run is chosen: make one with `stylebridge mix train`, or choose one.");
    if (empty) throw new Sentence(`The ${empty} has no photo: choose one.`);
    const several = inUse().filter((factor) => wells[factor].photos.length > 1);
    if (several.length > 1) {
      throw new Sentence(`${titled(several[0])} and ${several[1]} have several photos: use several photos for one factor only.`);
    }
    if (several.length && wells[several[0]].photos.length > facts.varied) {
      throw new Sentence(`The ${several[0]} has more than ${facts.varied} photos: remove some.`);
    }
  };

  const mix = () => during(find("#sb-mix-go"), async () => {
    check();
    const name = run.value.trim(), ids = {};
    const send = async () => {
      for (const factor of inUse()) ids[factor] = await wells[factor].ids(name);
      return call("mix", { run: name, mode: mode.value, wells: ids, masks: masks.checked });
    };
    let reply;
    try {
      reply = await send();
    } catch (error) {
      // The studio was restarted, or the run was replaced: it has none of the photos.
      if (!error.forgotten) throw error;
      for (const factor of FACTORS) wells[factor].photos.forEach((photo) => (photo.run = null));
      reply = await send();
    }
    const alone = reply.mixes.length === 1, sources = wells[reply.varied].photos;
    find("#sb-mixes").className = `mixes${alone ? " one" : ""}${masks.checked ? " masked" : ""}`;
    find("#sb-mixes").replaceChildren(...reply.mixes.map((each, i) => mixCard(each, sources[i], reply.varied, alone)));
    find("#sb-mix-said").textContent = alone ? "Mix" : `${reply.mixes.length} mixes, ${reply.varied} varied`;
    find(".took", section).textContent = seconds(reply.seconds);
    find(".empty", section).hidden = true;
    find(".mixed", section).hidden = false;
  });

  form.addEventListener("submit", (event) => {
    event.preventDefault();
    mix();
  });
  masks.addEventListener("change", () => { if (!find(".mixed", section).hidden) mix(); });
  return { wells, mix };
}
