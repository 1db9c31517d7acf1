// PromptEditor and PredictionViewer: plain JavaScript on two canvases, no library, no network.
// Text from outside (class names, file names, messages) only ever becomes text nodes.

const ICONS = {
  select: "M4 2l9 6-4 1 2 4-2 1-2-4-3 3z", point: "M8 3v10M3 8h10", negative: "M3 8h10", box: "M2.5 3.5h11v9h-11z",
  brush: "M13 3L7 9M7 9c-2-1-4 1-3 4 3 1 5-1 3-4z", eraser: "M6 13l-3-3 7-7 4 4-6 6zM6 6l4 4M6 13h8",
  lasso: "M8 3c4 0 6 2 6 4s-3 4-6 4-6-2-6-4 2-4 6-4zM5 11c-1 1 0 3-2 3", undo: "M6 3L3 6l3 3M3 6h7a3 3 0 010 6H7",
  redo: "M10 3l3 3-3 3M13 6H6a3 3 0 000 6h3", remove: "M4 4l8 8M12 4l-8 8", clear: "M3 4h10M6 4V2h4v2M4 4l1 10h6l1-10",
  eye: "M1 8c3-6 11-6 14 0-3 6-11 6-14 0zM8 6.5a1.5 1.5 0 100 3 1.5 1.5 0 000-3", rename: "M3 13l1-4 7-7 3 3-7 7z",
  add: "M8 3v10M3 8h10", previous: "M10 3L5 8l5 5", next: "M6 3l5 5-5 5",
};
const TOOLS = [ // name, key, label, how to use it
  ["select", "v", "Select", "Click a prompt to select it, drag to move it, Del removes it."],
  ["point", "p", "Point", "Click the object. Alt-click: a point that is not the object."],
  ["negative", "n", "Not here", "Click what does not belong to the class."],
  ["box", "r", "Box", "Drag from corner to corner."],
  ["brush", "b", "Brush", "Paint the object. [ and ] change the size."],
  ["eraser", "e", "Eraser", "Rub out painted parts of the active class."],
  ["lasso", "l", "Lasso", "Drag around the object, or click corners and close with Enter."],
];

function h(tag, props = {}, ...children) {
  const el = document.createElement(tag);
  // JupyterLab binds its keys to whatever has the focus, so each control must opt out, not the root alone.
  if (props.tabindex === 0 || /^(button|input|select)$/.test(tag)) el.dataset.lmSuppressShortcuts = "true";
  for (const [key, value] of Object.entries(props)) {
    if (key.startsWith("on")) el.addEventListener(key.slice(2), value);
    else if (value !== false && value != null) el.setAttribute(key, value === true ? "" : value);
  }
  el.append(...children);
  return el;
}

function icon(name) {
  const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
  svg.setAttribute("viewBox", "0 0 16 16");
  svg.setAttribute("aria-hidden", "true");
  svg.append(document.createElementNS("http://www.w3.org/2000/svg", "path"));
  svg.firstChild.setAttribute("d", ICONS[name]);
  return svg;
}

const button = (name, label, onclick, props = {}) =>
  h("button", { type: "button", "aria-label": label, title: label, onclick, ...props }, icon(name));
const slider = (label, min, max, value, step, oninput) =>
  h("label", { class: "la-slider" }, label, h("input", { type: "range", "aria-label": label, min, max, step, value,
    oninput: (e) => oninput(+e.target.value) }));
const group = (...parts) => h("div", { class: "la-group" }, ...parts);
const pane = (title, stage, below, ...over) => h("section", { class: "la-pane", "aria-label": title },
  h("header", {}, h("b", {}, title), stage.zoom), h("div", { class: "la-stage" }, stage.canvas, ...over), below);
const statusLine = () => h("span", { class: "la-status", role: "status", "aria-live": "polite" });
// Redraw controls without losing the keyboard: keys of a lost focus would go to the notebook.
function keepFocus(root, redraw) {
  const before = document.activeElement, label = root.contains(before) && before.getAttribute("aria-label");
  redraw();
  if (label === false || root.contains(before)) return;
  const again = [...root.querySelectorAll("[aria-label]")].find((e) => e.getAttribute("aria-label") === label);
  (again ?? root).focus({ preventScroll: true });
}

const near = (a, b) => Math.hypot(a[0] - b[0], a[1] - b[1]);
const round = (v) => Math.round(v * 100) / 100;
const bytes = (view) => new Uint8Array(view.buffer, view.byteOffset, view.byteLength);

async function inflate(plane) {
  const stream = new Blob([bytes(plane.data)]).stream().pipeThrough(new DecompressionStream("deflate"));
  return { size: plane.size, data: new Uint8Array(await new Response(stream).arrayBuffer()) };
}

const surface = (w, h_) => new OffscreenCanvas(w, h_);

// A map of bytes as a picture: rgba(value, index) gives [r, g, b, a].
function picture({ size: [w, h_], data }, rgba) {
  const canvas = surface(w, h_), image = new ImageData(w, h_);
  for (let i = 0; i < data.length; i++) image.data.set(rgba(data[i], i), i * 4);
  canvas.getContext("2d").putImageData(image, 0, 0);
  return canvas;
}

const hex = (colour) => [1, 3, 5].map((i) => parseInt(colour.slice(i, i + 2), 16));

// Colours of a label map, with a solid line where the label changes; hidden rows stay clear.
function tinted(map, palette, opacity, hidden) {
  const [w, h_] = map.size, { data } = map, rows = [...Array(256).keys()];
  const tint = (n, alpha) => (!n || hidden.has(n) ? [0, 0, 0, 0] : [...hex(palette[(n - 1) % palette.length]), alpha]);
  const inner = rows.map((n) => tint(n, opacity * 255)), edge = rows.map((n) => tint(n, Math.min(255, opacity * 640)));
  return picture(map, (n, i) => {
    const x = i % w;
    const border = n && ((x && data[i - 1] !== n) || (x < w - 1 && data[i + 1] !== n) ||
      (i >= w && data[i - w] !== n) || (i < w * (h_ - 1) && data[i + w] !== n));
    return border ? edge[n] : inner[n];
  });
}

function outline(c, pts) {
  c.beginPath();
  for (const [x, y] of pts) c.lineTo(x, y);
}

// Brush, lasso and mask prompts as solid pixels; the same rules as la.data.drawn.rasterize.
function paintMask(c, p, colour, [w, h_]) {
  c.globalCompositeOperation = p.erase ? "destination-out" : "source-over";
  Object.assign(c, { fillStyle: colour, strokeStyle: colour, lineCap: "round", lineJoin: "round" });
  if (p.type === "brush") {
    outline(c, p.pts.length > 1 ? p.pts : [p.pts[0], p.pts[0]]);
    c.lineWidth = 2 * p.r;
    c.stroke();
  } else if (p.type === "lasso") {
    outline(c, p.pts);
    c.fill();
  } else if (p.type === "mask") {
    const data = new Uint8Array(w * h_);
    let at = 0;
    p.counts.forEach((count, k) => {
      for (const end = at + count; at < end; at++) if (k % 2) data[(at % h_) * w + Math.floor(at / h_)] = 1;
    });
    const solid = [...hex(colour), 255], clear = [0, 0, 0, 0];
    c.imageSmoothingEnabled = false;
    c.drawImage(picture({ size: [w, h_], data }, (v) => (v ? solid : clear)), 0, 0);
  }
}

function hits(p, xy, reach, [, h_]) {
  const c = surface(1, 1).getContext("2d");
  if (p.erase) return false;
  if (p.type === "point") return near(p.pts[0], xy) < reach;
  if (p.type === "mask") {
    let at = Math.floor(xy[0]) * h_ + Math.floor(xy[1]);
    return p.counts.findIndex((count) => (at -= count) < 0) % 2 === 1;
  }
  const [[x0, y0], [x1, y1] = []] = p.pts;
  outline(c, p.type === "box" ? [[x0, y0], [x1, y0], [x1, y1], [x0, y1], [x0, y0]] : p.pts);
  c.lineWidth = p.type === "brush" ? 2 * p.r : 2 * reach;
  return c.isPointInStroke(...xy) || (p.type === "lasso" && c.isPointInPath(...xy));
}

// A canvas with one image that can be zoomed and panned; everything is in original pixels.
class Stage {
  constructor(label, paint) {
    this.canvas = h("canvas", { class: "la-canvas", role: "img", "aria-label": label });
    Object.assign(this, { paint, image: null, size: [1, 1], view: null, panning: null });
    this.zoom = h("select", { "aria-label": `Zoom of ${label}`, title: "Zoom (Ctrl+wheel); Space-drag moves",
      onchange: (e) => { this.scaleTo(+e.target.value); this.canvas.closest(".la-root").focus(); } });
    for (const z of [0, 0.5, 1, 2, 3, 4, 8]) this.zoom.append(h("option", { value: z }, z ? `${z * 100} %` : "Fit"));
    this.zoom.append(h("option", { value: -1, hidden: true }, "Free"));
    this.canvas.addEventListener("wheel", (e) => {
      if (!e.ctrlKey) return; // a plain wheel scrolls the page
      e.preventDefault();
      this.scaleTo(this.now().scale * Math.exp(-e.deltaY / 300), [e.offsetX, e.offsetY]);
    }, { passive: false });
    this.observer = new ResizeObserver(() => this.draw());
    this.observer.observe(this.canvas);
  }

  show(image, size) {
    if (image !== this.image) this.view = null;
    Object.assign(this, { image, size });
    this.draw();
  }

  now() {
    const [w, h_] = this.size, { clientWidth: cw, clientHeight: ch } = this.canvas;
    const scale = Math.max(1e-3, Math.min((cw - 16) / w, (ch - 16) / h_));
    return this.view ?? { scale, x: (cw - w * scale) / 2, y: (ch - h_ * scale) / 2 };
  }

  scaleTo(scale, at = [this.canvas.clientWidth / 2, this.canvas.clientHeight / 2]) {
    const { scale: old, x, y } = this.now(), next = Math.min(64, Math.max(0.02, scale));
    const move = (a, b) => Math.round(a - ((a - b) / old) * next);
    this.view = scale ? { scale: next, x: move(at[0], x), y: move(at[1], y) } : null;
    this.draw();
  }

  at(e) { // original pixels, clamped to the image: a release outside keeps its prompt
    const box = this.canvas.getBoundingClientRect(), { scale, x, y } = this.now();
    const xy = [(e.clientX - box.left - x) / scale, (e.clientY - box.top - y) / scale];
    return xy.map((v, i) => round(Math.min(this.size[i], Math.max(0, v))));
  }

  pan(e) { // follows the pointer while it is down
    const { scale, x, y } = this.now();
    this.panning = { scale, x: x - e.clientX, y: y - e.clientY };
  }

  panTo(e) {
    this.view = { scale: this.panning.scale, x: this.panning.x + e.clientX, y: this.panning.y + e.clientY };
    this.draw();
  }

  draw() {
    const { canvas, size: [w, h_] } = this, ratio = devicePixelRatio || 1, { scale, x, y } = this.now();
    const [cw, ch] = [Math.round(canvas.clientWidth * ratio), Math.round(canvas.clientHeight * ratio)];
    if (canvas.width !== cw || canvas.height !== ch) [canvas.width, canvas.height] = [cw, ch];
    const c = canvas.getContext("2d");
    c.setTransform(1, 0, 0, 1, 0, 0);
    c.clearRect(0, 0, cw, ch);
    c.setTransform(scale * ratio, 0, 0, scale * ratio, x * ratio, y * ratio);
    c.imageSmoothingEnabled = scale < 3;
    canvas.dataset.view = [scale, x, y].join(); // where the image lies, for tests and for assistive tools
    this.zoom.value = this.view ? [...this.zoom.options].find((o) => +o.value === scale)?.value ?? -1 : 0;
    if (this.image) {
      c.drawImage(this.image, 0, 0, w, h_);
      this.paint(c, scale);
    }
  }
}

// What editor and viewer share: images as bitmaps, mask layers per class, prompts as marks.
class Scene {
  constructor(palette) {
    Object.assign(this, { palette, images: [], bitmaps: [], urls: [], layers: new Map() });
  }

  colour(n) { return this.palette[(n - 1) % this.palette.length]; }

  async load(images) { // the old ones are shown until the new ones are there
    const blobs = images.map(({ jpeg }) => new Blob([bytes(jpeg)], { type: "image/jpeg" }));
    this.wanted = images;
    const bitmaps = await Promise.all(blobs.map((blob) => createImageBitmap(blob)));
    if (this.wanted !== images) return bitmaps.forEach((bitmap) => bitmap.close());
    this.free();
    Object.assign(this, { images, bitmaps, urls: blobs.map((blob) => URL.createObjectURL(blob)) });
  }

  free(...stages) {
    stages.forEach((stage) => stage.observer.disconnect());
    this.urls.forEach((url) => URL.revokeObjectURL(url));
    this.bitmaps.forEach((bitmap) => bitmap.close());
    Object.assign(this, { images: [], bitmaps: [], urls: [], wanted: null });
    this.layers.clear();
  }

  size(img) { return [this.images[img].width, this.images[img].height]; }

  layer(img, cls, prompts) { // painted on when prompts were added, anew when they changed otherwise
    const list = prompts.filter((p) => p.img === img && p.cls === cls && !["point", "box"].includes(p.type));
    const key = `${img}/${cls}`, [w, h_] = this.size(img), { width, height } = this.bitmaps[img];
    let found = this.layers.get(key);
    if (!found || found.list.length > list.length || found.list.some((p, i) => p !== list[i])) {
      found = { list: [], canvas: surface(width, height) };
      found.canvas.getContext("2d").scale(width / w, height / h_);
      this.layers.set(key, found);
    }
    const c = found.canvas.getContext("2d");
    if (list.length === found.list.length) return found;
    for (const p of list.slice(found.list.length)) paintMask(c, p, this.colour(cls), [w, h_]);
    const ring = surface(width, height), r = ring.getContext("2d");
    for (const [dx, dy] of [[-1, 0], [1, 0], [0, -1], [0, 1]]) r.drawImage(found.canvas, dx, dy);
    r.globalCompositeOperation = "destination-out";
    r.drawImage(found.canvas, 0, 0);
    r.globalCompositeOperation = "source-in";
    r.fillRect(0, 0, width, height);
    return Object.assign(found, { list, ring });
  }

  paint(c, scale, { img, prompts, n, hidden, opacity, selected }) {
    for (let cls = 1; cls <= n; cls++) {
      const { canvas, ring } = hidden.has(cls) ? {} : this.layer(img, cls, prompts);
      c.globalAlpha = opacity;
      if (canvas) c.drawImage(canvas, 0, 0, ...this.size(img));
      c.globalAlpha = Math.min(1, 2 * opacity);
      if (ring) c.drawImage(ring, 0, 0, ...this.size(img));
    }
    c.globalAlpha = 1;
    for (const p of prompts)
      if (p.img === img && !hidden.has(p.cls)) this.mark(c, p, scale, p === selected);
  }

  mark(c, p, scale, selected) {
    const [[x, y] = [0, 0], [x1, y1] = []] = p.pts, px = 1 / scale, dark = "rgba(0,0,0,.75)";
    const stroke = (width, style, dash = []) => {
      Object.assign(c, { lineWidth: width * px, strokeStyle: style, lineCap: "round" });
      c.setLineDash(dash.map((d) => d * px));
      c.stroke();
      c.setLineDash([]);
    };
    if (p.type === "point") {
      c.beginPath();
      c.arc(x, y, (selected ? 9 : 7) * px, 0, 7);
      c.fillStyle = p.label > 0 ? this.colour(p.cls) : "#fff";
      c.fill();
      stroke(selected ? 6 : 4, dark);
      stroke(selected ? 3 : 2, p.label > 0 ? "#fff" : this.colour(p.cls));
      c.beginPath();
      for (const [dx, dy] of p.label > 0 ? [[3, 0], [0, 3]] : [[3, 0]]) {
        c.moveTo(x - dx * px, y - dy * px);
        c.lineTo(x + dx * px, y + dy * px);
      }
      stroke(2, dark);
    } else if (p.type === "box" && x1 !== undefined) {
      c.beginPath();
      c.rect(x, y, x1 - x, y1 - y);
      stroke(4.5, dark);
      stroke(2.5, this.colour(p.cls));
      if (selected) stroke(2.5, "#fff", [5, 5]);
    } else if (selected && p.pts.length) {
      outline(c, p.type === "lasso" ? [...p.pts, p.pts[0]] : p.pts);
      stroke(3.5, dark);
      stroke(2, "#fff", [5, 5]);
    }
  }
}

// Listen to Python; what this gives is called when the view closes.
function connect(model, listeners, close) {
  for (const [event, listener] of Object.entries(listeners)) model.on(event, listener);
  return () => {
    for (const [event, listener] of Object.entries(listeners)) model.off(event, listener);
    close();
  };
}

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

const MISTAKES = [["False positive", "#D55E00"], ["False negative", "#56B4E9"], ["Confused class", "#CC79A7"]];
const LAYERS = ["Truth", "Prediction", "Errors", "Probability", "Attention", "Prototypes"];
const AFFINITY = "on the supports: looks like what was found in the query (feature affinity, not the decoder's own attention)";

function viewer(model, el) {
  const scene = new Scene(model.get("palette")), hidden = new Set(), table = model.get("table");
  const support = new Stage("Support image", paintSupport), target = new Stage("Query image", paintQuery);
  let episode = null, maps = {}, layer = "Errors", row = 1, opacity = 0.6, img = 0, tint = null;
  const filter = { cls: "", kind: "", most: 1 };

  const matches = () => [...table.keys()].filter((i) => (!filter.cls || table[i].classes.includes(filter.cls)) &&
    (!filter.kind || table[i].kind === filter.kind) && table[i].iou <= filter.most);
  function go(i) {
    model.set("index", i);
    model.save_changes();
    list();
  }
  function step(by) {
    const found = matches(), at = found.indexOf(model.get("index"));
    if (found.length) go(found[Math.min(found.length - 1, Math.max(0, at + by))]);
  }
  const heat = (map) => map && picture(map, (v) => [255, 255 - v * 0.8, Math.max(0, 160 - 2 * v), v * opacity]);
  function recolour() {
    if (!episode) return;
    const { truth, prediction } = maps, kinds = MISTAKES.map(([, colour]) => [...hex(colour), 255 * opacity]);
    const wrong = (v, i) => { const t = truth.data[i]; return v === t || t === 255 ? [0, 0, 0, 0] : kinds[!t ? 0 : !v ? 1 : 2]; };
    const rows = { size: truth.size, data: truth.data.map((v) => (v === 255 ? 0 : v)) };
    tint = layer === "Truth" ? tinted(rows, scene.palette, opacity, hidden) : layer === "Errors" ? picture(prediction, wrong)
      : layer === "Probability" ? heat(maps.probabilities[row]) : tinted(prediction, scene.palette, opacity, hidden);
    for (const [name, el_] of Object.entries(ui.layers)) el_.setAttribute("aria-pressed", String(name === layer));
    const missing = { Probability: maps.probabilities, Attention: maps.attention, Prototypes: episode.prototypes }[layer]?.length === 0;
    const alike = layer !== "Attention" || missing || maps.attention[img].data.some((v) => v);
    ui.status.textContent = missing ? `This episode was recorded without ${layer.toLowerCase()}.`
      : alike ? "" : "Nothing was found in the query that a support could look like.";
    ui.legend.replaceChildren(...(layer === "Errors" ? MISTAKES.map(([name, colour]) => [name, colour, ""])
      : layer === "Attention" ? [[AFFINITY, "#ff3300", ""]]
      : episode.classes.map((name, k) => [name, scene.colour(k + 1), episode.ious[k] == null ? "absent" : `IoU ${episode.ious[k].toFixed(2)}`]))
      .map(([name, colour, value]) => h("span", {}, h("i", { style: `background:${colour}` }), `${name} `, h("b", {}, value))));
    [support, target].forEach((stage) => stage.draw());
  }
  function paintSupport(c, scale) {
    scene.paint(c, scale, { img, prompts: episode.prompts, n: episode.classes.length, hidden, opacity: 0.5 });
    const map = layer === "Attention" && heat(maps.attention[img]);
    c.imageSmoothingEnabled = true;
    if (map) c.drawImage(map, 0, 0, ...support.size);
  }
  function paintQuery(c, scale) {
    const [w, h_] = target.size, points = episode.prototypes;
    if (layer !== "Prototypes") return tint && c.drawImage(tint, 0, 0, w, h_);
    const reach = Math.max(1e-9, ...points.flat().map(Math.abs)) * 1.25;
    Object.assign(c, { fillStyle: "#fff", font: `${13 / scale}px system-ui, sans-serif` });
    c.fillRect(0, 0, w, h_);
    points.forEach(([x, y], n) => {
      const at = [w / 2 + (x / reach) * (w / 2), h_ / 2 - (y / reach) * (h_ / 2)];
      scene.mark(c, { type: "point", label: n ? 1 : -1, cls: n || 8, pts: [at] }, scale);
      const right = x > 0; // the name goes to where there is room
      Object.assign(c, { fillStyle: "#222", textAlign: right ? "right" : "left" });
      c.fillText(n ? episode.classes[n - 1] : "background", at[0] + (right ? -11 : 11) / scale, at[1] + 4 / scale, w / 2);
    });
  }
  function hover(e) {
    const [x, y] = target.at(e), { size: [w, h_], data } = maps.prediction ?? { size: [0, 0] };
    const at = ([mw, mh]) => Math.min(mh - 1, Math.floor((y / target.size[1]) * mh)) * mw + Math.min(mw - 1, Math.floor((x / target.size[0]) * mw));
    if (!w) return;
    const name = (n) => (n === 255 ? "ignored" : n ? episode.classes[n - 1] : "background"), n = data[at([w, h_])];
    const p = maps.probabilities[n], sure = p ? ` (${Math.round(p.data[at(p.size)] / 2.55)} %)` : "";
    ui.status.textContent = `${name(n)}${sure}; truth: ${name(maps.truth.data[at([w, h_])])}`;
  }
  const list = () => keepFocus(root, relist);
  function relist() {
    const found = matches();
    ui.count.textContent = `${found.length} of ${table.length} episodes, worst first`;
    ui.list.replaceChildren(...found.map((i) => h("button", { type: "button", role: "option", "aria-selected": String(i === model.get("index")), onclick: () => go(i) },
      h("span", {}, table[i].name), h("b", {}, table[i].iou.toFixed(2)))));
    ui.list.querySelector("[aria-selected=true]")?.scrollIntoView({ block: "nearest" });
  }
  const choose = (label, key, values) => h("select", { "aria-label": label, onchange: (e) => { filter[key] = e.target.value; list(); } },
    h("option", { value: "" }, label), ...[...new Set(values)].sort().map((v) => h("option", { value: v }, v)));
  const strip = h("div", { class: "la-strip", role: "group", "aria-label": "Support images" });
  const ui = {
    layers: Object.fromEntries(LAYERS.map((name) => [name, h("button", { type: "button", onclick: () => { layer = name; recolour(); } }, h("span", {}, name))])),
    row: h("select", { "aria-label": "Class of the probability layer", onchange: (e) => { row = +e.target.value; layer = "Probability"; recolour(); } }),
    list: h("div", { class: "la-list", role: "listbox", "aria-label": "Episodes" }), count: h("p", { class: "la-hint" }),
    legend: h("div", { class: "la-legend" }), status: statusLine(), below: h("div"),
  };
  const root = h("div", { class: "la-root", tabindex: 0, role: "application", "aria-label": "Prediction viewer", onkeydown: (e) => {
    const by = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 }[e.key];
    if (!by || /^(SELECT|INPUT)$/.test(e.target.tagName)) return;
    e.preventDefault();
    e.stopPropagation();
    step(by);
  } },
    h("div", { class: "la-bar la-choice", role: "toolbar", "aria-label": "Layers" }, group(...Object.values(ui.layers), ui.row), group(slider("Opacity", 0, 1, opacity, 0.05, (v) => { opacity = v; recolour(); })),
      group(button("previous", "Previous episode (left arrow)", () => step(-1)), button("next", "Next episode (right arrow)", () => step(1))),
      group(h("button", { type: "button", onclick: () => model.send({ do: "open" }) }, "Open in PromptEditor"))),
    h("div", { class: "la-body" }, h("section", { class: "la-side", "aria-label": "Episodes" }, h("div", { class: "la-filters" }, choose("All classes", "cls", table.flatMap((e) => e.classes)), choose("All prompt kinds", "kind", table.map((e) => e.kind)),
      slider("IoU up to", 0, 1, 1, 0.05, (v) => { filter.most = v; list(); })), ui.count, ui.list),
      pane("Support and prompts", support, h("div", { class: "la-photos" }, strip)), pane("Query", target, ui.legend)),
    h("footer", {}, ui.status, h("span", { class: "la-about" }, "Arrow keys step through the episodes")));
  target.canvas.addEventListener("pointermove", hover);
  el.append(root, ui.below);

  const listeners = {
    "change:index": list,
    "change:episode": async () => {
      const next = model.get("episode"), many = (planes) => Promise.all(planes.map(inflate));
      const [truth, prediction, probabilities, attention] = await Promise.all([inflate(next.truth), inflate(next.prediction), many(next.probabilities), many(next.attention)]);
      if (next !== model.get("episode")) return;
      await scene.load(next.images);
      if (scene.images !== next.images) return;
      [episode, maps, img] = [next, { truth, prediction, probabilities, attention }, 0];
      const last = next.images.length - 1, show = (i) => {
        img = i;
        support.show(scene.bitmaps[i], scene.size(i));
        [...strip.children].forEach((thumb, k) => thumb.setAttribute("aria-pressed", String(k === i)));
      };
      strip.replaceChildren(...scene.urls.slice(0, last).map((src, i) => h("button", { type: "button", class: "la-thumb", "aria-label": `Support image ${i + 1}`, onclick: () => show(i) }, h("img", { src, alt: "" }))));
      ui.row.replaceChildren(...["background", ...next.classes].map((name, n) => h("option", { value: n, selected: n === row }, name)));
      if (last) show(0);
      target.show(scene.bitmaps[last], scene.size(last));
      recolour();
      root.dataset.episode = next.index;
    },
    "change:opened": async () => { // below the viewer, as a child view of the same kernel
      const id = model.get("opened")?.replace("IPY_MODEL_", "");
      const view = id && (await model.widget_manager.create_view(await model.widget_manager.get_model(id)));
      ui.below.replaceChildren(...(view ? [view.el] : []));
    },
  };
  list();
  listeners["change:episode"]();
  return connect(model, listeners, () => scene.free(support, target));
}

export default { render: ({ model, el }) => (model.get("view") === "viewer" ? viewer : editor)(model, el) };
