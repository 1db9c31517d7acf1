"""One segmentation of a COCO file, in every form that exporters write, as pycocotools' run lengths.

What a hostile or damaged file could hold is checked before pycocotools draws it: coordinates far
off the image, endless rings, and run lengths that would write past the mask.
"""

import math
from typing import Any, cast

import numpy as np
from pycocotools import mask as coco_mask

MAX_OUTLINE = 1_000_000  # pixels along a ring; a longer one could fill the memory


class Unusable(Exception):
    """Why an entry cannot be used, as the end of a sentence."""


def encode(shape: object, height: int, width: int) -> bytes:
    """The run lengths of a segmentation on an image, as pycocotools compresses them.

    Args:
        shape: rings of a polygon, one ring, or {"size": (H, W), "counts": runs or their text}.

    Raises:
        Unusable: the segmentation is none, or does not fit the image.
    """
    if isinstance(shape, dict):
        return _of_runs(shape, height, width)
    if not isinstance(shape, list):
        raise Unusable(f"segmentation is {type(shape).__name__}, neither polygons nor run lengths")
    if not any(isinstance(ring, list) for ring in shape):
        shape = [shape]  # one ring that is not in a list of its own
    side = max(height, width)
    rings = [_ring(points, side) for points in shape if _is_ring(points)]
    if not rings:
        raise Unusable("no polygon of the segmentation has three points")
    # pycocotools takes arrays as well as lists, which its types do not say.
    drawn = coco_mask.frPyObjects(cast(list[list[int]], rings), height, width)
    return cast(bytes, coco_mask.merge(drawn)["counts"])


def decode(counts: bytes, height: int, width: int) -> np.ndarray:
    """(H, W) bool from compressed run lengths."""
    return coco_mask.decode({"size": [height, width], "counts": counts}).view(bool)


def area(counts: bytes, height: int, width: int) -> int:
    """Pixels inside."""
    return int(coco_mask.area({"size": [height, width], "counts": counts}))


def bounding_box(counts: bytes, height: int, width: int) -> tuple[float, ...]:
    """x, y, width and height of the pixels inside; all 0 where there is none."""
    box = coco_mask.toBbox({"size": [height, width], "counts": counts})
    return tuple(box.tolist())


def _ring(points: list[Any], side: int) -> np.ndarray:
    """The coordinates x, y, x, y, ... of a ring, near an image whose longer side is `side`.

    Raises:
        Unusable: they are no numbers, stray far off the image, or the ring is absurdly long.
    """
    try:
        numbers = np.array([_coordinate(value) for value in points])
    except (TypeError, ValueError, OverflowError):
        raise Unusable("a polygon holds something that is no number") from None
    if not (numbers >= -side).all() or not (numbers <= 2 * side).all():  # False for NaN
        raise Unusable(f"a polygon leaves the image, whose longer side is {side} pixels")
    if 3 * side * len(numbers) > MAX_OUTLINE:
        length = np.abs(np.diff(numbers.reshape(-1, 2), axis=0)).sum()
        if length > MAX_OUTLINE:
            raise Unusable(f"a polygon is {length:.0f} pixels long")
    return numbers


def _coordinate(value: object) -> float:
    if isinstance(value, str | bool):
        raise TypeError
    return float(cast(float, value))


def _is_ring(points: object) -> bool:
    """Whether these are three points or more; anything that is no list is an error of its own."""
    if not isinstance(points, list):
        raise Unusable("a polygon is no list of numbers")
    return len(points) >= 6 and len(points) % 2 == 0


def _of_runs(shape: dict[str, Any], height: int, width: int) -> bytes:
    counts, size = shape.get("counts"), shape.get("size")
    if size != [height, width]:
        raise Unusable(f"run lengths are of size {size!r:.40}, the image is {[height, width]}")
    if isinstance(counts, str):
        if counts.startswith("b'") and counts.endswith("'"):  # bytes that were printed
            counts = counts[2:-1].replace("\\\\", "\\")
        runs = _uncompressed(counts)
    elif isinstance(counts, list) and all(type(run) is int for run in counts):
        runs = counts
    else:
        raise Unusable("counts are neither whole numbers nor text")
    if min(runs, default=-1) < 0 or sum(runs) != math.prod(size):
        raise Unusable(f"run lengths do not sum up to the {math.prod(size)} pixels of the image")
    whole: Any = {"size": size, "counts": runs}
    return cast(bytes, coco_mask.frPyObjects(whole, height, width)["counts"])


def _uncompressed(text: str) -> list[int]:
    """The run lengths of COCO's compressed form; none where it is damaged.

    A number is written in characters of 5 bits each (from "0" on), the lowest first; bit 32
    says that more follow, and bit 16 of the last one is the sign. From the fourth run on, a number
    is the difference to the run two before. pycocotools writes past its buffer where the sum is
    too large, so the sum must be known first.
    """
    codes = np.frombuffer(text.encode("utf-32-le", "surrogatepass"), np.uint32).astype(np.int64)
    codes = codes - 48
    if not len(codes) or codes.min() < 0 or codes.max() > 63 or codes[-1] & 32:
        return []
    ends = np.flatnonzero(codes & 32 == 0)
    starts = np.concatenate([[0], ends[:-1] + 1])
    shifts = 5 * (np.arange(len(codes)) - np.repeat(starts, ends - starts + 1))
    if shifts.max() > 30:
        return []
    runs = np.add.reduceat((codes & 31) << shifts, starts)
    runs -= (codes[ends] >> 4 & 1) << (shifts[ends] + 5)
    runs[1::2] = np.cumsum(runs[1::2])
    runs[2::2] = np.cumsum(runs[2::2])
    return runs.tolist()
