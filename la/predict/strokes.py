"""Brush strokes, lassos and masks as pixels, by the rules of the browser that drew them."""

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np


def rasterize(prompts: Iterable[dict[str, Any]], size: tuple[int, int]) -> np.ndarray:
    """The mask (H, W) that the brush, lasso and mask prompts of one image and class leave."""
    mask = np.zeros(size, bool)
    for p in prompts:
        if p["type"] == "brush":
            _stroke(mask, p["pts"], p["r"], not p["erase"])
        elif p["type"] == "lasso":
            mask[_polygon(p["pts"], size)] = not p["erase"]
        elif p["type"] == "mask":
            inside = np.arange(len(p["counts"])) % 2 == 1
            mask |= np.repeat(inside, p["counts"]).reshape(size, order="F")
    return mask


def _stroke(mask: np.ndarray, pts: Sequence[Sequence[float]], r: float, value: bool) -> None:
    """Set the pixels whose centre is within r of the polyline."""
    for (x0, y0), (x1, y1) in zip(pts, pts[1:] or pts, strict=False):
        left, top = (max(0, int(min(a, b) - r - 1)) for a, b in ((x0, x1), (y0, y1)))
        right, bottom = (int(max(a, b) + r + 2) for a, b in ((x0, x1), (y0, y1)))
        window = mask[top:bottom, left:right]
        ys, xs = np.ogrid[top : top + window.shape[0], left : left + window.shape[1]]
        xs, ys, dx, dy = xs + 0.5 - x0, ys + 0.5 - y0, x1 - x0, y1 - y0
        along = np.clip((xs * dx + ys * dy) / max(dx * dx + dy * dy, 1e-12), 0, 1)
        window[(xs - along * dx) ** 2 + (ys - along * dy) ** 2 <= r * r] = value


def _polygon(pts: Sequence[Sequence[float]], size: tuple[int, int]) -> np.ndarray:
    """The pixels whose centre a closed polygon winds around (the browser's non-zero rule)."""
    winding = np.zeros((size[0], size[1] + 1), np.int32)
    for (x0, y0), (x1, y1) in zip(pts, [*pts[1:], pts[0]], strict=True):
        rows = np.arange(np.ceil(min(y0, y1) - 0.5), np.ceil(max(y0, y1) - 0.5), dtype=int)
        cross = np.ceil(x0 + (rows + 0.5 - y0) / ((y1 - y0) or 1) * (x1 - x0) - 0.5)
        np.add.at(winding, (rows, np.clip(cross, 0, size[1]).astype(int)), 1 if y1 > y0 else -1)
    return np.cumsum(winding[:, :-1], axis=1) != 0
