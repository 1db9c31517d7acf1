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
