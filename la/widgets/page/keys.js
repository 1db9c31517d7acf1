// The keys of the editor: one table for the dispatch, the help sheet, and what Lab may not have.

const ARROWS = { arrowleft: [-1, 0], arrowright: [1, 0], arrowup: [0, -1], arrowdown: [0, 1] };
const KEYS = [ // group, action, chords, as the help sheet prints them, what they do
  ["Tools", "select", ["v"], "V", "Select: move a prompt, drag its handles"],
  ["Tools", "point", ["p"], "P", "Point; Alt-click or right-click: not here"],
  ["Tools", "negative", ["n"], "N", "Not here: a point that is not the class"],
  ["Tools", "box", ["r"], "R", "Box"],
  ["Tools", "brush", ["b"], "B", "Brush"],
  ["Tools", "eraser", ["e"], "E", "Eraser, for the active class"],
  ["Tools", "lasso", ["l"], "L", "Lasso: drag, or click corners and press Enter"],
  ["Tools", "smaller", ["["], "[", "Smaller brush"],
  ["Tools", "larger", ["]"], "]", "Larger brush"],
  ["Classes", "class", ["1", "2", "3", "4", "5", "6", "7", "8", "9"], "1 to 9", "Choose the class of this number"],
  ["Classes", "search", ["/"], "/", "Find a class by its name; Enter chooses it"],
  ["Classes", "fresh", ["t"], "T", "Name a new class"],
  ["Without a mouse", "step", Object.keys(ARROWS), "Arrow keys", "Move the crosshair"],
  ["Without a mouse", "leap", Object.keys(ARROWS).map((k) => `shift+${k}`), "Shift+arrows", "Move it in larger steps"],
  ["Without a mouse", "place", [" "], "Space", "Place a point or corner; begin and end a box, a stroke or a move"],
  ["Without a mouse", "enter", ["enter"], "Enter", "The same; closes a lasso"],
  ["Without a mouse", "other", ["q"], "Q", "Go to the other picture"],
  ["Prompts", "following", ["."], ".", "Select the next prompt"],
  ["Prompts", "remove", ["delete", "backspace"], "Del", "Delete the selected or last prompt"],
  ["Prompts", "cancel", ["escape"], "Esc", "Cancel what is being drawn"],
  ["Prompts", "undo", ["ctrl+z"], "Ctrl+Z", "Undo"],
  ["Prompts", "redo", ["ctrl+y", "ctrl+shift+z"], "Ctrl+Y", "Redo"],
  ["Photos", "go", ["pagedown", "pageup"], "Page Down, Up", "Next and previous photo to segment"],
  ["Photos", "accept", ["y"], "Y", "Accept the masks and go on"],
  ["Photos", "correct", ["c"], "C", "Make the prediction masks to edit"],
  ["Photos", "skip", ["s"], "S", "Skip this photo"],
  ["Photos", "example", ["u"], "U", "Use the prediction as an example"],
  ["Photos", "rank", ["o"], "O", "Sort the photos, least sure first"],
  ["View", "shade", ["g"], "G", "Fade what the model is less sure of"],
  ["View", "fit", ["f"], "F", "Fit both pictures; Space-drag or two fingers move them"],
  ["View", "closer", ["+", "="], "+", "Zoom in; also Ctrl+wheel and two fingers"],
  ["View", "further", ["-"], "-", "Zoom out"],
  ["View", "hide", ["h"], "H", "Hide and show everything drawn"],
  ["View", "whole", ["w"], "W", "Full screen"],
  ["View", "help", ["?"], "?", "This sheet"],
];

// "ctrl+shift+z", "shift+arrowleft", "?"; Shift is part of a printed sign, AltGr of none.
function chord(e) {
  const ctrl = (e.ctrlKey || e.metaKey) && !e.getModifierState?.("AltGraph"), key = e.key.toLowerCase();
  const shift = e.shiftKey && (key.length > 1 || /[a-z]/.test(key));
  return (ctrl ? "ctrl+" : "") + (shift ? "shift+" : "") + key;
}

const isField = (el) => /^(text|search|file)$/.test(el.type) || el.tagName === "SELECT";

// What a key means where it was pressed: [action, chord], or null if it is not the editor's.
function meaning(e) {
  const pressed = chord(e), entry = KEYS.find(([, , chords]) => chords.includes(pressed));
  if (!entry || isField(e.target) || (e.altKey && !e.getModifierState?.("AltGraph"))) return null;
  const range = e.target.type === "range", act = entry[1];
  if (range && /^(step|leap)$/.test(act)) return null; // a slider has its own arrows
  if (/^(BUTTON|SUMMARY)$/.test(e.target.tagName) && /^(place|enter)$/.test(act)) return null;
  return [act, pressed];
}

// Call the action of each key, and leave no other plain key to the notebook: there `d d` deletes
// a cell. Of Lab's shortcuts those with Ctrl that the editor does not use go on to work, as Ctrl+S.
function listenToKeys(root, actions) {
  const keydown = (e) => {
    const [act, pressed] = meaning(e) ?? [];
    if (!act) return;
    e.preventDefault();
    e.stopPropagation();
    actions[act](pressed);
  };
  const guard = (e) => {
    if (!root.contains(e.target)) return;
    const pressed = chord(e), used = KEYS.some(([, , chords]) => chords.includes(pressed));
    const forLab = pressed.startsWith("ctrl+") && !used && !pressed.endsWith("enter");
    for (let el = e.target; el !== root.parentElement; el = el.parentElement)
      if (forLab) el.removeAttribute("data-lm-suppress-shortcuts");
      else if (el === root || el === e.target) el.dataset.lmSuppressShortcuts = "true";
  };
  root.addEventListener("keydown", keydown);
  window.addEventListener("keydown", guard, true); // Lab listens on the document
  return () => window.removeEventListener("keydown", guard, true);
}

function helpSheet(root) {
  const close = button("remove", "Close the help", () => sheet.close());
  const tables = [...Map.groupBy(KEYS, ([group]) => group)].map(([group, keys]) =>
    h("section", {}, h("h3", {}, group), h("dl", {}, ...keys.flatMap(([, , , print, text]) =>
      [h("dt", {}, h("kbd", {}, print)), h("dd", {}, text)]))));
  const sheet = h("dialog", { class: "la-help", "aria-label": "Keys of the editor" },
    h("header", {}, h("b", {}, "Keys"), close), h("div", {}, ...tables));
  sheet.addEventListener("keydown", (e) => {
    e.stopPropagation();
    if (chord(e) === "?") sheet.close();
  });
  sheet.addEventListener("close", () => root().focus({ preventScroll: true }));
  return sheet;
}
