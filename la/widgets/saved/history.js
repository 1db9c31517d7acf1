// The state of an editor with its history: every change of images, classes or prompts is one step,
// goes to Python at once, and is kept in the browser until Python has saved it.

const SILENT = "The kernel does not answer: it is busy or was restarted. What you draw is kept; run the cell again to go on.";
const HISTORIES = (globalThis.laHistories ??= new Map()); // by file: undo goes on after a re-run of the cell
const STATE = ["images", "classes", "prompts", "query"];

// Of a thousand photographs only those that are new are sent: `added` follows `listed`.
const imagesOf = (model) => [...model.get("listed"), ...model.get("added")];

function asListed(model, images) {
  const listed = model.get("listed"), same = (image, i) => image.id === images[i]?.id && image.role === images[i].role;
  return listed.length && listed.every(same) ? { added: images.slice(listed.length) } : { listed: images, added: [] };
}

class History {
  constructor(model, shown, say) { // shown(before) draws the new state
    Object.assign(this, { model, shown, say, sending: false, timer: 0, file: model.get("file") });
    this.now = this.inPython();
    const earlier = HISTORIES.get(this.file) ?? { past: [], future: [], now: this.now };
    const same = JSON.stringify(earlier.now) === JSON.stringify(this.now), there = new Set(this.now.images.map((image) => image.id));
    const fits = earlier.now.images.every((image) => there.has(image.id)); // Python refuses photographs that it does not know
    this.past = same ? [...earlier.past] : fits ? [...earlier.past, earlier.now] : [];
    this.future = same ? [...earlier.future] : [];
  }

  remember() { if (this.file) HISTORIES.set(this.file, { past: this.past, future: this.future, now: this.now }); }

  inPython() {
    const { model } = this, [classes, prompts, query] = ["classes", "prompts", "query"].map((key) => model.get(key));
    return { images: imagesOf(model), classes, prompts, query };
  }

  send({ images, ...others }) {
    const { model } = this, seq = model.get("seq") + 1, photos = images ? asListed(model, images) : {};
    this.sending = true;
    for (const [key, value] of Object.entries({ ...photos, ...others, seq })) model.set(key, value);
    this.sending = false;
    keep(this.file, this.now);
    this.remember();
    clearTimeout(this.timer);
    this.timer = setTimeout(() => model.get("ack") < seq && this.say("error", SILENT), 3000);
    model.save_changes();
  }

  put(state) {
    const before = this.now;
    this.now = state.images === before.images ? { ...state, query: before.query } : state;
    this.send(this.now);
    this.shown(before);
  }

  edit(changes) {
    this.past.push(this.now);
    this.future = [];
    this.put({ ...this.now, ...changes });
  }

  undo() {
    if (!this.past.length) return;
    this.future.push(this.now);
    this.put(this.past.pop());
  }

  redo() {
    if (!this.future.length) return;
    this.past.push(this.now);
    this.put(this.future.pop());
  }

  choose(query) { // another query; no step, as nothing is changed
    this.now = { ...this.now, query };
    this.send({ query });
  }

  ask(what, buffers = []) {
    this.send({});
    this.model.send(what, undefined, buffers);
  }

  outside() { // images, classes or prompts set in Python are a step of the history too
    if (this.sending) return;
    const before = this.now, state = this.inPython();
    for (const key of STATE) if (JSON.stringify(state[key]) === JSON.stringify(before[key])) state[key] = before[key];
    if (STATE.every((key) => state[key] === before[key])) return;
    this.now = state;
    if (STATE.some((key) => key !== "query" && state[key] !== before[key])) {
      this.past.push(before);
      this.future = [];
    }
    this.remember();
    this.shown(before);
  }

  // What an earlier page or kernel did not save becomes a step of this history.
  takeUp() {
    const left = keptState(this.file, this.model.get("saved_before"), this.now.images);
    if (!left || JSON.stringify(left) === JSON.stringify(this.now)) return dropKept(this.file);
    this.edit(left);
    this.say("done", "Restored what the kernel had not saved; undo returns to the state before");
  }

  saved() { if (this.model.get("saved") >= this.model.get("seq")) dropKept(this.file); }
}
