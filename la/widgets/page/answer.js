// What the model says of the query: labels, how sure it is, a threshold that is moved here without
// a call of the model, and a preview of what a point under the pointer would change.

const LOGIT = 16; // steps of a byte in one logit, as la.widgets.scores packs them
const FAST = 300; // ms of a prediction up to which a preview is worth asking for
const REST = 80; // ms that the pointer rests before a preview is asked for

class Answer {
  constructor(model, changed, ask) {
    Object.assign(this, { model, changed, ask, map: null, preview: null, shaded: false, wanted: null, waiting: false, timer: 0 });
    this.slider = slider("Threshold", -6, 6, this.threshold, 0.1, (v) => this.move(v));
    this.slider.title = "How much higher a class has to score than background; no call of the model";
    this.shade = button("shade", "Fade what the model is less sure of (G)", () => this.toggle(), { "aria-pressed": "false" });
    this.readout = h("span", { class: "la-readout" });
  }

  get threshold() { return this.model.get("threshold") ?? 0; }

  move(value) {
    this.model.set("threshold", value);
    clearTimeout(this.saving);
    this.saving = setTimeout(() => this.model.save_changes(), 200); // masks are exported with it
    this.changed();
  }

  toggle() {
    this.shaded = !this.shaded;
    this.shade.setAttribute("aria-pressed", String(this.shaded));
    this.changed();
  }

  async take() {
    const overlay = this.model.get("overlay"), names = ["best", "lead", "next"].filter((name) => overlay[name]);
    const planes = overlay.data ? await Promise.all([overlay, ...names.map((name) => overlay[name])].map(inflate)) : [];
    if (overlay !== this.model.get("overlay")) return; // a newer one came meanwhile
    this.map = planes.length ? { ...overlay, ...planes[0], ...Object.fromEntries(names.map((name, k) => [name, planes[k + 1]])) } : null;
    this.preview = null;
    this.changed();
  }

  // The label map to show on an image, or null: the preview, or what the threshold leaves.
  labels(img) {
    if (this.preview?.img === img) return this.preview;
    const { map, threshold } = this;
    if (map?.img !== img) return null;
    if (!threshold || !map.lead) return map;
    const [w, h_] = map.size, lead = this.leads(), best = (x, y) => map.best.data[nearest(map.best, map.size, x, y)];
    const data = map.data.map((n, i) => (lead[i] <= threshold ? 0 : best(i % w, Math.floor(i / w))));
    return { ...map, data };
  }

  leads() { // of the best class over background, in logits, at the size of the label map
    return (this.map.leads ??= enlarged(this.map.lead, this.map.size).map((v) => (v - 128) / LOGIT));
  }

  // The probability of the chosen label against the next one, at a pixel of the label map.
  sure(i) {
    const { map } = this, [w] = map.size, lead = this.leads()[i] - this.threshold;
    const next = map.next.data[nearest(map.next, map.size, i % w, Math.floor(i / w))] / LOGIT;
    return 1 / (1 + Math.exp(-(lead > 0 ? Math.min(lead, next) : -lead)));
  }

  get shading() { return this.shaded && this.map?.lead && !this.preview ? (i) => 2 * this.sure(i) - 1 : null; }

  // What lies under the pointer on the query, in words.
  read(xy, [width, height], classes) {
    const { map } = this;
    if (!xy || !map?.lead) return (this.readout.textContent = "");
    const [w, h_] = map.size, x = Math.min(w - 1, Math.floor((xy[0] / width) * w)), y = Math.min(h_ - 1, Math.floor((xy[1] / height) * h_));
    const i = y * w + x, n = this.labels(map.img).data[i];
    this.readout.textContent = `${n ? classes[n - 1] : "background"}, ${Math.round(100 * this.sure(i))} % sure`;
    return i;
  }

  // --- preview: one question at a time, and only the newest
  hover(prompt) {
    clearTimeout(this.timer);
    this.wanted = prompt;
    if (!prompt && this.preview) {
      this.preview = null;
      this.changed();
    }
    if (prompt && this.map?.ms <= FAST) this.timer = setTimeout(() => this.request(), REST);
  }

  request() {
    if (this.waiting || !this.wanted) return;
    this.waiting = true;
    this.ask({ do: "preview", prompt: this.wanted });
  }

  async answered({ img, prompt, size }, [data]) {
    const preview = size ? { img, ...(await inflate({ size, data })) } : null;
    this.waiting = false;
    if (!this.wanted) return;
    if (JSON.stringify(prompt) !== JSON.stringify(this.wanted)) return this.request();
    this.preview = preview;
    this.changed();
  }
}

const nearest = ({ size: [w, h_] }, [width, height], x, y) => Math.floor((y * h_) / height) * w + Math.floor((x * w) / width);

// A map of bytes at another size, bilinear between the centres of its pixels.
function enlarged({ size: [w, h_], data }, [width, height]) {
  const out = new Float32Array(width * height);
  const place = (i, n, to) => {
    const at = clamp(((i + 0.5) * n) / to - 0.5, 0, n - 1), low = Math.min(n - 1, Math.floor(at));
    return [low, Math.min(n - 1, low + 1), at - low];
  };
  const columns = Array.from({ length: width }, (_, x) => place(x, w, width));
  for (let y = 0; y < height; y++) {
    const [top, bottom, v] = place(y, h_, height);
    for (let x = 0; x < width; x++) {
      const [left, right, u] = columns[x];
      const above = data[top * w + left] * (1 - u) + data[top * w + right] * u;
      const below = data[bottom * w + left] * (1 - u) + data[bottom * w + right] * u;
      out[y * width + x] = above * (1 - v) + below * v;
    }
  }
  return out;
}
