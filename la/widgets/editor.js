// PromptEditor: tools, keys, undo, and prompts on their way to Python.

const TOOLS = [ // name, key, label, how to use it
  ["select", "v", "Select", "Click a prompt to select it, drag to move it, Del removes it."],
  ["point", "p", "Point", "Click the object. Alt-click: a point that is not the object."],
  ["negative", "n", "Not here", "Click what does not belong to the class."],
  ["box", "r", "Box", "Drag from corner to corner."],
  ["brush", "b", "Brush", "Paint the object. [ and ] change the size."],
  ["eraser", "e", "Eraser", "Rub out painted parts of the active class."],
  ["lasso", "l", "Lasso", "Drag around the object, or click corners and close with Enter."],
];

const SILENT = "The kernel does not answer: it is busy or was restarted. Run the cell again to go on.";
const PIECE = 4e6; // bytes of a photo in one message: a server takes at most 10 MB

function editor(model, el) {
  const scene = new Scene(model.get("palette")), hidden = new Set();
  let now = { prompts: model.get("prompts"), classes: model.get("classes") }, past = [], future = [];
  let tool = "point", cls = 1, radius = 12, opacity = 0.5, img = -1, selected = null, draft = null, moved = null;
  let labels = null, tint = null, space = false, pointer = null, timer = 0, covered = false, sending = false;
  const support = new Stage("Support image", paintSupport), target = new Stage("Query image", paintQuery);

  // --- state: every change of prompts or classes is one step of one history, and goes to Python at once
  function send(changes) {
    const seq = model.get("seq") + 1;
    sending = true;
    for (const [key, value] of Object.entries({ ...changes, seq })) model.set(key, value);
    sending = false;
    clearTimeout(timer);
    timer = setTimeout(() => model.get("ack") < seq && say("error", SILENT), 3000);
    model.save_changes();
  }
  const put = (state) => { now = state; selected = null; send(state); refresh(); };
  const edit = (changes) => { past.push(now); future = []; put({ ...now, ...changes }); };
  const undo = () => { if (past.length) { future.push(now); put(past.pop()); } };
  const redo = () => { if (future.length) { past.push(now); put(future.pop()); } };
  const add = (p) => edit({ prompts: [...now.prompts, p] });
  const drop = (gone) => edit({ prompts: now.prompts.filter((p) => !gone(p)) });
  const remove = () => { const last = selected ?? now.prompts.findLast((p) => p.img === img); if (last) drop((p) => p === last); };
  const ask = (what, buffers = []) => { send({}); model.send(what, undefined, buffers); };
  function removeClass(n) {
    const prompts = now.prompts.filter((p) => p.cls !== n).map((p) => (p.cls > n ? { ...p, cls: p.cls - 1 } : p));
    const shift = [...hidden].filter((k) => k !== n).map((k) => k - (k > n));
    hidden.clear();
    shift.forEach((k) => hidden.add(k));
    cls = Math.max(1, cls - (cls >= n));
    edit({ prompts, classes: now.classes.filter((_, k) => k !== n - 1) });
  }
  function name(n, text) { // n = 0 adds a class
    text = text.trim();
    if (!text || now.classes.some((c, k) => c === text && k !== n - 1)) return text && say("error", "Two classes need two names.");
    if (!n) cls = now.classes.length + 1;
    edit({ classes: n ? now.classes.map((c, k) => (k === n - 1 ? text : c)) : [...now.classes, text] });
  }

  // --- drawing with the pointer
  const dab = (p) => paintMask(scene.layer(img, cls, now.prompts).canvas.getContext("2d"), p, scene.colour(cls), scene.size(img));
  function down(e) {
    root.focus({ preventScroll: true });
    if (e.button === 1 || space) return support.pan(e);
    if (img < 0 || (e.button && tool !== "point")) return;
    const xy = support.at(e), prompt = { img, cls, type: tool, pts: [xy] };
    if (!now.classes.length) return say("error", "Add a class first.");
    hidden.delete(cls);
    if (tool === "point" || tool === "negative") {
      const label = tool === "negative" || e.altKey || e.button === 2 ? -1 : 1;
      add({ ...prompt, type: "point", label });
    } else if (tool === "select") {
      const reach = 9 / support.now().scale, mine = now.prompts.filter((p) => p.img === img && !hidden.has(p.cls));
      selected = mine.findLast((p) => hits(p, xy, reach, scene.size(img))) ?? null;
      moved = selected && { from: xy, of: selected };
      refresh();
    } else if (tool === "lasso") {
      if (!draft) draft = { ...prompt, erase: false };
      else if (draft.pts.length > 2 && near(xy, draft.pts[0]) < 9 / support.now().scale) return commit();
      else draft.pts.push(xy);
      draft.held = true;
    } else if (tool === "box") draft = prompt;
    else if (tool === "eraser" && !now.prompts.some((p) => p.img === img && p.cls === cls && !/point|box/.test(p.type)))
      say("idle", `Nothing of ${now.classes[cls - 1]} is painted here; pick the class to rub out.`);
    else {
      draft = { ...prompt, type: "brush", r: radius, erase: tool === "eraser" };
      dab(draft);
    }
    support.draw();
  }
  function move(e) {
    if (support.panning) return support.panTo(e);
    for (const event of e.getCoalescedEvents?.().length ? e.getCoalescedEvents() : [e]) {
      const xy = support.at(event), last = draft?.pts.at(-1);
      if (moved) {
        const [w, h_] = scene.size(img), fit = (v, i) => round(Math.min([w, h_][i], Math.max(0, v)));
        const pts = moved.of.pts.map((p) => p.map((v, i) => fit(v + xy[i] - moved.from[i], i)));
        if (near(xy, moved.from) * support.now().scale > 3) selected = { ...moved.of, pts };
      } else if (draft?.type === "box") draft.pts[1] = xy;
      else if (draft?.type === "brush" && near(xy, last)) {
        draft.pts.push(xy);
        dab({ ...draft, pts: [last, xy] });
      } else if (draft?.held && near(xy, last) * support.now().scale > 2) draft.dragged = draft.pts.push(xy);
      else if (draft) draft.tip = xy;
    }
    pointer = /brush|eraser/.test(tool) && e.type !== "pointerleave" ? support.at(e) : null;
    if (draft || moved || pointer || e.type === "pointerleave") support.draw();
  }
  function up(e) {
    support.panning = null;
    const { of } = moved ?? {}, there = selected;
    moved = null;
    if (of && there !== of) edit({ prompts: now.prompts.map((p) => (p === of ? there : p)) });
    selected = there;
    if (draft?.type === "lasso") {
      draft.held = false;
      if (draft.dragged) commit(); // clicks go on as corners
    } else if (draft) commit();
    if (e.type === "pointercancel") cancel();
  }
  function commit() {
    const { held, dragged, tip, ...p } = draft;
    draft = null;
    scene.layers.delete(`${img}/${cls}`); // the live strokes; painted anew from the prompts
    if (p.type === "box") {
      p.pts = p.pts.map((xy) => xy.map(Math.round));
      const [[x0, y0], [x1, y1] = [x0, y0]] = p.pts;
      p.pts = [[Math.min(x0, x1), Math.min(y0, y1)], [Math.max(x0, x1), Math.max(y0, y1)]];
      if (x0 === x1 || y0 === y1) return say("idle", "Drag from corner to corner to draw a box."), support.draw();
    }
    if (p.type === "lasso" && p.pts.length < 3) return say("idle", "A lasso needs three corners."), support.draw();
    add(p);
  }
  function cancel() {
    if (draft) scene.layers.delete(`${img}/${cls}`);
    draft = moved = selected = null;
    refresh();
  }

  // --- keys: only those used here are kept from the notebook; Tab and typing in fields go their way
  function key(e) {
    const typing = /^(text|file)$/.test(e.target.type) || e.target.tagName === "SELECT", k = e.key.toLowerCase();
    const step = () => { const mine = now.prompts.filter((p) => p.img === img); selected = mine[(mine.indexOf(selected) + 1) % mine.length]; refresh(); };
    const known = e.ctrlKey || e.metaKey
      ? { z: e.shiftKey ? redo : undo, y: redo }[k]
      : TOOLS.some((t) => t[1] === k) ? () => pick(TOOLS.find((t) => t[1] === k)[0])
      : /^[1-9]$/.test(k) && +k <= now.classes.length ? () => { cls = +k; refresh(); }
      : { delete: remove, backspace: remove, escape: cancel, h: () => { covered = !covered; refresh(); }, f: () => support.scaleTo(0),
          "[": () => resize(radius / 1.25), "]": () => resize(radius * 1.25), ".": step, enter: draft && commit,
          " ": e.target.tagName !== "BUTTON" && (() => { space = true; }) }[k];
    if (!known || typing || e.altKey) return;
    e.preventDefault();
    e.stopPropagation();
    known();
  }
  function pick(name_) { if (draft) cancel(); tool = name_; refresh(); }
  function resize(r) { radius = Math.min(200, Math.max(1, Math.round(r > radius ? Math.ceil(r) : Math.floor(r)))); refresh(); }
  const say = (state, text) => model.set("status", { state, text });

  // --- what is shown
  function paintSupport(c, scale) {
    const prompts = now.prompts.map((p) => (p === moved?.of ? selected : p));
    if (!covered) scene.paint(c, scale, { img, prompts, n: now.classes.length, hidden, opacity, selected });
    if (draft?.type === "box") scene.mark(c, draft, scale);
    if (pointer) { // the brush where it would paint
      c.beginPath();
      c.arc(...pointer, radius, 0, 7);
      for (const [width, style] of [[3, "rgba(0,0,0,.6)"], [1.2, "#fff"]]) {
        Object.assign(c, { lineWidth: width / scale, strokeStyle: style });
        c.stroke();
      }
    }
    if (draft?.type === "lasso") scene.mark(c, { ...draft, pts: [...draft.pts, draft.tip ?? draft.pts[0]] }, scale, true);
  }
  function paintQuery(c) {
    if (tint && !covered) c.drawImage(tint, 0, 0, ...target.size);
  }
  function recolour() {
    const fits = labels && labels.img === model.get("query");
    tint = fits ? tinted(labels, scene.palette, opacity, hidden) : null;
    const shown = fits ? String(labels.seq) : ""; // the edit that the label map answers
    if (ui.query.dataset.labels !== shown) ui.query.dataset.labels = shown;
    target.draw();
  }
  function classRow(name_, k) {
    const n = k + 1, off = hidden.has(n);
    const rename = () => {
      const field = h("input", { type: "text", value: name_, "aria-label": `New name of ${name_}`, onblur: () => { name(n, field.value); refresh(); },
        onkeydown: (e) => { if (e.key === "Enter" || e.key === "Escape") { if (e.key === "Escape") field.value = name_; root.focus(); } } });
      choose.replaceWith(field);
      field.select();
    };
    const choose = h("button", { type: "button", role: "radio", class: "la-class", "aria-checked": String(n === cls), "aria-label": name_, title: name_,
      onclick: (e) => { if (e.detail === 2) return rename(); cls = n; refresh(); } }, // a double click renames
      h("i", { style: `background:${scene.colour(n)}` }, n < 10 ? String(n) : ""), h("span", {}, name_));
    return h("div", { class: "la-row", "data-off": off }, choose, button("rename", `Rename ${name_}`, rename),
      button("remove", `Remove ${name_} and its prompts`, () => removeClass(n)),
      button("eye", `${off ? "Show" : "Hide"} ${name_}`, () => { off ? hidden.delete(n) : hidden.add(n); refresh(); }, { "aria-pressed": String(!off) }));
  }
  function thumbnails(role) {
    const shown = role === "support" ? img : model.get("query");
    return scene.images.flatMap((image, i) => {
      if (image.role !== role || !scene.urls[i]) return [];
      const mine = now.prompts.filter((p) => p.img === i), rows = [...new Set(mine.map((p) => p.cls))].sort();
      const dots = rows.map((n) => h("i", { style: `background:${scene.colour(n)}` }));
      const label = `${role} ${image.file_name}` + (role === "support" ? `, ${mine.length} prompts` : "");
      const remove = () => { img -= i < img; ask({ do: "remove", img: i }); };
      return [h("span", { class: "la-item" }, h("button", { type: "button", class: "la-thumb", title: label, "aria-label": label, "aria-pressed": String(i === shown),
        onclick: () => { role === "support" ? (img = i, cancel()) : (send({ query: i }), refresh()); } },
        h("img", { src: scene.urls[i], alt: "" }), h("span", {}, ...dots)),
        button("remove", `Remove ${role} ${image.file_name}`, remove, { title: "Remove this photo and its prompts (no undo)" }))];
    });
  }
  function adder(role) {
    const field = h("input", { type: "file", accept: "image/*", multiple: true, hidden: true, onchange: async () => {
      for (const file of field.files)
        for (let at = 0, last = false; !last; at += PIECE) {
          say("busy", `Sending ${file.name}`);
          const piece = await file.slice(at, at + PIECE).arrayBuffer();
          last = at + PIECE >= file.size;
          ask({ do: "add", role, name: file.name, last }, [piece]);
        }
      field.value = "";
    } });
    return [field, button("add", `Add ${role} photos`, () => field.click())];
  }
  const refresh = () => keepFocus(root, redraw);
  function redraw() { // everything but the pixels of a stroke
    const role = (r) => scene.images.findIndex((image) => image.role === r), q = model.get("query");
    if (scene.images[img]?.role !== "support") img = role("support");
    for (const [stage, i] of [[support, img], [target, q]])
      if (scene.bitmaps[i]) stage.show(scene.bitmaps[i], scene.size(i)); else stage.show(null, [1, 1]);
    for (const [tool_, el_] of Object.entries(ui.tools)) el_.setAttribute("aria-pressed", String(tool_ === tool));
    ui.classes.replaceChildren(...now.classes.map(classRow));
    ui.support.replaceChildren(...thumbnails("support"));
    ui.query.replaceChildren(...thumbnails("query"));
    ui.hint.textContent = TOOLS.find((t) => t[0] === tool)[3];
    ui.empty.hidden = now.prompts.length > 0;
    ui.empty.firstChild.textContent = img < 0 ? "Add a support photo, or load the example." : "Pick a class, then click the object in the picture.";
    ui.radius.value = radius;
    ui.undo.setAttribute("aria-disabled", String(!past.length)); // "disabled" would drop the keyboard focus
    ui.redo.setAttribute("aria-disabled", String(!future.length));
    ui.hide.setAttribute("aria-pressed", String(!covered));
    support.canvas.dataset.tool = tool;
    recolour();
  }

  const ui = {
    tools: Object.fromEntries(TOOLS.map(([name_, k, label, tip]) =>
      [name_, h("button", { type: "button", title: `${label} (${k.toUpperCase()}): ${tip}`, "aria-label": label, onclick: () => pick(name_) }, icon(name_), h("span", {}, label))])),
    classes: h("div", { role: "radiogroup", "aria-label": "Classes" }),
    support: h("div", { class: "la-strip", role: "group", "aria-label": "Support images" }),
    query: h("div", { class: "la-strip", role: "group", "aria-label": "Query images" }),
    hint: h("p", { class: "la-hint" }), status: statusLine(),
    empty: h("div", { class: "la-empty" }, h("p"), h("button", { type: "button", title: "Show example photos and prompts in place of these", onclick: () => ask({ do: "example" }) }, "Load example")),
    undo: button("undo", "Undo (Ctrl+Z)", undo), redo: button("redo", "Redo (Ctrl+Y)", redo),
    hide: button("eye", "Show or hide everything drawn (H)", () => { covered = !covered; refresh(); }),
    about: h("span", { class: "la-about" }, model.get("about")),
  };
  const size = slider("Brush size", 1, 200, radius, 1, resize);
  ui.radius = size.querySelector("input");
  const fresh = h("input", { type: "text", placeholder: "Add a class", "aria-label": "Name of a new class", onkeydown: (e) => e.key === "Enter" && addClass() });
  const addClass = () => { name(0, fresh.value); fresh.value = ""; };
  const text = (label, title, what) => h("button", { type: "button", title, onclick: () => ask({ do: what }) }, label);
  const photos = (role) => h("div", { class: "la-photos" }, ui[role], ...adder(role));
  const root = h("div", { class: "la-root", tabindex: 0, role: "application", "aria-label": "Prompt editor",
    onkeydown: key, onkeyup: (e) => { if (e.key === " ") space = false; }, onblur: () => { space = false; } },
    h("div", { class: "la-bar", role: "toolbar", "aria-label": "Tools" }, group(...Object.values(ui.tools)), group(size, slider("Opacity", 0, 1, opacity, 0.05, (v) => { opacity = v; refresh(); }), ui.hide),
      group(ui.undo, ui.redo, button("remove", "Delete the selected or last prompt (Del)", remove), button("clear", "Clear this image", () => drop((p) => p.img === img)))),
    h("div", { class: "la-body" }, h("section", { class: "la-side", "aria-label": "Class palette" }, h("header", {}, h("b", {}, "Classes")), ui.classes, h("div", { class: "la-row" }, fresh, button("add", "Add class", addClass)), ui.hint,
      h("div", { class: "la-files" }, text("Load", "Read prompts.json", "load"), text("Save", "Write prompts.json", "save"), text("Export", "Write masks as PNG and COCO", "export"))),
      pane("Support", support, photos("support"), ui.empty), pane("Query", target, photos("query"))),
    h("footer", {}, ui.status, ui.about));
  for (const [type, handler] of Object.entries({ pointerdown: down, pointermove: move, pointerleave: move, pointerup: up, pointercancel: up }))
    support.canvas.addEventListener(type, (e) => { if (type === "pointerdown") support.canvas.setPointerCapture(e.pointerId); handler(e); });
  support.canvas.addEventListener("contextmenu", (e) => tool === "point" && e.preventDefault());
  support.canvas.addEventListener("dblclick", () => draft && commit());
  target.canvas.addEventListener("pointerdown", (e) => { root.focus({ preventScroll: true }); target.canvas.setPointerCapture(e.pointerId); target.pan(e); });
  target.canvas.addEventListener("pointermove", (e) => target.panning && target.panTo(e));
  target.canvas.addEventListener("pointerup", () => { target.panning = null; });
  el.append(root);

  // --- what Python says
  const outside = () => { // prompts or classes set in Python are a step of the history too
    const state = { prompts: model.get("prompts"), classes: model.get("classes") };
    if (sending || JSON.stringify(state) === JSON.stringify(now)) return;
    past.push(now);
    [now, future, selected] = [state, [], null];
    cls = Math.min(cls, Math.max(1, now.classes.length));
    refresh();
  };
  const listeners = {
    "change:prompts": outside, "change:classes": outside, "change:query": refresh,
    "change:about": () => { ui.about.textContent = model.get("about"); },
    "change:status": () => { ui.status.dataset.state = model.get("status").state; ui.status.textContent = model.get("status").text; },
    "change:ack": () => model.get("status").text === SILENT && say("idle", ""),
    "change:images": async () => {
      const images = model.get("images"), before = scene.images, more = images.length > before.length;
      await scene.load(images);
      if (scene.images !== images) return; // newer ones are on their way
      if (before.some((image, i) => image.file_name !== images[i]?.file_name)) [past, future] = [[], []];
      else if (before.length && more && images.at(-1).role === "support") img = images.length - 1;
      radius = Math.min(200, Math.max(1, Math.round(Math.max(0, ...scene.images.flatMap((i) => [i.width, i.height])) / 50)));
      refresh();
    },
    "change:overlay": async () => {
      const overlay = model.get("overlay"), next = overlay.data ? { ...overlay, ...(await inflate(overlay)) } : null;
      if (overlay !== model.get("overlay")) return; // a newer one came meanwhile
      labels = next;
      recolour();
    },
  };
  listeners["change:status"]();
  listeners["change:images"]().then(listeners["change:overlay"]);
  return connect(model, listeners, () => { clearTimeout(timer); scene.free(support, target); });
}
