// What editor and viewer share: images as bitmaps, mask layers per class, prompts as marks.
class Scene {
  constructor(palette) {
    Object.assign(this, { palette, images: [], bitmaps: [], urls: [], layers: new Map() });
  }

  colour(n) { return this.palette[(n - 1) % this.palette.length]; }

  async load(images) { // the old ones are shown until the new ones are there
    const blobs = images.map(({ jpeg }) => new Blob([bytes(jpeg)], { type: "image/jpeg" }));
    this.wanted = images;
    const bitmaps = await Promise.all(blobs.map((blob) => createImageBitmap(blob)));
    if (this.wanted !== images) return bitmaps.forEach((bitmap) => bitmap.close());
    this.free();
    Object.assign(this, { images, bitmaps, urls: blobs.map((blob) => URL.createObjectURL(blob)) });
  }

  free(...stages) {
    stages.forEach((stage) => stage.observer.disconnect());
    this.urls.forEach((url) => URL.revokeObjectURL(url));
    this.bitmaps.forEach((bitmap) => bitmap?.close());
    Object.assign(this, { images: [], bitmaps: [], urls: [], wanted: null });
    this.layers.clear();
  }

  size(img) { return [this.images[img].width, this.images[img].height]; }

  layer(img, cls, prompts) { // new prompts are painted on top; after any other change all are painted again
    const list = prompts.filter((p) => p.img === img && p.cls === cls && isArea(p));
    const key = `${img}/${cls}`, [w, h_] = this.size(img), shrink = Math.min(1, 1024 / Math.max(w, h_));
    const [width, height] = [w, h_].map((side) => Math.max(1, Math.round(side * shrink))); // as the browser's pictures
    let found = this.layers.get(key);
    if (!found || found.list.length > list.length || found.list.some((p, i) => p !== list[i])) {
      found = { list: [], canvas: surface(width, height) };
      found.canvas.getContext("2d").scale(width / w, height / h_);
      this.layers.set(key, found);
    }
    const c = found.canvas.getContext("2d");
    if (list.length === found.list.length) return found;
    for (const p of list.slice(found.list.length)) paintMask(c, p, this.colour(cls), [w, h_]);
    const ring = surface(width, height), r = ring.getContext("2d");
    for (const [dx, dy] of [[-1, 0], [1, 0], [0, -1], [0, 1]]) r.drawImage(found.canvas, dx, dy);
    r.globalCompositeOperation = "destination-out";
    r.drawImage(found.canvas, 0, 0);
    r.globalCompositeOperation = "source-in";
    r.fillRect(0, 0, width, height);
    return Object.assign(found, { list, ring });
  }

  paint(c, scale, { img, prompts, n, hidden, opacity, selected }) {
    this.numbered = n > 8; // too many to be distinguished by colour alone
    for (let cls = 1; cls <= n; cls++) {
      const { canvas, ring } = hidden.has(cls) ? {} : this.layer(img, cls, prompts);
      c.globalAlpha = opacity;
      if (canvas) c.drawImage(canvas, 0, 0, ...this.size(img));
      c.globalAlpha = Math.min(1, 2 * opacity);
      if (ring) c.drawImage(ring, 0, 0, ...this.size(img));
    }
    c.globalAlpha = 1;
    const shown = prompts.filter((p) => p.img === img && !hidden.has(p.cls));
    for (const p of shown.filter((p) => p.type !== "point")) this.mark(c, p, scale, p === selected);
    for (const p of shown.filter((p) => p.type === "point")) this.mark(c, p, scale, p === selected);
    if (shown.includes(selected)) this.markHandles(c, selected, scale);
  }

  markHandles(c, p, scale) {
    const side = 8 / scale;
    Object.assign(c, { fillStyle: "#fff", strokeStyle: "#000", lineWidth: 1.5 / scale });
    for (const [x, y] of handles(p, 10 / scale)) {
      c.beginPath();
      c.rect(x - side / 2, y - side / 2, side, side);
      c.fill();
      c.stroke();
    }
  }

  number(c, p, x, y, scale) {
    Object.assign(c, { font: `700 ${11 / scale}px system-ui, sans-serif`, lineWidth: 3 / scale, lineJoin: "round" });
    Object.assign(c, { strokeStyle: "rgba(0,0,0,.85)", fillStyle: "#fff", textAlign: "left" });
    c.strokeText(p.cls, x, y);
    c.fillText(p.cls, x, y);
  }

  mark(c, p, scale, selected) {
    const [[x, y] = [0, 0], [x1, y1] = []] = p.pts, px = 1 / scale, dark = "rgba(0,0,0,.75)";
    const stroke = (width, style, dash = []) => {
      Object.assign(c, { lineWidth: width * px, strokeStyle: style, lineCap: "round" });
      c.setLineDash(dash.map((d) => d * px));
      c.stroke();
      c.setLineDash([]);
    };
    if (p.type === "point") {
      c.beginPath();
      c.arc(x, y, (selected ? 9 : 7) * px, 0, 7);
      c.fillStyle = p.label > 0 ? this.colour(p.cls) : "#fff";
      c.fill();
      stroke(selected ? 6 : 4, dark);
      stroke(selected ? 3 : 2, p.label > 0 ? "#fff" : this.colour(p.cls));
      c.beginPath();
      for (const [dx, dy] of p.label > 0 ? [[3, 0], [0, 3]] : [[3, 0]]) {
        c.moveTo(x - dx * px, y - dy * px);
        c.lineTo(x + dx * px, y + dy * px);
      }
      stroke(2, dark);
      if (this.numbered) this.number(c, p, x + 9 * px, y - 5 * px, scale);
    } else if (p.type === "box" && x1 !== undefined) {
      c.beginPath();
      c.rect(x, y, x1 - x, y1 - y);
      stroke(4.5, dark);
      stroke(2.5, this.colour(p.cls));
      if (selected) stroke(2.5, "#fff", [5, 5]);
      if (this.numbered) this.number(c, p, Math.min(x, x1) + 4 * px, Math.min(y, y1) + 13 * px, scale);
    } else if (selected && p.pts.length) {
      outline(c, p.type === "lasso" ? [...p.pts, p.pts[0]] : p.pts);
      stroke(3.5, dark);
      stroke(2, "#fff", [5, 5]);
    }
  }
}
