// The truth of a query, where it is known: its outline, and the IoU of what is predicted.

class Truth {
  constructor(model, changed) {
    Object.assign(this, { model, changed, map: null, edge: null });
    this.take();
  }

  async take() { // Python may know it only after the editor is displayed
    const truth = this.model.get("truth");
    if (!truth?.data) return;
    const map = { ...truth, ...(await inflate(truth)) }, { size: [w, h_], data } = map;
    this.map = map;
    this.edge = picture(this.map, (n, i) => {
      const x = i % w, y = (i - x) / w, border = n && n !== 255 &&
        ((x && data[i - 1] !== n) || (x < w - 1 && data[i + 1] !== n) || (y && data[i - w] !== n) || (y < h_ - 1 && data[i + w] !== n));
      return border ? rgba(255, 255, 255, 255) : 0;
    });
    this.changed();
  }

  paint(c, img, size) {
    if (this.edge && this.map.img === img) c.drawImage(this.edge, 0, 0, ...size);
  }

  // "dog 0.63, cat 0.12" for the labels that are shown on the image with this number.
  score(labels, img, classes) {
    const { map } = this;
    if (map?.img !== img || !labels || labels.data.length !== map.data.length) return "";
    const both = new Uint32Array(256), either = new Uint32Array(256);
    map.data.forEach((t, i) => {
      const n = labels.data[i];
      if (t === 255) return;
      either[t]++;
      if (n === t) both[t]++;
      else either[n]++;
    });
    const shown = classes.flatMap((name, k) => (either[k + 1] ? [`${name} ${(both[k + 1] / either[k + 1]).toFixed(2)}`] : []));
    return `IoU with the outlined truth: ${shown.join(", ")}`;
  }
}
