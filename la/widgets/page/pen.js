// Drawing on one stage with mouse, finger, stylus or keyboard: press, drag and release at places
// of the image. `desk` holds what the person has chosen; `host` keeps the prompts.
class Pen {
  constructor(stage, scene, desk, host) {
    Object.assign(this, { stage, scene, desk, host });
    Object.assign(this, { draft: null, held: null, crosshair: null, brushAt: null, stylus: false });
    for (const type of ["pointerdown", "pointermove", "pointerup", "pointercancel", "pointerleave"])
      stage.canvas.addEventListener(type, (e) => this.pointer(e));
    stage.canvas.addEventListener("dblclick", () => this.draft?.type === "lasso" && this.commit());
  }

  get px() { return 1 / this.stage.now().scale; } // of the image in one pixel of the screen

  get img() { return this.host.image(); }

  get shown() { // the prompts that can be picked
    return this.host.prompts().filter((p) => p.img === this.img && !this.desk.hidden.has(p.cls));
  }

  // --- pointers
  pointer(e) {
    const { stage, desk } = this;
    if (stage.gesture(e)) return this.draft && this.cancel();
    if (e.type === "pointerdown") {
      stage.canvas.setPointerCapture(e.pointerId);
      stage.canvas.focus({ preventScroll: true });
      this.crosshair = null;
      this.stylus ||= e.pointerType === "pen";
      const palm = this.stylus && e.pointerType === "touch"; // beside a stylus a finger moves the image
      if (e.button === 1 || desk.space || palm) return stage.pan(e);
      const reach = (e.pointerType === "touch" ? 20 : 9) * this.px;
      this.press(stage.at(e), { negative: e.altKey || e.button === 2, erase: e.button === 5, reach });
    } else if (stage.panning) {
      if (e.type === "pointermove") stage.panTo(e);
      else stage.panning = null;
    } else if (e.type === "pointermove") {
      const events = e.getCoalescedEvents?.() ?? [];
      for (const event of events.length ? events : [e]) this.drag(stage.at(event));
      this.brushAt = stage.at(e);
      if (this.draft || this.held || /brush|eraser/.test(desk.tool)) stage.draw();
      this.host.hover(this.draft ? null : this.brushAt);
    } else if (e.type === "pointerup") this.release();
    else if (e.type === "pointercancel") this.cancel();
    else {
      this.brushAt = null;
      this.host.hover(null);
      stage.draw();
    }
  }

  // --- what pointers and keys have in common; right-click and the keyboard's Alt mean "not this"
  press(xy, { negative = false, erase = false, reach = 9 * this.px } = {}) {
    const { desk, host, img } = this, classes = host.classes();
    if (img < 0) return;
    if (!classes.length) return host.say("error", "Add a class first.");
    if (desk.hidden.delete(desk.cls)) host.refresh();
    const tool = erase ? "eraser" : negative ? "negative" : desk.tool;
    const prompt = { img, cls: desk.cls, type: tool, pts: [xy] };
    if (tool === "point" || tool === "negative") this.draft = { ...prompt, type: "point", label: tool === "point" ? 1 : -1 };
    else if (tool === "box") this.draft = prompt;
    else if (tool === "select") this.grab(xy, reach);
    else if (tool === "lasso") this.corner(prompt, xy, reach);
    else if (tool === "eraser" && !host.prompts().some((p) => p.img === img && p.cls === desk.cls && isArea(p)))
      host.say("idle", `Nothing of ${classes[desk.cls - 1]} is painted here; pick the class to rub out.`);
    else {
      this.draft = { ...prompt, type: "brush", r: desk.radius, erase: tool === "eraser" };
      this.dab(this.draft);
    }
    this.stage.draw();
  }

  drag(xy) {
    const { draft, held } = this, last = draft?.pts.at(-1);
    if (held) this.pull(xy);
    else if (!draft) return;
    else if (draft.type === "point") draft.pts = [xy];
    else if (draft.type === "box") draft.pts[1] = xy;
    else if (draft.type === "brush") {
      if (!near(xy, last)) return;
      draft.pts.push(xy);
      this.dab({ ...draft, pts: [last, xy] });
    } else if (draft.down && near(xy, last) > 2 * this.px) draft.dragged = draft.pts.push(xy);
    else draft.tip = xy; // of the line that follows the pointer to the next corner
  }

  release() {
    const { draft, held } = this;
    if (held) {
      this.held = null;
      const next = held.next?.type === "box" ? tidyBox(held.next) : held.next;
      if (next) this.host.replace(held.prompt, next);
    } else if (draft?.type === "lasso") {
      draft.down = false;
      if (draft.dragged) this.commit(); // clicks go on as corners
    } else if (draft) this.commit();
    this.stage.draw();
  }

  corner(prompt, xy, reach) {
    if (!this.draft) this.draft = { ...prompt, erase: false };
    else if (this.draft.pts.length > 2 && near(xy, this.draft.pts[0]) < reach) return this.commit();
    else this.draft.pts.push(xy);
    this.draft.down = true;
  }

  // Hold a handle of the selected prompt, or else the prompt that lies here.
  grab(xy, reach) {
    const { desk, host } = this, size = this.scene.size(this.img);
    const selected = desk.selected?.img === this.img ? desk.selected : null;
    const points = selected ? handles(selected, 10 * this.px) : [];
    const handle = points.filter((point) => near(point, xy) < reach)
      .sort((a, b) => near(a, xy) - near(b, xy))[0];
    const above = pick(this.shown.filter((p) => p.type === "point"), xy, reach, size);
    const prompt = handle && !above ? selected : pick(this.shown, xy, reach, size);
    desk.selected = prompt;
    this.held = prompt && { prompt, from: xy, change: above ? null : handle?.[2], next: null };
    host.refresh();
  }

  pull(xy) {
    const { prompt, from, change, next } = this.held;
    if (!next && near(xy, from) < 3 * this.px) return; // a click that trembles moves nothing
    const by = [xy[0] - from[0], xy[1] - from[1]];
    const moved = change ? { ...prompt, pts: change(prompt.pts, xy) } : shifted(prompt, by, this.scene.size(this.img));
    this.held.next = this.desk.selected = moved;
  }

  // A stroke is painted on the layer of its class while it is drawn.
  dab(p) {
    const layer = this.scene.layer(this.img, p.cls, this.host.prompts());
    paintMask(layer.canvas.getContext("2d"), p, this.scene.colour(p.cls), this.scene.size(this.img));
  }

  forget() { // drops the live stroke; the layer is painted again from the prompts
    if (this.draft) this.scene.layers.delete(`${this.draft.img}/${this.draft.cls}`);
    this.draft = null;
  }

  commit() {
    const { down, dragged, tip, ...drawn } = this.draft, { host } = this;
    this.forget();
    const prompt = drawn.type === "box" ? tidyBox(drawn) : drawn;
    if (!prompt) host.say("idle", "Drag from corner to corner to draw a box.");
    else if (prompt.type === "lasso" && prompt.pts.length < 3) host.say("idle", "A lasso needs three corners.");
    else return host.add(prompt);
    this.stage.draw();
  }

  cancel() {
    if (this.held) this.desk.selected = this.held.prompt;
    else if (!this.draft) this.desk.selected = null;
    this.forget();
    this.held = null;
    this.host.refresh();
  }

  // --- the keyboard: a crosshair in place of the pointer, Space in place of its button
  step(dx, dy) {
    const [w, h_] = this.stage.size, unit = Math.max(1, Math.round(5 * this.px));
    const [x, y] = this.crosshair ?? [Math.round(w / 2), Math.round(h_ / 2)];
    this.crosshair = [clamp(x + dx * unit, 0, w), clamp(y + dy * unit, 0, h_)];
    this.drag(this.crosshair);
    this.stage.reveal(this.crosshair);
    this.stage.draw();
    this.host.hover(this.draft ? null : this.crosshair);
  }

  place() {
    if (!this.crosshair) return this.step(0, 0);
    const drawing = this.held || (this.draft && this.draft.type !== "lasso");
    if (drawing) this.release();
    else {
      this.press(this.crosshair);
      if (/point|negative|lasso/.test(this.desk.tool)) this.release();
    }
  }

  enter() {
    if (this.draft?.type === "lasso") this.commit();
    else this.place();
  }

  // --- what is shown above the prompts
  paint(c, scale) {
    const { draft, desk, crosshair } = this;
    if (draft?.type === "box" || draft?.type === "point") this.scene.mark(c, draft, scale);
    if (draft?.type === "lasso") this.scene.mark(c, { ...draft, pts: [...draft.pts, draft.tip ?? draft.pts[0]] }, scale, true);
    const at = crosshair ?? this.brushAt;
    if (at && /brush|eraser/.test(desk.tool)) {
      c.beginPath(); // the brush where it would paint
      c.arc(...at, desk.radius, 0, 7);
      twice(c, scale);
    }
    if (crosshair) {
      const [x, y] = crosshair, arm = 14 / scale, gap = 3 / scale;
      c.beginPath();
      for (const [dx, dy] of [[1, 0], [-1, 0], [0, 1], [0, -1]]) {
        c.moveTo(x + dx * gap, y + dy * gap);
        c.lineTo(x + dx * arm, y + dy * arm);
      }
      twice(c, scale);
    }
  }
}

// A line that is visible on dark and on light images.
function twice(c, scale) {
  for (const [width, style] of [[3, "rgba(0,0,0,.6)"], [1.2, "#fff"]]) {
    Object.assign(c, { lineWidth: width / scale, strokeStyle: style });
    c.stroke();
  }
}
