"""The segmentations of a COCO file as flat numbers: which are usable, and how one is drawn."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

import numpy as np
from pycocotools import mask as coco_mask

MAX_OUTLINE = 1_000_000  # pixels along a ring; a hostile one could fill the memory


@dataclass(frozen=True)
class Outlines:
    """Segmentations as flat numbers: an outline has rings (a polygon's), or run lengths."""

    numbers: np.ndarray  # float64; of a ring x y x y ..., or run lengths, down the columns
    piece_start: np.ndarray  # (pieces + 1,) int64 into numbers; a piece is a ring or all runs
    outline_piece: np.ndarray  # (outlines + 1,) int64 into piece_start
    outline_runs: np.ndarray  # (outlines,) bool: run lengths, beginning with background

    def draw(self, outline: int, height: int, width: int) -> np.ndarray:
        """(H, W) bool: the pixels inside, as pycocotools draws them."""
        first, last = self.outline_piece[outline : outline + 2].tolist()
        cuts = self.piece_start[first : last + 1].tolist()
        pieces = [self.numbers[a:b] for a, b in zip(cuts[:-1], cuts[1:], strict=True)]
        if self.outline_runs[outline]:
            inside = np.arange(len(pieces[0])) % 2 == 1
            return np.repeat(inside, pieces[0].astype(np.int64)).reshape(width, height).T
        # pycocotools takes arrays as well as lists, which its types do not say.
        drawn = coco_mask.frPyObjects(cast(list[list[int]], pieces), height, width)
        return coco_mask.decode(coco_mask.merge(drawn)).view(bool)


def offsets(lengths: Sequence[int]) -> np.ndarray:
    """(n + 1,) int64: where each of n pieces begins, and where the last one ends."""
    return np.concatenate([np.zeros(1, np.int64), np.cumsum(lengths, dtype=np.int64)])


def boxes_fit(
    low: np.ndarray, extent: np.ndarray, area: np.ndarray, size: np.ndarray
) -> np.ndarray:
    """(a,) bool: finite, not empty, partly on the image."""
    on_image = (low < size[:, ::-1]) & (low + extent > 0)
    not_huge = extent <= 3 * size.max(1, keepdims=True)
    return (on_image & not_huge & (extent > 0)).all(1) & (area > 0) & np.isfinite(area)


def rings_fit(outlines: Outlines, size: np.ndarray) -> np.ndarray:
    """(a,) bool: no ring strays further than its image's longer side, or is absurdly long."""
    owner = np.repeat(np.arange(len(size)), np.diff(outlines.outline_piece))
    numbers, start = outlines.numbers, outlines.piece_start
    if not len(owner):
        return np.ones(len(size), bool)
    side, is_ring = size.max(1)[owner], ~outlines.outline_runs[owner]
    good = np.minimum.reduceat(numbers, start[:-1]) >= -side  # False for NaN
    good &= np.maximum.reduceat(numbers, start[:-1]) <= 2 * side
    for ring in np.flatnonzero(good & is_ring & (3 * side * np.diff(start) > MAX_OUTLINE)):
        points = numbers[start[ring] : start[ring + 1]].reshape(-1, 2)
        good[ring] = np.abs(np.diff(points, axis=0)).sum() <= MAX_OUTLINE
    return np.bincount(owner, is_ring & ~good, len(size)) == 0


def run_lengths(
    counts: list[int] | str, size: Sequence[int], image: Sequence[int] | None
) -> list[list[int]]:
    """The one piece of an outline of runs over (H, W); none if the image has another size."""
    runs = _uncompressed(counts) if isinstance(counts, str) else counts
    fits = image is None or ([*size] == [*image] and sum(runs) == math.prod(image))
    return [runs] if fits and min(runs, default=-1) >= 0 else []


def _uncompressed(text: str) -> list[int]:
    """The run lengths of COCO's compressed form; none where it is damaged.

    A number is written in characters of 5 bits each (from "0" on), the lowest first; bit 32
    says that more follow, and bit 16 of the last one is the sign. From the fourth run on, a number
    is the difference to the run two before.
    """
    codes = np.frombuffer(text.encode("utf-32-le"), np.uint32).astype(np.int64) - 48
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
