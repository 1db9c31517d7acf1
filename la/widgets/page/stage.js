// A canvas with one image, zoomed and moved by wheel, keys, mouse or two fingers.
// Everything is in original pixels.
class Stage {
  constructor(label, paint) {
    this.canvas = h("canvas", { class: "la-canvas", role: "img", tabindex: 0, "aria-label": label,
      "data-jp-suppress-context-menu": true });
    Object.assign(this, { label, paint, image: null, size: [1, 1], view: null, panning: null });
    Object.assign(this, { fingers: new Map(), pinch: null });
    this.zoom = h("select", { "aria-label": `Zoom of ${label}`, title: "Zoom (Ctrl+wheel, + and -); Space-drag moves",
      onchange: (e) => { this.scaleTo(+e.target.value); this.canvas.focus(); } });
    for (const z of [0, 0.5, 1, 2, 3, 4, 8]) this.zoom.append(h("option", { value: z }, z ? `${z * 100} %` : "Fit"));
    this.zoom.append(h("option", { value: -1, hidden: true }, "Free"));
    this.canvas.addEventListener("wheel", (e) => {
      if (!e.ctrlKey) return; // a plain wheel scrolls the page
      e.preventDefault();
      this.scaleTo(this.now().scale * Math.exp(-e.deltaY / 300), [e.offsetX, e.offsetY]);
    }, { passive: false });
    this.canvas.addEventListener("contextmenu", (e) => e.preventDefault());
    // Otherwise a browser takes a fast stroke for a fling and swallows the next tap, on any button.
    this.canvas.addEventListener("touchstart", (e) => e.preventDefault(), { passive: false });
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

  // Zoom so that what is at `from` of the canvas comes to lie at `to`; scale 0 fits the image.
  scaleTo(scale, from = [this.canvas.clientWidth / 2, this.canvas.clientHeight / 2], to = from) {
    const { scale: old, x, y } = this.now(), next = clamp(scale, 0.02, 64);
    const move = (i, origin) => Math.round(to[i] - ((from[i] - origin) / old) * next);
    this.view = scale ? { scale: next, x: move(0, x), y: move(1, y) } : null;
    this.draw();
  }

  // Move the image so that a place on it is inside the canvas.
  reveal([px, py]) {
    const { scale, x, y } = this.now(), margin = 12;
    const at = [x + px * scale, y + py * scale], room = [this.canvas.clientWidth, this.canvas.clientHeight];
    const by = at.map((v, i) => clamp(v, margin, room[i] - margin) - v);
    if (by.some((v) => v)) this.view = { scale, x: x + by[0], y: y + by[1] };
  }

  at(e) { // original pixels, clamped to the image: a release outside keeps its prompt
    const box = this.canvas.getBoundingClientRect(), { scale, x, y } = this.now();
    const xy = [(e.clientX - box.left - x) / scale, (e.clientY - box.top - y) / scale];
    return xy.map((v, i) => round(clamp(v, 0, this.size[i])));
  }

  pan(e) { // follows the pointer while it is down
    const { scale, x, y } = this.now();
    this.panning = { scale, x: x - e.clientX, y: y - e.clientY };
  }

  panTo(e) {
    this.view = { scale: this.panning.scale, x: this.panning.x + e.clientX, y: this.panning.y + e.clientY };
    this.draw();
  }

  // Two fingers zoom and move; true as long as a finger of theirs is down.
  gesture(e) {
    if (e.pointerType !== "touch") return false;
    const box = this.canvas.getBoundingClientRect();
    if (/up|cancel/.test(e.type)) this.fingers.delete(e.pointerId);
    else if (e.type === "pointerdown" || this.fingers.has(e.pointerId))
      this.fingers.set(e.pointerId, [e.clientX - box.left, e.clientY - box.top]);
    const pinching = this.pinch !== null;
    if (this.fingers.size === 2) {
      const [a, b] = this.fingers.values(), centre = [(a[0] + b[0]) / 2, (a[1] + b[1]) / 2];
      const apart = Math.max(1, near(a, b)), last = this.pinch?.apart ? this.pinch : { centre, apart };
      this.scaleTo(this.now().scale * (apart / last.apart), last.centre, centre);
      this.pinch = { centre, apart };
    } else if (!this.fingers.size) this.pinch = null;
    else if (this.pinch) this.pinch = {}; // the finger that is left draws nothing
    return pinching || this.pinch !== null;
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
