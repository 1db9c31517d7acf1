// PredictionViewer: evaluated episodes and their layers.

const MISTAKES = [["False positive", "#D55E00"], ["False negative", "#56B4E9"], ["Confused class", "#CC79A7"]];
const LAYERS = ["Truth", "Prediction", "Other method", "Errors", "Probability", "Attention", "Prototypes"];
const AFFINITY = "on the supports: looks like what was found in the query (feature affinity, not the decoder's own attention)";

function viewer(model, el) {
  const scene = new Scene(model.get("palette")), hidden = new Set(), table = model.get("table");
  const support = new Stage("Support image", paintSupport), target = new Stage("Query image", paintQuery);
  let episode = null, maps = {}, layer = "Errors", row = 1, opacity = 0.6, img = 0, tint = null;
  const filter = { cls: "", kind: "", mistake: "", most: 1, order: "" }, compared = table.some((row) => row.other != null);

  const apart = (i) => Math.abs(table[i].iou - table[i].other);
  function matches() {
    const fits = (i) => (!filter.cls || table[i].classes.includes(filter.cls)) && table[i].iou <= filter.most &&
      (!filter.kind || table[i].kind === filter.kind) && (!filter.mistake || table[i].mistake === filter.mistake);
    const found = [...table.keys()].filter(fits); // worst first
    return filter.order ? found.sort((a, b) => apart(b) - apart(a)) : found;
  }
  function go(i) {
    model.set("index", i);
    model.save_changes();
    list();
  }
  function step(by) {
    const found = matches(), at = found.indexOf(model.get("index"));
    if (found.length) go(found[Math.min(found.length - 1, Math.max(0, at + by))]);
  }
  const heat = (map) => map && picture(map, (v) => rgba(255, 255 - v * 0.8, Math.max(0, 160 - 2 * v), v * opacity));
  function recolour() {
    if (!episode) return;
    const { truth, prediction, other } = maps, kinds = MISTAKES.map(([, colour]) => rgba(...hex(colour), 255 * opacity));
    const wrong = (v, i) => { const t = truth.data[i]; return v === t || t === 255 ? 0 : kinds[!t ? 0 : !v ? 1 : 2]; };
    const rows = { size: truth.size, data: truth.data.map((v) => (v === 255 ? 0 : v)) };
    tint = layer === "Truth" ? tinted(rows, scene.palette, opacity, hidden) : layer === "Errors" ? picture(prediction, wrong)
      : layer === "Other method" ? other.length && tinted(other[0], scene.palette, opacity, hidden) : layer === "Probability" ? heat(maps.probabilities[row]) : tinted(prediction, scene.palette, opacity, hidden);
    for (const [name, el_] of Object.entries(ui.layers)) el_.setAttribute("aria-pressed", String(name === layer));
    const missing = { "Other method": other, Probability: maps.probabilities, Attention: maps.attention, Prototypes: episode.prototypes }[layer]?.length === 0;
    const alike = layer !== "Attention" || missing || maps.attention[img].data.some((v) => v);
    ui.status.textContent = missing ? `This episode was recorded without ${layer.toLowerCase()}.`
      : alike ? "" : "Nothing was found in the query that a support could look like.";
    const classes = episode.classes.map((name, k) => [name, scene.colour(k + 1), episode.ious[k] == null ? "absent" : `IoU ${episode.ious[k].toFixed(2)}`]);
    const plain = classes.map(([name, , value]) => [name, "", value]); // their colours mean other things in this layer
    ui.legend.replaceChildren(...(layer === "Errors" ? [...MISTAKES.map(([name, colour]) => [name, colour, ""]), ...plain]
      : layer === "Attention" ? [[AFFINITY, "#ff3300", ""], ...plain] : classes)
      .map(([name, colour, value]) => h("span", {}, colour && h("i", { style: `background:${colour}` }), `${name} `, h("b", {}, value))));
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
    ui.count.textContent = `${found.length} of ${table.length} episodes, ${filter.order ? "largest difference" : "worst"} first`;
    ui.list.replaceChildren(...found.map((i) => h("button", { type: "button", role: "option", title: table[i].classes.join(", "), "aria-selected": String(i === model.get("index")), onclick: () => go(i) },
      h("span", {}, table[i].name, h("small", {}, `${table[i].classes.join(", ")}${table[i].mistake && `; mostly ${table[i].mistake}`}`)),
      h("b", {}, table[i].iou.toFixed(2), table[i].other == null ? "" : h("small", {}, `other ${table[i].other.toFixed(2)}`)))));
    ui.list.querySelector("[aria-selected=true]")?.scrollIntoView({ block: "nearest" });
  }
  const choose = (label, key, values) => h("select", { "aria-label": label, onchange: (e) => { filter[key] = e.target.value; list(); } },
    h("option", { value: "" }, label), ...[...new Set(values)].sort().map((v) => h("option", { value: v }, v)));
  const strip = h("div", { class: "la-strip", role: "group", "aria-label": "Support images" });
  const ui = {
    layers: Object.fromEntries(LAYERS.filter((name) => compared || name !== "Other method").map((name) => [name, h("button", { type: "button", onclick: () => { layer = name; recolour(); } }, h("span", {}, name))])),
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
      choose("All mistakes", "mistake", table.map((e) => e.mistake).filter(Boolean)), compared ? choose("Worst first", "order", ["Largest difference first"]) : "",
      slider("IoU up to", 0, 1, 1, 0.05, (v) => { filter.most = v; list(); })), ui.count, ui.list),
      pane("Support and prompts", support, h("div", { class: "la-photos" }, strip)), pane("Query", target, ui.legend)),
    h("div", { class: "la-foot" }, ui.status, h("span", { class: "la-about" }, "Arrow keys step through the episodes")));
  target.canvas.addEventListener("pointermove", hover);
  el.append(root, ui.below);

  const listeners = {
    "change:index": list,
    "change:episode": async () => {
      const next = model.get("episode"), many = (planes) => Promise.all(planes.map(inflate));
      const [truth, prediction, other, probabilities, attention] = await Promise.all([inflate(next.truth), inflate(next.prediction), many(next.other), many(next.probabilities), many(next.attention)]);
      if (next !== model.get("episode")) return;
      await scene.load(next.images);
      if (scene.images !== next.images) return;
      [episode, maps, img] = [next, { truth, prediction, other, probabilities, attention }, 0];
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
