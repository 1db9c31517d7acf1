// The geometry of prompts: which one lies under the pointer, its handles, how they move it.

const near = (a, b) => Math.hypot(a[0] - b[0], a[1] - b[1]);
const round = (v) => Math.round(v * 100) / 100;
const clamp = (v, low, high) => Math.min(high, Math.max(low, v));
const isArea = (p) => !["point", "box"].includes(p.type);

function outline(c, pts) {
  c.beginPath();
  for (const [x, y] of pts) c.lineTo(x, y);
}

function closed(p) {
  if (p.type === "lasso") return [...p.pts, p.pts[0]];
  if (p.type !== "box") return p.pts;
  const [[x0, y0], [x1, y1]] = p.pts;
  return [[x0, y0], [x1, y0], [x1, y1], [x0, y1], [x0, y0]];
}

// Whether `xy` lies on a prompt, `reach` pixels of the image to either side of a line.
function hits(p, xy, reach, [, height]) {
  if (p.erase) return false;
  if (p.type === "point") return near(p.pts[0], xy) < reach;
  if (p.type === "mask") {
    let at = Math.floor(xy[0]) * height + Math.floor(xy[1]);
    return p.counts.findIndex((count) => (at -= count) < 0) % 2 === 1;
  }
  const c = surface(1, 1).getContext("2d");
  outline(c, closed(p));
  c.lineWidth = p.type === "brush" ? 2 * p.r : 2 * reach;
  return c.isPointInStroke(...xy) || (p.type === "lasso" && c.isPointInPath(...xy));
}

// The prompt under `xy`: points before boxes before areas; of one kind the one drawn last.
function pick(prompts, xy, reach, size) {
  const rank = (p) => (isArea(p) ? 2 : p.type === "box" ? 1 : 0);
  const under = prompts.filter((p) => hits(p, xy, reach, size)).reverse();
  return under.sort((a, b) => rank(a) - rank(b))[0] ?? null;
}

// [[x, y, change], ...]; change(prompt, xy) gives the points once the handle is at xy.
function handles(p, gap) {
  if (p.type === "box") return boxHandles(p.pts);
  if (p.type !== "lasso") return [];
  const kept = [];
  p.pts.forEach(([x, y], i) => {
    const last = kept.at(-1);
    if (last && near(last, [x, y]) < gap) return; // too near to the last point
    kept.push([x, y, (pts, xy) => pts.with(i, xy)]);
  });
  return kept;
}

function boxHandles([[x0, y0], [x1, y1]]) {
  const places = [];
  for (const x of [x0, (x0 + x1) / 2, x1])
    for (const y of [y0, (y0 + y1) / 2, y1]) {
      const [atX, atY] = [[x0, x1].indexOf(x), [y0, y1].indexOf(y)]; // -1: a middle
      if (atX < 0 && atY < 0) continue;
      places.push([x, y, (pts, xy) => {
        const moved = pts.map((corner) => [...corner]);
        if (atX >= 0) moved[atX][0] = xy[0];
        if (atY >= 0) moved[atY][1] = xy[1];
        return moved;
      }]);
    }
  return places;
}

// A box with whole pixels and its corners in order; null if nothing is left of it.
function tidyBox(p) {
  const [[x0, y0], [x1, y1] = [x0, y0]] = p.pts.map((xy) => xy.map(Math.round));
  if (x0 === x1 || y0 === y1) return null;
  const [left, top] = [Math.min(x0, x1), Math.min(y0, y1)];
  return { ...p, pts: [[left, top], [Math.max(x0, x1), Math.max(y0, y1)]] };
}

const shifted = (p, by, size) => ({
  ...p, pts: p.pts.map((xy) => xy.map((v, i) => round(clamp(v + by[i], 0, size[i])))),
});
