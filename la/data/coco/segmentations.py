"""One segmentation of a COCO file, in every form that exporters write, checked and drawn.

Segmentations are checked before they are drawn, because a damaged or hostile file could hold
coordinates far off the image, endless rings, or run lengths that write past the mask.
"""

import math
from array import array
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from pycocotools import mask as coco_mask

from la.data.coco.numbers import not_finite, to_number

SLACK = 1.0  # pixels beyond the image, as annotation tools round
MAX_OUTLINE = 1_000_000  # pixels along a ring; a longer one could fill the memory


class Unusable(Exception):
    """Why an entry cannot be used, as the end of a sentence."""


class Outline(NamedTuple):
    """A checked segmentation."""

    pieces: Sequence[Any]  # rings x, y, x, y, ...; or one piece of run lengths, down the columns
    is_runs: bool

    def is_in_first_pixel(self, height: int, width: int) -> bool:
        """Whether this is a polygon in the corner, as one in fractions of the image would be."""
        if self.is_runs or max(height, width) <= 2 or self.pieces[0][0] > 1:
            return False
        return max(map(max, self.pieces)) <= 1

    def leaves(self, height: int, width: int) -> bool:
        """Whether a polygon goes more than `SLACK` beyond an image of this size."""
        if self.is_runs:
            return False
        for ring in self.pieces:
            if min(ring) < -SLACK:
                return True
            if max(ring) <= min(height, width) + SLACK:
                continue  # no point is beyond the shorter side
            if max(ring[0::2]) > width + SLACK or max(ring[1::2]) > height + SLACK:
                return True
        return False

    def draw(self, height: int, width: int) -> np.ndarray:
        """(H, W) bool: the pixels inside, as pycocotools draws them."""
        if self.is_runs:
            (runs,) = self.pieces
            is_inside = np.arange(len(runs)) % 2 == 1
            pixels = np.repeat(is_inside, np.asarray(runs, np.int64))
            return pixels.reshape(width, height).T
        # pycocotools takes arrays as well as lists, which its types do not say.
        rings: list[Any] = [np.asarray(ring) for ring in self.pieces]
        drawn = coco_mask.frPyObjects(rings, height, width)
        return coco_mask.decode(coco_mask.merge(drawn)).view(bool)


def outline(shape: object, height: int, width: int) -> Outline:
    """A segmentation on an image, checked.

    Args:
        shape: rings of a polygon or one ring, in a form that `rings_of` reads; or
            {"size": (H, W), "counts": runs or their text}.

    Raises:
        Unusable: this is not a segmentation, or it does not fit the image.
    """
    if isinstance(shape, dict) and "counts" in shape:
        return Outline([_runs(shape, height, width)], is_runs=True)
    if not isinstance(shape, list):
        raise Unusable(f"segmentation {shape!r:.40} is neither polygons nor run lengths")
    side = max(height, width)
    written = rings_of(shape)
    rings = [_ring(points, side) for points in written if _is_ring(points)]
    if not rings:
        raise Unusable(_no_ring(written))
    return Outline(rings, is_runs=False)


def rings_of(shape: list[Any]) -> list[Any]:
    """The rings of a polygon as x, y, x, y, ..., in any form that exporters write.

    A ring may also be [[x, y], ...] or [{"x": x, "y": y}, ...], and a single ring may be without
    a list around it. What is in none of these forms stays as it is.
    """
    has_rings = any(isinstance(points, list) for points in shape)
    if not has_rings or all(_point(points) for points in shape):
        shape = [shape]
    return [flat_ring(points) for points in shape]


def flat_ring(points: Any) -> Any:
    """A ring as x, y, x, y, ...; what is no ring of points stays as it is."""
    if not isinstance(points, list) or not points or not isinstance(points[0], list | dict):
        return points
    pairs = [_point(entry) for entry in points]
    return [number for pair in pairs for number in pair] if all(pairs) else points


def _point(entry: Any) -> tuple[Any, ...]:
    """x and y of [x, y] or of {"x": x, "y": y}; empty for anything else."""
    if isinstance(entry, dict) and "x" in entry and "y" in entry:
        return entry["x"], entry["y"]
    if isinstance(entry, list) and len(entry) == 2 and not isinstance(entry[0], list | dict):
        return tuple(entry)
    return ()


def bounding_box(mask: np.ndarray) -> tuple[float, ...]:
    """x, y, width and height of the pixels inside; all 0 where there is none."""
    rows, columns = np.nonzero(mask)
    if not len(rows):
        return 0.0, 0.0, 0.0, 0.0
    x, y = float(columns.min()), float(rows.min())
    return x, y, columns.max() + 1 - x, rows.max() + 1 - y


def _is_ring(points: object) -> bool:
    """Whether these are three points or more.

    Raises:
        Unusable: `points` is not a list.
    """
    if not isinstance(points, list):
        raise Unusable(f"a polygon is {points!r:.40}, no list x, y, x, y, ...")
    return len(points) >= 6 and len(points) % 2 == 0


def _no_ring(rings: Sequence[list[Any]]) -> str:
    """Why none of these lists is a ring."""
    longest = max(rings, key=len, default=[])
    if len(longest) % 2 and not isinstance(longest[0], list | dict):
        return f"a polygon has {len(longest)} numbers, which are no pairs of x and y"
    for entry in longest:
        if isinstance(entry, list | dict) and not _point(entry):
            return f"a polygon holds {entry!r:.40}, which is not a pair of x and y"
    return "no polygon of the segmentation has three points"


def _ring(points: list[Any], side: int) -> array:
    """The coordinates of a ring, near an image whose longer side is `side`.

    Raises:
        Unusable: a value is not a number or lies far off the image, or the ring is absurdly long.
    """
    try:
        numbers = array("d", points)
    except (TypeError, OverflowError):
        numbers = array("d", map(_number, points))
    is_near = min(numbers) >= -side and max(numbers) <= 2 * side
    if not is_near or math.isnan(sum(numbers)):
        odd = not_finite(numbers)
        if odd:
            raise Unusable(f"a polygon holds {odd}")
        raise Unusable(f"a polygon leaves the image, whose longer side is {side} pixels")
    if 3 * side * len(numbers) > MAX_OUTLINE:
        corners = np.array(numbers).reshape(-1, 2)
        length = np.abs(np.diff(corners, axis=0)).sum()
        if length > MAX_OUTLINE:
            raise Unusable(f"a polygon is {length:.0f} pixels long")
    return numbers


def _number(value: object) -> float:
    """A coordinate, which may be written as text.

    Raises:
        Unusable: it is not a number.
    """
    try:
        if type(value) in (int, float, str):
            return float(value)  # type: ignore[arg-type]
    except (ValueError, OverflowError):
        pass
    raise Unusable(f"a polygon holds {value!r:.40}, no number; it is a list x, y, x, y, ...")


def _runs(shape: dict[str, Any], height: int, width: int) -> list[int]:
    """Run lengths that fill the image.

    Raises:
        Unusable: they are damaged, or of another image size.
    """
    counts, size = shape.get("counts"), shape.get("size")
    stated = list(map(to_number, size)) if isinstance(size, list) else size
    if stated != [height, width]:
        raise Unusable(f"run lengths are of size {size!r:.40}, the image is {[height, width]}")
    if isinstance(counts, str):
        if counts.startswith("b'") and counts.endswith("'"):  # str() of a bytes object
            counts = counts[2:-1].replace("\\\\", "\\")
        runs = _uncompressed(counts)
    elif isinstance(counts, list) and all(type(run) is int for run in counts):
        runs = counts
    elif isinstance(counts, list) and all(to_number(run).is_integer() for run in counts):
        runs = [int(to_number(run)) for run in counts]
    else:
        raise Unusable("counts are neither whole numbers nor text")
    n_pixels = height * width
    if min(runs, default=-1) < 0 or sum(runs) != n_pixels:
        raise Unusable(f"run lengths do not sum up to the {n_pixels} pixels of the image")
    return runs


def _uncompressed(text: str) -> list[int]:
    """The run lengths of COCO's compressed form; none where it is damaged.

    A number is written in characters of 5 bits each (from "0" on), the lowest first; bit 32
    says that more follow, and bit 16 of the last one is the sign. From the fourth run on, a number
    is the difference to the run two before. pycocotools writes past its buffer where the sum is
    too large, so the sum must be known first.
    """
    characters = np.frombuffer(text.encode("utf-32-le", "surrogatepass"), np.uint32)
    codes = characters.astype(np.int64) - 48
    if not len(codes) or codes.min() < 0 or codes.max() > 63:
        return []
    is_cut_off = codes[-1] & 32
    if is_cut_off:
        return []
    ends = np.flatnonzero(codes & 32 == 0)
    starts = np.concatenate([[0], ends[:-1] + 1])
    lengths = ends - starts + 1
    place_in_number = np.arange(len(codes)) - np.repeat(starts, lengths)
    shifts = 5 * place_in_number
    if shifts.max() > 30:
        return []
    runs = np.add.reduceat((codes & 31) << shifts, starts)
    runs -= (codes[ends] >> 4 & 1) << (shifts[ends] + 5)
    runs[1::2] = np.cumsum(runs[1::2])
    runs[2::2] = np.cumsum(runs[2::2])
    return runs.tolist()
