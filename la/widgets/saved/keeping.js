// What the kernel has not saved yet is kept in the browser, and given to the next editor of the cell.

const KEPT = "label-anything drawing of ";
const SLACK = 5; // seconds by which a state may be older than the file and still be the newer one

function keep(file, state) {
  if (file) tryTo(() => localStorage.setItem(KEPT + file, JSON.stringify({ ...state, at: Date.now() / 1000 })));
}

const dropKept = (file) => tryTo(() => localStorage.removeItem(KEPT + file));

// The state that was not saved, or null; photographs that the editor lacks are left out.
function keptState(file, savedBefore, images) {
  const text = file && tryTo(() => localStorage.getItem(KEPT + file));
  if (!text) return null;
  const { at, ...state } = JSON.parse(text), there = new Set(images.map((image) => image.id));
  return at > savedBefore - SLACK ? without(state, (image) => !there.has(image.id)) : null;
}

function tryTo(work) { // a page may have no storage, or a full one
  try { return work(); } catch { return null; }
}

// Files that no kernel has confirmed; every editor of this page shares the list.
const unsent = (file) => ((globalThis.laUnsent ??= new Map()).has(file) || globalThis.laUnsent.set(file, []), globalThis.laUnsent.get(file));

function received(waiting, name) { // Python displays the file, perhaps as "another NAME"
  const at = waiting.findIndex((sent) => name.endsWith(sent.file.name));
  if (at >= 0) waiting.splice(at, 1);
}
