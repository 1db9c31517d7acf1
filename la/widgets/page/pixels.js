// Maps of bytes and prompts as pixels; colours and patterns of classes.

const bytes = (view) => new Uint8Array(view.buffer, view.byteOffset, view.byteLength);

async function inflate(plane) {
  const stream = new Blob([bytes(plane.data)]).stream().pipeThrough(new DecompressionStream("deflate"));
  return { size: plane.size, data: new Uint8Array(await new Response(stream).arrayBuffer()) };
}

const surface = (w, h_) => new OffscreenCanvas(w, h_);
const hex = (colour) => [1, 3, 5].map((i) => parseInt(colour.slice(i, i + 2), 16));
const rgba = (r, g, b, a) => ((a << 24) | (b << 16) | (g << 8) | r) >>> 0; // as ImageData has it

// A map of bytes as a picture: colourOf(value, index) gives what `rgba` made.
function picture({ size: [w, h_], data }, colourOf) {
  const canvas = surface(w, h_), image = new ImageData(w, h_);
  const pixels = new Uint32Array(image.data.buffer);
  for (let i = 0; i < data.length; i++) pixels[i] = colourOf(data[i], i);
  canvas.getContext("2d").putImageData(image, 0, 0);
  return canvas;
}

// --- each class has a colour and a pattern; eight colours and patterns shift against each other

const TILE = 12;
const PATTERNS = [
  () => false, // the first class is plain
  (x, y) => (x + y) % 6 < 1, // rising lines
  (x, y) => x % 6 < 2 && y % 6 < 2, // dots
  (x, y) => (x - y + TILE) % 6 < 1, // falling lines
  (x, y) => y % 6 < 1, // level lines
  (x) => x % 6 < 1, // upright lines
  (x, y) => x % 6 < 1 || y % 6 < 1, // a grid
  (x, y) => (x + y) % 12 < 1 || (x - y + TILE) % 12 < 1, // crossed lines
];

const patternOf = (n) => PATTERNS[(n - 1 + Math.floor((n - 1) / 8)) % PATTERNS.length];

// The colour of class n at a pixel of a map: its own, darker or lighter on the pattern's lines.
function tile(colour, n) {
  const [r, g, b] = hex(colour), line = 0.3 * r + 0.6 * g + 0.1 * b > 110 ? 0.45 : 2.2;
  const covers = patternOf(n), colours = [];
  for (let y = 0; y < TILE; y++)
    for (let x = 0; x < TILE; x++)
      colours.push([r, g, b].map((v) => (covers(x, y) ? Math.min(255, v * line + (line > 1 ? 60 : 0)) : v)));
  return colours;
}

const tilePictures = new Map();
function tilePicture(colour, n) {
  const key = `${colour}${n}`;
  if (!tilePictures.has(key)) {
    const colours = tile(colour, n), map = { size: [TILE, TILE], data: colours };
    tilePictures.set(key, picture(map, ([r, g, b]) => rgba(r, g, b, 255)));
  }
  return tilePictures.get(key);
}

// A small square of a class for lists, with its pattern behind the text.
function swatch(colour, n, text = "") {
  const canvas = h("canvas", { width: TILE * 2, height: TILE * 2, "aria-hidden": "true" });
  const c = canvas.getContext("2d");
  c.fillStyle = c.createPattern(tilePicture(colour, n), "repeat");
  c.fillRect(0, 0, canvas.width, canvas.height);
  return h("i", { class: "la-swatch" }, canvas, h("b", {}, text));
}

// A label map in colours, with a solid line where the label changes; hidden rows stay clear.
function tinted(map, palette, opacity, hidden, sure = null) {
  const { size: [w, h_], data } = map, tiles = new Map();
  const inner = Math.round(opacity * 255), edge = Math.min(255, Math.round(opacity * 640));
  for (const n of new Set(data))
    if (n && !hidden.has(n)) tiles.set(n, tile(palette[(n - 1) % palette.length], n));
  return picture(map, (n, i) => {
    const colours = tiles.get(n);
    if (!colours) return 0;
    const x = i % w, y = (i - x) / w, [r, g, b] = colours[(y % TILE) * TILE + (x % TILE)];
    const border = (x && data[i - 1] !== n) || (x < w - 1 && data[i + 1] !== n) ||
      (y && data[i - w] !== n) || (y < h_ - 1 && data[i + w] !== n);
    return rgba(r, g, b, border ? edge : sure ? inner * sure(i) : inner);
  });
}

// Brush, lasso and mask prompts as solid pixels; the same rules as la.predict.strokes.rasterize.
function paintMask(c, p, colour, [w, h_]) {
  c.globalCompositeOperation = p.erase ? "destination-out" : "source-over";
  const fill = c.createPattern(tilePicture(colour, p.cls), "repeat");
  const { a, d } = c.getTransform();
  fill.setTransform(new DOMMatrix([1 / a, 0, 0, 1 / d, 0, 0])); // tiles are pixels of the canvas
  Object.assign(c, { fillStyle: fill, strokeStyle: fill, lineCap: "round", lineJoin: "round" });
  if (p.type === "brush") {
    outline(c, p.pts.length > 1 ? p.pts : [p.pts[0], p.pts[0]]);
    c.lineWidth = 2 * p.r;
    c.stroke();
  } else if (p.type === "lasso") {
    outline(c, p.pts);
    c.fill();
  } else if (p.type === "mask") {
    const colours = tile(colour, p.cls).map(([r, g, b]) => rgba(r, g, b, 255));
    const at = (i) => colours[(Math.floor((i % w) * a) % TILE) + (Math.floor(Math.floor(i / w) * d) % TILE) * TILE];
    c.imageSmoothingEnabled = false;
    c.drawImage(picture({ size: [w, h_], data: maskOf(p, w, h_) }, (v, i) => (v ? at(i) : 0)), 0, 0);
  }
}

// A mask prompt's runs, down the columns, as bytes along the rows.
function maskOf({ counts }, w, h_) {
  const data = new Uint8Array(w * h_);
  let at = 0;
  counts.forEach((count, k) => {
    for (const end = at + count; at < end; at++) if (k % 2) data[(at % h_) * w + Math.floor(at / h_)] = 1;
  });
  return data;
}
