"""Masks as polygons for annotation tools; drawing the polygons gives back the same pixels."""

import numpy as np
from contourpy import FillType, contour_generator


def polygons(mask: np.ndarray) -> list[np.ndarray]:
    """A ring (n, 2) of (x, y) in original pixels for each connected part of a mask (H, W).

    The pixels of a part are those whose centre is inside by the even-odd rule, as pycocotools draws
    polygons. If a part has holes, its ring follows a line to each hole, goes around it, and
    returns.
    """
    padded = np.pad(mask, 1).astype(float)
    generator = contour_generator(z=padded, fill_type=FillType.OuterOffset)
    rings = []
    for points, offsets in zip(*generator.filled(0.5, 2), strict=True):
        # Index i of the padded mask is the pixel i - 1, whose centre is at i - 0.5.
        corners = points - 0.5
        outer, *holes = np.split(corners, offsets[1:-1])
        pieces = [outer]
        for hole in holes:
            pieces.append(hole)
            pieces.append(outer[:1])
        ring = np.concatenate(pieces)
        rings.append(_without_straight_corners(ring))
    return rings


def _without_straight_corners(ring: np.ndarray) -> np.ndarray:
    """A closed ring (n, 2) without its last point and without corners on a straight line."""
    steps = np.diff(ring, axis=0)
    before = steps[:-1]
    after = steps[1:]
    cross = before[:, 0] * after[:, 1] - before[:, 1] * after[:, 0]
    turns_back = (before * after).sum(1) < 0
    is_corner = (cross != 0) | turns_back
    start = ring[:1]
    return np.concatenate([start, ring[1:-1][is_corner]])
