// Maps of bytes and prompts as pixels.

const near = (a, b) => Math.hypot(a[0] - b[0], a[1] - b[1]);
const round = (v) => Math.round(v * 100) / 100;
const bytes = (view) => new Uint8Array(view.buffer, view.byteOffset, view.byteLength);

async function inflate(plane) {
  const stream = new Blob([bytes(plane.data)]).stream().pipeThrough(new DecompressionStream("deflate"));
  return { size: plane.size, data: new Uint8Array(await new Response(stream).arrayBuffer()) };
}

const surface = (w, h_) => new OffscreenCanvas(w, h_);

// A map of bytes as a picture: rgba(value, index) gives [r, g, b, a].
function picture({ size: [w, h_], data }, rgba) {
  const canvas = surface(w, h_), image = new ImageData(w, h_);
  for (let i = 0; i < data.length; i++) image.data.set(rgba(data[i], i), i * 4);
  canvas.getContext("2d").putImageData(image, 0, 0);
  return canvas;
}

const hex = (colour) => [1, 3, 5].map((i) => parseInt(colour.slice(i, i + 2), 16));

// Colours of a label map, with a solid line where the label changes; hidden rows stay clear.
function tinted(map, palette, opacity, hidden) {
  const [w, h_] = map.size, { data } = map, rows = [...Array(256).keys()];
  const tint = (n, alpha) => (!n || hidden.has(n) ? [0, 0, 0, 0] : [...hex(palette[(n - 1) % palette.length]), alpha]);
  const inner = rows.map((n) => tint(n, opacity * 255)), edge = rows.map((n) => tint(n, Math.min(255, opacity * 640)));
  return picture(map, (n, i) => {
    const x = i % w;
    const border = n && ((x && data[i - 1] !== n) || (x < w - 1 && data[i + 1] !== n) ||
      (i >= w && data[i - w] !== n) || (i < w * (h_ - 1) && data[i + w] !== n));
    return border ? edge[n] : inner[n];
  });
}

function outline(c, pts) {
  c.beginPath();
  for (const [x, y] of pts) c.lineTo(x, y);
}

// Brush, lasso and mask prompts as solid pixels; the same rules as la.data.strokes.rasterize.
function paintMask(c, p, colour, [w, h_]) {
  c.globalCompositeOperation = p.erase ? "destination-out" : "source-over";
  Object.assign(c, { fillStyle: colour, strokeStyle: colour, lineCap: "round", lineJoin: "round" });
  if (p.type === "brush") {
    outline(c, p.pts.length > 1 ? p.pts : [p.pts[0], p.pts[0]]);
    c.lineWidth = 2 * p.r;
    c.stroke();
  } else if (p.type === "lasso") {
    outline(c, p.pts);
    c.fill();
  } else if (p.type === "mask") {
    const data = new Uint8Array(w * h_);
    let at = 0;
    p.counts.forEach((count, k) => {
      for (const end = at + count; at < end; at++) if (k % 2) data[(at % h_) * w + Math.floor(at / h_)] = 1;
    });
    const solid = [...hex(colour), 255], clear = [0, 0, 0, 0];
    c.imageSmoothingEnabled = false;
    c.drawImage(picture({ size: [w, h_], data }, (v) => (v ? solid : clear)), 0, 0);
  }
}

function hits(p, xy, reach, [, h_]) {
  const c = surface(1, 1).getContext("2d");
  if (p.erase) return false;
  if (p.type === "point") return near(p.pts[0], xy) < reach;
  if (p.type === "mask") {
    let at = Math.floor(xy[0]) * h_ + Math.floor(xy[1]);
    return p.counts.findIndex((count) => (at -= count) < 0) % 2 === 1;
  }
  const [[x0, y0], [x1, y1] = []] = p.pts;
  outline(c, p.type === "box" ? [[x0, y0], [x1, y0], [x1, y1], [x0, y1], [x0, y0]] : p.pts);
  c.lineWidth = p.type === "brush" ? 2 * p.r : 2 * reach;
  return c.isPointInStroke(...xy) || (p.type === "lasso" && c.isPointInPath(...xy));
}
