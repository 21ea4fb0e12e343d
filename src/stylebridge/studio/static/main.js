// The page as a whole: tabs, the painting tab's buttons and dialogs, shortcuts, light and dark.

function tabs() {
  const all = [...document.querySelectorAll("#sb [role=tab]")];
  for (const tab of all) tab.dataset.name = tab.textContent;
  const open = (tab) => {
    for (const each of all) {
      each.setAttribute("aria-selected", each === tab);
      each.tabIndex = each === tab ? 0 : -1;
      find(`#${each.getAttribute("aria-controls")}`).hidden = each !== tab;
    }
    find("#sb .skip").hidden = tab !== all[0];
    find("#sb-error").hidden = true;
  };
  for (const tab of all) tab.addEventListener("click", () => open(tab));
  oneOf(find("#sb [role=tablist]"), open);
  return (name) => open(find(`#sb-tab-${name}`));
}

function themes() {
  const page = find("#sb"), button = find("#sb-theme");
  const set = (theme) => {
    page.dataset.theme = theme;
    document.documentElement.style.colorScheme = theme;
    document.body.dataset.sbTheme = theme;
    button.textContent = theme === "dark" ? "Light" : "Dark";
  };
  const stored = () => { try { return localStorage.getItem("stylebridge-theme"); } catch { return null; } };
  set(stored() ?? (matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light"));
  button.addEventListener("click", () => {
    set(page.dataset.theme === "dark" ? "light" : "dark");
    try { localStorage.setItem("stylebridge-theme", page.dataset.theme); } catch { /* not kept */ }
  });
}

// The dialog for a photo and its label map.
function asker(facts) {
  const dialog = find("#sb-ask"), form = find("form", dialog), notice = find(".notice", dialog);
  const ok = find("[value=ok]", form);
  nameFiles(form);
  form.elements.segmenter.value = facts.segmenter;
  find("[value=cancel]", form).addEventListener("click", () => dialog.close());
  let send = null;
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    notice.hidden = true;
    during(ok, async () => {
      const { photo, labels, segmenter, side } = form.elements;
      await send({ photo: await fileOf(photo, facts), labels: await fileOf(labels, facts),
        segmenter: segmenter.value, side: Number(side.value) }, photo.files[0]?.name ?? "");
      dialog.close();
    }, notice);
  });
  return (title, does, sides, work) => {
    const kept = form.elements.segmenter.value;
    form.reset();
    form.elements.segmenter.value = kept;
    notice.hidden = true;
    find("h2", dialog).textContent = title;
    ok.textContent = does;
    find(".sides", dialog).hidden = sides.length === 0;
    form.elements.side.replaceChildren(...sides.map((side) => make("option", { value: side }, `${side} px`)));
    send = work;
    dialog.showModal();
  };
}

function paintTab(facts, ask) {
  const editor = new Editor(), styles = new Styles(editor);
  const paint = { editor, styles, run: null, classes: [], picture: null, size: [256, 256], wanted: 0, unsaved: false };
  const stale = () => find("#sb-result").classList.add("stale");

  paint.use = async (name) => {
    const opened = await call("open_run", { run: name });
    const kept = paint.knows(opened.classes);
    Object.assign(paint, { run: opened.run, size: [opened.width, opened.height], classes: opened.classes });
    find("#sb-run").value = name;
    find("#sb-empty").hidden = true;
    find("#sb-desk").hidden = false;
    for (const id of ["new", "open", "save-map"]) find(`#sb-${id}`).disabled = false;
    editor.setClasses(opened.classes);
    // A map of the same classes is kept for the new run.
    if (kept) editor.redraw();
    else {
      editor.load(blank());
      paint.unsaved = false;
    }
    styles.open(opened);
    paint.forget();
  };

  const blank = () => ({ map: new Uint8Array(paint.size[0] * paint.size[1]), width: paint.size[0], height: paint.size[1] });

  // Whether the current run can use a map of these classes.
  paint.knows = (classes) => paint.run !== null && classes.length === paint.classes.length
    && classes.every(({ name }, index) => name === paint.classes[index].name);

  paint.forget = () => {
    paint.picture = null;
    find("#sb-picture").hidden = true;
    find("#sb-save-picture").disabled = true;
    find("#sb-took").textContent = "";
    find("#sb-result").classList.remove("stale");
  };

  paint.need = () => {
    if (!paint.run) throw new Sentence("No run is chosen: choose one first.");
  };

  paint.generate = () => during(find("#sb-generate"), async () => {
    paint.need();
    const view = find("#sb-result");
    view.setAttribute("aria-busy", "true");
    find("#sb-took").textContent = "Generating…";
    const wanted = paint.wanted;
    try {
      const reply = await call("generate", { run: paint.run, map: await packMap(editor.at),
        wells: styles.used ? styles.request() : {}, seed: Math.max(0, Math.floor(Number(find("#sb-seed").value) || 0)) });
      paint.picture = reply.picture;
      Object.assign(find("#sb-picture"), { src: reply.picture, hidden: false });
      find("#sb-took").textContent = seconds(reply.seconds);
      find("#sb-save-picture").disabled = false;
      view.classList.toggle("stale", paint.wanted !== wanted);
    } catch (error) {
      find("#sb-took").textContent = "";
      throw error;
    } finally {
      view.setAttribute("aria-busy", "false");
    }
    // In live mode, generate again if the map changed meanwhile.
    if (paint.wanted !== wanted && find("#sb-live").checked) setTimeout(paint.generate);
  });

  const changed = () => {
    paint.wanted++;
    if (paint.picture) stale();
    if (find("#sb-live").checked) paint.generate();
  };
  editor.addEventListener("painted", () => {
    paint.unsaved = true;
    changed();
  });
  editor.addEventListener("placed", () => {
    paint.wanted++;
    paint.forget();
  });
  addEventListener("beforeunload", (event) => paint.unsaved && event.preventDefault());
  styles.addEventListener("change", changed);
  find("#sb-seed").addEventListener("change", changed);
  find("#sb-live").addEventListener("change", ({ target }) => target.checked && paint.generate());

  paint.open = () => during(find("#sb-open"), async () => {
    paint.need();
    const own = Math.max(...paint.size);
    const sides = [own, ...[256, 384, 512, 768, 1024, 2048].filter((side) => side > own && side < facts.side), facts.side];
    ask("Open an image", "Open", [...new Set(sides)], async (request) => {
      const reply = await call("open_picture", { run: paint.run, ...request });
      editor.replace(await unpackMap(reply.map), reply.photo);
    });
  });

  find("#sb-paint").addEventListener("drop", ({ dataTransfer: { files: [file] } }) => {
    if (!file || !paint.run) return;
    paint.open();
    giveFile(find("#sb-ask [name=photo]"), file);
  });

  paint.add = () => during(find("#sb-add"), async () => {
    paint.need();
    ask("Add a style photo", "Add", [], async (request, name) => {
      const reply = await call("add_style", { run: paint.run, ...request });
      styles.add({ ...reply, name: name.replace(/\.\w+$/, "") });
    });
  });

  paint.saveMap = () => during(find("#sb-save-map"), async () => {
    paint.need();
    save((await call("save_map", { run: paint.run, map: await packMap(editor.at) })).file, "map.png");
    paint.unsaved = false;
  });
  paint.savePicture = () => paint.picture && save(paint.picture, "picture.png");

  find("#sb-run").form.addEventListener("submit", (event) => {
    event.preventDefault();
    during(find("[type=submit]", event.target), () => paint.use(find("#sb-run").value));
  });
  find("#sb-new").addEventListener("click", () => during(find("#sb-new"), async () => {
    paint.need();
    editor.replace(blank());
  }));
  const clicks = { open: paint.open, add: paint.add, "save-map": paint.saveMap, "save-picture": paint.savePicture,
    generate: paint.generate, undo: () => editor.step("undo"), redo: () => editor.step("redo"),
    in: () => editor.setZoom(editor.zoom * 1.5), out: () => editor.setZoom(editor.zoom / 1.5), fit: () => editor.setZoom(1) };
  for (const [id, work] of Object.entries(clicks)) find(`#sb-${id}`).addEventListener("click", work);
  toolbar(editor);
  return paint;
}

function toolbar(editor) {
  const tools = [...document.querySelectorAll("[data-tool]")];
  const group = tools[0].parentElement;
  for (const tool of tools) tool.addEventListener("click", () => editor.setTool(tool.dataset.tool));
  oneOf(group, (tool) => editor.setTool(tool.dataset.tool));
  const show = () => tools.forEach((tool) => {
    tool.setAttribute("aria-checked", tool.dataset.tool === editor.tool);
    tool.tabIndex = tool.dataset.tool === editor.tool ? 0 : -1;
  });
  editor.addEventListener("tool", show);
  show();
  const size = find("#sb-size");
  size.addEventListener("input", () => editor.setSize(Number(size.value)));
  editor.addEventListener("size", () => {
    size.value = editor.size;
    find("#sb-size-out").textContent = `${editor.size} px`;
  });
  editor.addEventListener("history", () => {
    find("#sb-undo").disabled = !editor.history.done.length;
    find("#sb-redo").disabled = !editor.history.undone.length;
  });
  const opacity = find("#sb-opacity");
  const see = () => (editor.canvas.style.opacity = editor.photo.hidden ? 1 : 1 - opacity.value / 100);
  opacity.addEventListener("input", see);
  editor.addEventListener("photo", () => {
    find("#sb-see").hidden = editor.photo.hidden;
    see();
  });
}

function shortcuts(paint) {
  const { editor } = paint;
  let typed = "", since = 0;
  const digit = (key, now) => {
    typed = now - since < 700 ? typed + key : key;
    if (Number(typed) >= editor.classes.length) typed = key;
    since = now;
    editor.choose(Number(typed));
  };
  const grow = (by) => editor.setSize(editor.size + by * Math.max(1, Math.round(editor.size / 8)));
  const keys = {
    b: () => editor.setTool("brush"), f: () => editor.setTool("fill"), i: () => editor.setTool("pick"),
    x: () => editor.choose(NO_CLASS), z: () => editor.step("undo"), y: () => editor.step("redo"),
    "[": () => grow(-1), "]": () => grow(1), "+": () => editor.setZoom(editor.zoom * 1.5),
    "=": () => editor.setZoom(editor.zoom * 1.5), "-": () => editor.setZoom(editor.zoom / 1.5), w: () => editor.setZoom(1),
    g: paint.generate, o: paint.open, m: paint.saveMap, p: paint.savePicture, c: () => editor.stage.focus(),
  };
  document.addEventListener("keydown", (event) => {
    const writing = event.target.closest?.("input:not(:is([type=range], [type=checkbox], [type=radio], [type=file])), select, textarea");
    if (writing || find("dialog[open]") || event.altKey) return;
    const key = event.key.toLowerCase();
    const painting = !find("#sb-paint").hidden && paint.run;
    const command = event.ctrlKey || event.metaKey;
    if (command && !(painting && "zy".includes(key))) return;
    if (key === "?") find("#sb-help").click();
    else if (key === "g" && !painting) {
      const form = find("section:not([hidden]) form.ask");
      if (!form) return;
      form.requestSubmit();
    } else if (!painting) return;
    else if (command && key === "z" && event.shiftKey) editor.step("redo");
    else if (/^\d$/.test(key)) digit(key, event.timeStamp);
    else if (key in keys) keys[key]();
    else return;
    event.preventDefault();
  });
}

// Browsers suggest only runs whose names contain the text of the field: a clicked field is empty until it loses focus.
function suggestAll() {
  for (const field of document.querySelectorAll("#sb input[list]")) {
    const hint = field.placeholder;
    let kept = "";
    const restore = () => {
      field.value ||= kept;
      field.placeholder = hint;
      kept = "";
    };
    field.addEventListener("pointerdown", () => {
      if (!field.value || document.activeElement === field) return;
      field.placeholder = kept = field.value;
      field.value = "";
    });
    field.addEventListener("input", () => (kept = ""));
    field.addEventListener("blur", restore);
    field.addEventListener("keydown", ({ key }) => key === "Enter" && restore());
  }
}

// The browser must not open a file dropped elsewhere, because it would leave the page.
function catchFiles() {
  for (const kind of ["dragover", "drop"]) {
    document.addEventListener(kind, (event) => event.dataTransfer?.types.includes("Files") && event.preventDefault());
  }
}

async function listRuns() {
  const runs = await call("list_runs", {});
  for (const [does, names] of Object.entries(runs)) {
    find(`#sb-runs-${does}`).replaceChildren(...names.map((name) => make("option", { value: name })));
    find(`[data-none=${does}]`).hidden = names.length > 0;
  }
  return runs;
}

async function start() {
  history.replaceState(null, "", location.pathname); // hide the token; the cookie is set
  const facts = JSON.parse(find("#sb").dataset.facts);
  for (const place of document.querySelectorAll("[data-fact]")) place.textContent = facts[place.dataset.fact];
  themes();
  const openTab = tabs();
  const paint = paintTab(facts, asker(facts));
  const offer = segmentTab(facts, Object.assign((shown) => {
    openTab("paint");
    paint.editor.replace({ ...shown.map, map: shown.map.map.slice() }, shown.photo);
  }, { fits: paint.knows }));
  paint.editor.addEventListener("classes", offer);
  const nameDomains = translateTab(facts);
  const mix = mixTab(facts);
  shortcuts(paint);
  suggestAll();
  catchFiles();
  find("#sb-help").addEventListener("click", () => find("#sb-keys").showModal());
  find("#sb-error button").addEventListener("click", () => (find("#sb-error").hidden = true));
  window.stylebridge = { paint, mix, paintStroke, bucketFill, History, packMap, unpackMap };
  try {
    const runs = await listRuns();
    const offered = (does, other) => facts.does.includes(does) ? facts.run : other || (runs[does][0] ?? "");
    find("#sb-segment-run").value = offered("segment", facts.segmenter);
    find("#sb-translate-run").value = offered("translate");
    find("#sb-mix-run").value = offered("mix");
    nameDomains();
    find("#sb-run-list").replaceChildren(...runs.synthesize.slice(0, 12).map((name) => make("li", {},
      make("button", { onclick: ({ target }) => during(target, () => paint.use(name)) }, name))));
    if (facts.does[0] === "synthesize") await paint.use(facts.run);
    else if (facts.does.length) openTab(facts.does[0]);
  } catch (error) {
    complain(error);
  }
  find("#sb").dataset.ready = "true";
}

// Gradio may call this before its page is ready; how long before depends on the machine.
(function wait() {
  if (find("#sb")) start();
  else setTimeout(wait, 50);
})();
