// Buttons, sliders and panes that a keyboard and a screen reader can use; and the wire to Python.
// Text from outside (class names, file names, messages) only ever becomes text nodes.

const ICONS = {
  select: "M4 2l9 6-4 1 2 4-2 1-2-4-3 3z", point: "M8 3v10M3 8h10", negative: "M3 8h10", box: "M2.5 3.5h11v9h-11z",
  brush: "M13 3L7 9M7 9c-2-1-4 1-3 4 3 1 5-1 3-4z", eraser: "M6 13l-3-3 7-7 4 4-6 6zM6 6l4 4M6 13h8",
  lasso: "M8 3c4 0 6 2 6 4s-3 4-6 4-6-2-6-4 2-4 6-4zM5 11c-1 1 0 3-2 3", undo: "M6 3L3 6l3 3M3 6h7a3 3 0 010 6H7",
  redo: "M10 3l3 3-3 3M13 6H6a3 3 0 000 6h3", remove: "M4 4l8 8M12 4l-8 8", clear: "M3 4h10M6 4V2h4v2M4 4l1 10h6l1-10",
  eye: "M1 8c3-6 11-6 14 0-3 6-11 6-14 0zM8 6.5a1.5 1.5 0 100 3 1.5 1.5 0 000-3", rename: "M3 13l1-4 7-7 3 3-7 7z",
  whole: "M2 6V2h4M10 2h4v4M14 10v4h-4M6 14H2v-4", fit: "M3 6h10v5H3zM1 3h2M1 13h2M13 3h2M13 13h2",
  shade: "M8 2a6 6 0 100 12zM8 2a6 6 0 010 12", help: "M5.5 6a2.5 2.5 0 115 0c0 2-2.5 2-2.5 4M8 12.5v.5", add: "M8 3v10M3 8h10", previous: "M10 3L5 8l5 5", next: "M6 3l5 5-5 5",
};

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
  h("header", {}, h("b", {}, title), stage.extra ?? "", stage.zoom), h("div", { class: "la-stage" }, stage.canvas, ...over), below);
const statusLine = () => h("span", { class: "la-status", role: "status", "aria-live": "polite" });
// Redraw controls without losing the keyboard: keys of a lost focus would go to the notebook.
function keepFocus(root, redraw) {
  const before = document.activeElement, label = root.contains(before) && before.getAttribute("aria-label");
  redraw();
  if (label === false || root.contains(before)) return;
  const again = [...root.querySelectorAll("[aria-label]")].find((e) => e.getAttribute("aria-label") === label);
  (again ?? root).focus({ preventScroll: true });
}

// Listen to Python; what this gives is called when the view closes.
function connect(model, listeners, close) {
  for (const [event, listener] of Object.entries(listeners)) model.on(event, listener);
  return () => {
    for (const [event, listener] of Object.entries(listeners)) model.off(event, listener);
    close();
  };
}
