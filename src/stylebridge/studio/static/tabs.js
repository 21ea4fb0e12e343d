// Calls to the server, files of the user, and the Segment and Translate tabs.

// An error to show as it is; `forgotten`: the server needs the photos again.
class Sentence extends Error {
  constructor(message, forgotten = false) {
    super(message);
    this.forgotten = forgotten;
  }
}

async function call(name, request) {
  let reply, body;
  try {
    reply = await fetch(`gradio_api/run/${name}`, {
      method: "POST", headers: { "content-type": "application/json" }, body: JSON.stringify({ data: [request] }),
    });
    body = await reply.json();
  } catch {
    throw new Sentence("The studio does not answer: check in its terminal whether it is still running.");
  }
  const result = Array.isArray(body.data) ? body.data[0] : body;
  if (typeof result?.error === "string") throw new Sentence(result.error, result.forgotten);
  if (!reply.ok || !result) throw new Sentence("The studio could not process the request: reload the page and try again.");
  return result;
}

function complain(error, notice = find("#sb-error")) {
  if (!(error instanceof Sentence)) console.error(error);
  const said = error instanceof Sentence ? error.message : "An error occurred in the page: reload it and try again.";
  (find("span", notice) ?? notice).textContent = said;
  notice.hidden = false;
}

// Run the work of a control, not twice at the same time, and show its errors.
async function during(control, work, notice) {
  if (control.getAttribute("aria-busy") === "true") return;
  control.setAttribute("aria-busy", "true");
  find("#sb-error").hidden = true;
  try {
    await work();
  } catch (error) {
    complain(error, notice);
  } finally {
    control.removeAttribute("aria-busy");
  }
}

async function fileOf(input, facts) {
  return input.files[0] ? sentFile(input.files[0], facts) : null;
}

async function sentFile(file, facts) {
  if (file.size > facts.megabytes * 2 ** 20) {
    throw new Sentence(`${file.name} is larger than ${facts.megabytes} MB: reduce its size, or save a photo as JPEG.`);
  }
  return { name: file.name, data: toBase64(new Uint8Array(await file.arrayBuffer())) };
}

function giveFile(input, file) {
  const held = new DataTransfer();
  held.items.add(file);
  input.files = held.files;
  input.dispatchEvent(new Event("change"));
}

function nameFiles(root) {
  for (const input of root.querySelectorAll(".file input")) {
    const empty = find("em", input.parentElement).textContent;
    const show = () => {
      find("em", input.parentElement).textContent = input.files[0]?.name ?? empty;
      input.parentElement.classList.toggle("chosen", input.files.length > 0);
    };
    input.addEventListener("change", show);
    input.form.addEventListener("reset", () => setTimeout(show));
  }
}

function save(url, name) {
  const link = make("a", { href: url, download: name });
  document.body.append(link);
  link.click();
  link.remove();
}

const seconds = (value) => value < 0.1 ? "< 0.1 s" : `${value < 10 ? value.toFixed(1) : Math.round(value)} s`;

// A form with a run and a photo, which can also be dropped on the tab; the reply is shown below.
function asking(section, name, facts, show) {
  const form = find("form", section);
  nameFiles(form);
  section.addEventListener("drop", ({ dataTransfer: { files: [file] } }) => file && giveFile(form.elements.photo, file));
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    during(find("[type=submit]", form), async () => {
      const photo = await fileOf(form.elements.photo, facts);
      const reply = await call(name, { run: form.elements.run.value, photo, to: form.elements.to?.value });
      await show(reply);
      find(".empty", section).hidden = true;
      find(".seen", section).hidden = false;
      const photoShown = find("img", section);
      await photoShown.decode();
      find(".seen", section).style.setProperty("--shape", photoShown.naturalWidth / photoShown.naturalHeight);
      find(".took", section).textContent = seconds(reply.seconds);
    });
  });
}

function segmentTab(facts, paintOn) {
  const section = find("#sb-segment");
  let shown = null;
  const offer = () => (find(".to-paint", section).hidden = !shown || !paintOn.fits(shown.classes));
  const opacity = find("#sb-segment-opacity");
  opacity.addEventListener("input", () => (find("canvas", section).style.opacity = opacity.value / 100));
  find(".to-paint", section).addEventListener("click", () => shown && paintOn(shown));
  asking(section, "segment", facts, async (reply) => {
    shown = { ...reply, map: await unpackMap(reply.map) };
    find("img", section).src = reply.photo;
    drawMap(find("canvas", section), shown.map, pixelsOf(reply.classes));
    find("canvas", section).style.opacity = opacity.value / 100;
    find("a[download]", section).href = reply.file;
    offer();
    const found = reply.shares.map((share, index) => ({ share, ...reply.classes[index] }))
      .filter(({ share }) => share > 0).sort((a, b) => b.share - a.share);
    find(".found", section).replaceChildren(...found.map(({ share, name, colour }) => make("li", {}, swatch(colour),
      make("span", { class: "name" }, name),
      make("span", { class: "number" }, share < 0.001 ? "< 0.1 %" : `${(share * 100).toFixed(1)} %`))));
  });
  return offer;
}

function translateTab(facts) {
  const section = find("#sb-translate");
  asking(section, "translate", facts, (reply) => {
    find(".before", section).src = reply.photo;
    find(".after", section).src = reply.picture;
    find("a[download]", section).href = reply.picture;
  });
  // The domains by the names that the chosen run has for them.
  const { run, to } = find("form", section).elements;
  const name = async () => {
    const names = run.value ? await call("domains", { run: run.value }).then((reply) => reply.names, () => null) : null;
    [...to].forEach((radio, index) => (find("span", radio.parentElement).textContent = names?.[index] ?? "AB"[index]));
  };
  run.addEventListener("change", name);
  return name;
}
