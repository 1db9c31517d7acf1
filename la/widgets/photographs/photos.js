// The pixels of photographs: asked for when they are displayed, and kept while there is room.

const FULL = 1024, THUMB = 128; // long sides; a thumbnail is 64 pixels wide, and some screens have two in each
const MOST = 24; // pictures at full size that stay in memory
const PATIENCE = 4000, MOST_PATIENCE = 60000; // ms until the page asks again, twice as long each time
const PIECE = 4e6; // bytes of a photo in one message: a server takes at most 10 MB
const ITEM = 74, SEEN = 36; // width of a thumbnail with its gap; how many are drawn at once

class Album {
  constructor(ask, arrived) {
    Object.assign(this, { ask, arrived, bitmaps: new Map(), urls: new Map(), broken: new Map(), asked: new Set(), timer: 0 });
  }

  has(id, side) { return this.broken.has(id) || (side === FULL ? this.bitmaps : this.urls).has(id); }

  want(list) { // [[id, side], ...] in order of need; takes the place of what was wanted before
    const missing = list.filter(([id, side]) => !this.has(id, side)), keys = missing.map((item) => item.join());
    const before = missing.filter((item) => this.asked.has(item.join()));
    if (before.length === missing.length) return;
    this.asked = new Set(keys);
    this.request(missing, before, PATIENCE);
  }

  request(wanted, before, patience) { // `before`: those that are on their way already
    clearTimeout(this.timer);
    this.ask({ do: "pixels", wanted, before });
    const again = () => { // a kernel that was busy or that restarts may lose a message
      const missing = wanted.filter(([id, side]) => !this.has(id, side));
      if (missing.length) this.request(missing, [], Math.min(2 * patience, MOST_PATIENCE));
    };
    this.timer = setTimeout(again, patience);
  }

  async take({ id, side, error }, [jpeg]) {
    if (error) this.broken.set(id, error);
    else if (side === THUMB && !this.urls.has(id)) this.urls.set(id, URL.createObjectURL(new Blob([bytes(jpeg)], { type: "image/jpeg" })));
    else if (side === FULL) {
      const bitmap = await createImageBitmap(new Blob([bytes(jpeg)], { type: "image/jpeg" }));
      this.bitmaps.get(id)?.close();
      this.bitmaps.set(id, bitmap);
    }
    this.asked.delete(`${id},${side}`); // only now, so that it is not asked for while it is decoded
    this.arrived();
  }

  bitmap(id) { // one that is displayed becomes the newest
    const bitmap = this.bitmaps.get(id);
    if (!bitmap) return undefined;
    this.bitmaps.delete(id);
    this.bitmaps.set(id, bitmap);
    for (const [old, oldest] of this.bitmaps) {
      if (this.bitmaps.size <= MOST) break;
      oldest.close();
      this.bitmaps.delete(old);
    }
    return bitmap;
  }

  free() {
    clearTimeout(this.timer);
    this.urls.forEach((url) => URL.revokeObjectURL(url));
    this.bitmaps.forEach((bitmap) => bitmap.close());
    this.urls.clear();
    this.bitmaps.clear();
  }
}

// The part of a strip that is in sight, so that a thousand photographs cost no more than a few.
function inSight(strip, numbers) {
  if (numbers.length <= SEEN) return { seen: numbers, before: 0, after: 0 };
  const start = clamp(Math.floor(strip.scrollLeft / ITEM) - SEEN / 6, 0, numbers.length - SEEN);
  return { seen: numbers.slice(start, start + SEEN), before: start, after: numbers.length - start - SEEN };
}

// Of these, those whose pixels are sent: what can be seen, and two more on each side.
function needed(strip, numbers) {
  if (numbers.length <= SEEN) return numbers;
  const first = Math.floor(strip.scrollLeft / ITEM), last = Math.ceil((strip.scrollLeft + strip.clientWidth) / ITEM);
  return numbers.slice(Math.max(0, first - 2), Math.max(last, first + 6) + 2);
}

const gap = (items) => (items ? [h("span", { class: "la-gap", style: `width:${items * ITEM}px` })] : []);

function thumbnail({ images, prompts }, i, chosen, album, scene, choose, remove) {
  const { id, role, file_name } = images[i], mine = prompts.filter((p) => p.img === i), url = album.urls.get(id);
  const dots = [...new Set(mine.map((p) => p.cls))].sort().map((n) => h("i", { style: `background:${scene.colour(n)}` }));
  const label = `${role} ${file_name}` + (role === "support" ? `, ${mine.length} prompt${mine.length === 1 ? "" : "s"}` : ""), broken = album.broken.get(id);
  const what = h("button", { type: "button", class: "la-thumb", title: broken ?? label, "aria-label": label, "aria-pressed": String(chosen), onclick: choose },
    url ? h("img", { src: url, alt: "" }) : "", h("span", {}, ...dots));
  return h("span", { class: "la-item" }, what, button("remove", `Remove ${role} ${file_name}`, remove, { title: "Remove this photo and its prompts" }));
}

// Files that are dropped on the editor or pasted into it; the pane tells what they are for.
function takeFiles(root, roleAt, addFiles) {
  root.addEventListener("dragover", (e) => e.preventDefault());
  const take = (e, data) => {
    if (!data?.files.length) return;
    e.preventDefault();
    e.stopPropagation();
    addFiles([...data.files], roleAt(e));
  };
  root.addEventListener("drop", (e) => take(e, e.dataTransfer));
  root.addEventListener("paste", (e) => take(e, e.clipboardData));
}

// A photograph's file on its way to Python.
async function sendFile(file, role, ask, say) {
  for (let at = 0, last = false; !last; at += PIECE) {
    say("busy", `Sending ${file.name}`);
    const piece = await file.slice(at, at + PIECE).arrayBuffer();
    last = at + PIECE >= file.size;
    ask({ do: "add", role, name: file.name, last }, [piece]);
  }
}

// The height of the tallest photograph as a multiple of its width.
const tallest = (images) => (images.length ? Math.max(...images.map((image) => image.height / image.width)) : 1);

// A state without some of its images: their prompts go, and the other images are renumbered.
function without(state, gone) {
  const kept = state.images.map((_, i) => i).filter((i) => !gone(state.images[i], i)), number = new Map(kept.map((i, k) => [i, k]));
  const prompts = state.prompts.filter((p) => number.has(p.img)).map((p) => ({ ...p, img: number.get(p.img) }));
  return { ...state, images: kept.map((i) => state.images[i]), prompts, query: number.get(state.query) ?? -1 };
}
