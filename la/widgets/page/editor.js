// PromptEditor: prompts, classes and their history, and how they reach Python.

const TOOLS = [ // name, key, label, how to use it
  ["select", "v", "Select", "Click a prompt to select it; drag it, or one of its handles."],
  ["point", "p", "Point", "Click the object. Right-click or Alt-click: what is not the object."],
  ["negative", "n", "Not here", "Click what does not belong to the class."],
  ["box", "r", "Box", "Drag from corner to corner."],
  ["brush", "b", "Brush", "Paint the object. [ and ] change the size."],
  ["eraser", "e", "Eraser", "Rub out painted parts of the active class."],
  ["lasso", "l", "Lasso", "Drag around the object, or click corners and close with Enter."],
];

function editor(model, el) {
  const scene = new Scene(model.get("palette")), hidden = new Set();
  const desk = { tool: "point", cls: 1, radius: 12, hidden, selected: null, space: false }; // what is chosen
  const history = new History(model, show, say), waiting = unsent(history.file); // files on their way
  const now = () => history.now, placed = (role) => now().images.flatMap((image, i) => (image.role === role ? [i] : []));
  const album = new Album((wanted) => model.send(wanted), refresh);
  let opacity = 0.5, img = -1, tint = null, covered = false;
  const support = new Stage("Support image", (c, scale) => paint(c, scale, drawn));
  const target = new Stage("Query image", paintQuery);

  // --- what changes the state
  function show(before) { // a new state; the image that is displayed stays so if it is still there
    const now_ = history.now, id = before.images[img]?.id;
    desk.selected = drawn.held = asked.held = null;
    desk.cls = clamp(desk.cls, 1, Math.max(1, now_.classes.length));
    if (now_.images !== before.images) {
      const last = now_.images.at(-1), fresh = before.images.length && last && !before.images.some((image) => image.id === last.id);
      img = fresh && last.role === "support" ? now_.images.length - 1 : now_.images.findIndex((image) => image.id === id && image.role === "support");
      answer.map = null;
      scene.layers.clear();
      if (!before.images.length) fitBrush();
      for (const { file_name } of now_.images) received(waiting, file_name);
    }
    refresh();
  }
  const edit = (changes) => history.edit(changes), undo = () => history.undo(), redo = () => history.redo();
  const ask = (what, buffers) => history.ask(what, buffers);
  const add = (p) => edit({ prompts: [...now().prompts, p] });
  const drop = (gone) => edit({ prompts: now().prompts.filter((p) => !gone(p)) });
  function remove() {
    const last = desk.selected ?? now().prompts.findLast((p) => p.img === active.img);
    if (last) drop((p) => p === last);
  }
  function replace(before, after) {
    edit({ prompts: now().prompts.map((p) => (p === before ? after : p)) });
    desk.selected = after;
  }
  async function addFiles(files, role) {
    waiting.push(...files.map((file) => ({ file, role })));
    for (const file of files) await sendFile(file, role, ask, say);
  }
  function fitBrush() {
    const sides = history.now.images.flatMap((image) => [image.width, image.height]);
    desk.radius = clamp(Math.round(Math.max(0, ...sides) / 50), 1, 200);
  }
  function removeClass(n) {
    const prompts = now().prompts.filter((p) => p.cls !== n).map((p) => (p.cls > n ? { ...p, cls: p.cls - 1 } : p));
    const shift = [...hidden].filter((k) => k !== n).map((k) => k - (k > n));
    hidden.clear();
    shift.forEach((k) => hidden.add(k));
    desk.cls = Math.max(1, desk.cls - (desk.cls >= n));
    edit({ prompts, classes: now().classes.filter((_, k) => k !== n - 1) });
  }
  function name(n, text) { // n = 0 adds a class
    text = text.trim();
    if (!text || now().classes.some((c, k) => c === text && k !== n - 1)) return text && say("error", "Two classes need two names.");
    if (!n) desk.cls = now().classes.length + 1;
    edit({ classes: n ? now().classes.map((c, k) => (k === n - 1 ? text : c)) : [...now().classes, text] });
  }

  // --- drawing: each picture has a pen; keys go to the one that had the focus last
  const host = { prompts: () => now().prompts, classes: () => now().classes, colour: (n) => scene.colour(n), add, replace, remove: removeClass,
    rename: name, say, refresh, choose: (n) => { desk.cls = n; refresh(); }, focus: () => active.stage.canvas.focus({ preventScroll: true }) };
  const drawn = new Pen(support, scene, desk, { ...host, image: () => img, hover: (xy) => hover(drawn, xy) });
  const asked = new Pen(target, scene, desk, { ...host, image: () => now().query, hover: (xy) => hover(asked, xy) });
  const answer = new Answer(model, recolour, (what) => model.send(what));
  const truth = new Truth(model, () => recolour());
  target.extra = group(answer.slider, answer.shade);
  const review = new Review(model, { state: now, show: (i) => { history.choose(i); refresh(); }, ask, pick: (tool) => { choose(tool); target.canvas.focus(); }, refresh });
  let active = drawn;
  for (const pen of [drawn, asked]) pen.stage.canvas.addEventListener("focus", () => { active = pen; });
  const list = classList(desk, host), sheet = helpSheet(() => root);
  function following() {
    const mine = now().prompts.filter((p) => p.img === active.img);
    desk.selected = mine[(mine.indexOf(desk.selected) + 1) % mine.length] ?? null;
    refresh();
  }
  const arrow = (by) => (pressed) => {
    const [dx, dy] = ARROWS[pressed.replace("shift+", "")];
    host.focus();
    active.step(dx * by, dy * by);
  };
  const zoomBy = (by) => () => active.stage.scaleTo(active.stage.now().scale * by);
  const fit = () => [support, target].forEach((stage) => stage.scaleTo(0));
  const hide = () => { covered = !covered; refresh(); };
  const whole = () => (document.fullscreenElement ? document.exitFullscreen() : root.requestFullscreen());
  const actions = { ...Object.fromEntries(TOOLS.map(([tool]) => [tool, () => choose(tool)])), class: (n) => +n <= now().classes.length && host.choose(+n),
    search: list.find, fresh: list.name, step: arrow(1), leap: arrow(10), enter: () => active.enter(), following, remove, undo, redo, fit, hide, whole,
    cancel: () => active.cancel(), shade: () => answer.toggle(), ...reviewActions(review), smaller: () => resize(desk.radius / 1.25), larger: () => resize(desk.radius * 1.25),
    closer: zoomBy(1.25), further: zoomBy(0.8), help: () => sheet.showModal(),
    other: () => { (active === drawn ? target : support).canvas.focus({ preventScroll: true }); active.step(0, 0); },
    place: () => (active.crosshair ? active.place() : (desk.space = true)) };
  function hover(pen, xy) { // what a point here would change, and what the model says of this place
    const point = xy && pen.img >= 0 && { point: 1, negative: -1 }[desk.tool];
    answer.hover(point ? { img: pen.img, cls: desk.cls, type: "point", pts: [xy], label: point } : null);
    if (pen === asked) answer.read(xy, target.size, now().classes);
  }
  function choose(tool) {
    for (const pen of [drawn, asked]) if (pen.draft || pen.held) pen.cancel();
    desk.tool = tool;
    refresh();
  }
  function resize(r) {
    const whole_ = r > desk.radius ? Math.ceil(r) : Math.floor(r);
    desk.radius = clamp(whole_, 1, 200);
    refresh();
  }
  function say(state, text) { Object.assign(ui.status, { textContent: text }).dataset.state = state; } // in this page alone
  const told = () => say(model.get("status").state, model.get("status").text); // what Python says

  // --- what is shown
  function paint(c, scale, pen) {
    const prompts = now().prompts.map((p) => (p === pen.held?.prompt && pen.held.next) || p);
    if (!covered && pen.img >= 0) scene.paint(c, scale, { img: pen.img, prompts, n: now().classes.length, hidden, opacity, selected: desk.selected });
    pen.paint(c, scale);
  }
  function paintQuery(c, scale) {
    if (tint && !covered) c.drawImage(tint, 0, 0, ...target.size);
    if (!covered) truth.paint(c, now().query, target.size);
    paint(c, scale, asked);
  }
  function recolour() {
    const labels = answer.labels(now().query), fits = answer.map?.img === now().query;
    tint = labels ? tinted(labels, scene.palette, opacity, hidden, answer.shading) : null;
    const shown = fits ? String(answer.map.seq) : ""; // the edit that the label map answers
    if (ui.query.dataset.labels !== shown) ui.query.dataset.labels = shown;
    const iou = truth.score(labels, now().query, now().classes);
    if (ui.iou.textContent !== iou) ui.iou.textContent = iou;
    target.draw();
  }
  const listed = (role) => (role === "query" ? review.order() : placed(role));
  function thumbnails(role) {
    const shown = role === "support" ? img : now().query, { before, seen, after } = inSight(ui[role], listed(role));
    const choose_ = (i) => () => { role === "support" ? (img = i, drawn.cancel()) : (history.choose(i), refresh()); };
    const remove_ = (i) => () => edit(without(now(), (_, k) => k === i));
    const plain = seen.map((i) => thumbnail(now(), i, i === shown, album, scene, choose_(i), remove_(i)));
    const items = role === "query" ? plain.map((item, k) => review.decorate(item, seen[k])) : plain;
    ui[role].replaceChildren(...gap(before), ...items, ...gap(after));
  }
  const brought = { support: -1, query: -1 };
  function bring(role, i) { // a photograph that is newly displayed comes into sight in its strip
    const strip = ui[role], left = listed(role).indexOf(i) * ITEM;
    if (i < 0 || brought[role] === i) return;
    brought[role] = i;
    if (left < strip.scrollLeft || left + ITEM > strip.scrollLeft + strip.clientWidth) strip.scrollLeft = left - strip.clientWidth / 2;
  }
  function wantPixels() { // what is displayed, then what the strips have in sight
    const { images, query } = now(), large = [img, query].filter((i) => i >= 0), small = ["support", "query"].flatMap((role) => needed(ui[role], listed(role)));
    album.want([...large.map((i) => [images[i].id, FULL]), ...small.map((i) => [images[i].id, THUMB])]);
  }
  function adder(role) {
    const field = h("input", { type: "file", accept: "image/*", multiple: true, hidden: true, onchange: async () => {
      await addFiles([...field.files], role);
      field.value = "";
    } });
    return [field, button("add", `Add ${role} photos`, () => field.click())];
  }
  function refresh() { keepFocus(root, redraw); }
  function redraw() { // everything but the pixels of a stroke
    const { images, query: q } = now();
    if (images[img]?.role !== "support") img = placed("support")[0] ?? -1;
    const large = (image, i) => (i === img || i === q ? album.bitmap(image.id) : undefined);
    Object.assign(scene, { images, bitmaps: images.map(large) });
    wantPixels();
    for (const [stage, i] of [[support, img], [target, q]])
      stage.show(scene.bitmaps[i] ?? null, images[i] ? scene.size(i) : [1, 1]); // pixels may come later
    for (const [tool_, el_] of Object.entries(ui.tools)) el_.setAttribute("aria-pressed", String(tool_ === desk.tool));
    list.redraw();
    thumbnails("support");
    thumbnails("query");
    bring("support", img);
    bring("query", q);
    ui.hint.textContent = TOOLS.find((t) => t[0] === desk.tool)[3];
    ui.empty.hidden = now().prompts.length > 0;
    ui.example.hidden = images.length > 0; // nobody's photographs are covered by an offer
    ui.empty.firstChild.textContent = img < 0 ? "Add a support photo, or load the example." : "Pick a class, then click the object in the picture.";
    ui.radius.value = desk.radius;
    ui.undo.setAttribute("aria-disabled", String(!history.past.length)); // "disabled" would drop the keyboard focus
    ui.redo.setAttribute("aria-disabled", String(!history.future.length));
    ui.hide.setAttribute("aria-pressed", String(!covered));
    for (const stage of [support, target]) stage.canvas.dataset.tool = desk.tool;
    root.style.setProperty("--tallest", tallest(images));
    review.redraw();
    recolour();
  }

  const ui = {
    tools: Object.fromEntries(TOOLS.map(([name_, k, label, tip]) =>
      [name_, h("button", { type: "button", title: `${label} (${k.toUpperCase()}): ${tip}`, "aria-label": label, onclick: () => choose(name_) }, icon(name_), h("span", {}, label))])),
    support: h("div", { class: "la-strip", role: "group", "aria-label": "Support images" }),
    query: h("div", { class: "la-strip", role: "group", "aria-label": "Query images" }),
    hint: h("p", { class: "la-hint" }), iou: h("p", { class: "la-iou", role: "status" }), status: statusLine(),
    empty: h("div", { class: "la-empty" }, h("p")),
    example: h("button", { type: "button", title: "Show example photos and prompts", onclick: () => ask({ do: "example" }) }, "Load example"),
    notice: h("p", { class: "la-notice", role: "alert" }),
    undo: button("undo", "Undo (Ctrl+Z)", undo), redo: button("redo", "Redo (Ctrl+Y)", redo),
    hide: button("eye", "Show or hide everything drawn (H)", hide),
    about: h("span", { class: "la-about" }, model.get("about")), models: modelChooser(model, ask),
  };
  ui.empty.append(ui.example);
  for (const role of ["support", "query"]) { // another part of a long strip comes into sight
    const look = () => now().images.length > SEEN && refresh();
    ui[role].addEventListener("scroll", look);
    new ResizeObserver(look).observe(ui[role]);
  }
  const size = slider("Brush size", 1, 200, desk.radius, 1, resize);
  ui.radius = size.querySelector("input");
  const text = (label, title, what) => h("button", { type: "button", title, onclick: () => ask({ do: what }) }, label);
  const photos = (role) => h("div", { class: "la-photos" }, ui[role], ...adder(role));
  const root = h("div", { class: "la-root", tabindex: 0, role: "application", "aria-label": "Prompt editor",
    onkeyup: (e) => { if (e.key === " ") desk.space = false; }, onfocusout: (e) => { desk.space &&= root.contains(e.relatedTarget); } },
    h("div", { class: "la-bar", role: "toolbar", "aria-label": "Tools" }, group(...Object.values(ui.tools)), group(size, slider("Opacity", 0, 1, opacity, 0.05, (v) => { opacity = v; refresh(); }), ui.hide),
      group(ui.undo, ui.redo, button("remove", "Delete the selected or last prompt (Del)", remove), button("clear", "Clear this image", () => drop((p) => p.img === active.img))),
      group(button("fit", "Fit both pictures (F)", fit), button("whole", "Full screen (W)", whole), button("help", "Keys (?)", () => sheet.showModal()))),
    h("div", { class: "la-body" }, h("section", { class: "la-side", "aria-label": "Class palette" }, h("header", {}, h("b", {}, "Classes")), list.el, ui.hint,
      h("div", { class: "la-files" }, text("Load", "Read prompts.json", "load"), text("Save", "Write prompts.json", "save"), text("Export", "Write masks as PNG and COCO", "export")), ui.models.el),
      pane("Support", support, photos("support"), ui.empty), (ui.queryPane = pane("Query", target, h("div", {}, ui.iou, review.bar, photos("query"))))),
    ui.notice, h("div", { class: "la-foot" }, ui.status, answer.readout, ui.about), sheet);
  const silence = listenToKeys(root, actions);
  takeFiles(root, (e) => (ui.queryPane.contains(e.target) ? "query" : "support"), addFiles);
  el.append(root);

  // --- what Python says
  const outside = () => history.outside();
  const listeners = {
    "change:prompts": outside, "change:classes": outside, "change:listed": outside, "change:added": outside, "change:query": outside,
    "msg:custom": (content, buffers) => { if (content.do === "pixels") album.take(content, buffers); else if (content.do === "preview") answer.answered(content, buffers); else told(); },
    "change:threshold": recolour, "change:truth": () => truth.take(), "change:sure": refresh, "change:reviewed": refresh,
    "change:saved": () => history.saved(),
    "change:notice": () => {
      const close = () => { model.set("notice", ""); model.save_changes(); };
      ui.notice.replaceChildren(model.get("notice"), button("remove", "Close this message", close));
      ui.notice.hidden = !model.get("notice");
      if (model.get("notice")) waiting.splice(0); // a file that was refused is not sent again
    },
    "change:about": () => { ui.about.textContent = model.get("about"); ui.models.redraw(); },
    "change:models": () => ui.models.redraw(),
    "change:status": told, "change:ack": () => ui.status.textContent === SILENT && told(),
    "change:overlay": () => answer.take(),
  };
  fitBrush();
  for (const name_ of ["status", "notice", "overlay"]) listeners[`change:${name_}`]();
  refresh();
  const close = connect(model, listeners, () => { clearTimeout(history.timer); silence(); album.free(); scene.free(support, target); });
  history.takeUp();
  for (const { file, role } of waiting.splice(0)) addFiles([file], role); // another kernel did not get them
  return close;
}
