"""Brush strokes, lassos and masks as pixels, by the rules of the browser that drew them."""

from collections.abc import Iterable, Sequence

import numpy as np

from la.predict.prompts.vector_prompts import (
    XY,
    BrushPrompt,
    LassoPrompt,
    MaskPrompt,
    VectorPrompt,
    mask_of,
)


def rasterize(prompts: Iterable[VectorPrompt], size: tuple[int, int]) -> np.ndarray:
    """The mask (H, W) that the brush, lasso and mask prompts of one image and class leave."""
    mask = np.zeros(size, bool)
    for prompt in prompts:
        match prompt:
            case BrushPrompt():
                _paint_stroke(mask, prompt)
            case LassoPrompt():
                mask[_polygon(prompt.pts, size)] = not prompt.erase
            case MaskPrompt():
                mask |= mask_of(prompt, size)
    return mask


def _paint_stroke(mask: np.ndarray, brush: BrushPrompt) -> None:
    """Set or erase the pixels whose centre is within the radius of the polyline, in place."""
    ends = brush.pts[1:] or brush.pts  # a single point is a segment without length
    for start, end in zip(brush.pts, ends, strict=False):
        _paint_segment(mask, start, end, brush.r, value=not brush.erase)


def _paint_segment(
    mask: np.ndarray,
    start: XY,
    end: XY,
    radius: float,
    *,
    value: bool,
) -> None:
    x0, y0 = start
    x1, y1 = end
    # Only pixels of the window around the segment can be near enough.
    left = max(0, int(min(x0, x1) - radius - 1))
    top = max(0, int(min(y0, y1) - radius - 1))
    right = int(max(x0, x1) + radius + 2)
    bottom = int(max(y0, y1) + radius + 2)
    window = mask[top:bottom, left:right]
    height, width = window.shape
    # Pixel centres relative to the start of the segment.
    columns = np.arange(left, left + width)
    rows = np.arange(top, top + height)[:, None]
    x = columns + 0.5 - x0
    y = rows + 0.5 - y0
    dx = x1 - x0
    dy = y1 - y0
    squared_length = max(dx * dx + dy * dy, 1e-12)
    projection = (x * dx + y * dy) / squared_length
    nearest = projection.clip(0, 1)  # share of the segment
    x_distance = x - nearest * dx
    y_distance = y - nearest * dy
    squared_distance = x_distance**2 + y_distance**2
    window[squared_distance <= radius**2] = value


def _polygon(pts: Sequence[XY], size: tuple[int, int]) -> np.ndarray:
    """(H, W) bool: pixels whose centre a closed polygon winds around (the non-zero rule)."""
    height, width = size
    winding = np.zeros((height, width + 1), np.int32)
    following = [*pts[1:], pts[0]]
    for (x0, y0), (x1, y1) in zip(pts, following, strict=True):
        # The rows whose centre lies between the ends of the edge.
        first = np.ceil(min(y0, y1) - 0.5)
        end = np.ceil(max(y0, y1) - 0.5)
        rows = np.arange(first, end, dtype=int)
        slope = (x1 - x0) / ((y1 - y0) or 1)
        crossing = x0 + (rows + 0.5 - y0) * slope
        column = np.ceil(crossing - 0.5)
        column = column.clip(0, width).astype(int)
        direction = 1 if y1 > y0 else -1
        np.add.at(winding, (rows, column), direction)
    return winding[:, :-1].cumsum(axis=1) != 0
