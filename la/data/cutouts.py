"""Instances cut out of their images: decoded when asked for, kept while there is room."""

from collections import OrderedDict
from dataclasses import dataclass

import numpy as np

from la.data.index import CocoIndex

CACHE_BYTES = 64 * 2**20  # an instance of COCO takes 17 kB


@dataclass(frozen=True, slots=True)
class Cutout:
    """The pixels of an instance: (h, w) bool whose upper left corner is at (x, y) of the image."""

    x: int
    y: int
    pixels: np.ndarray

    @classmethod
    def of(cls, mask: np.ndarray) -> "Cutout":
        """From an (H, W) bool mask that is not empty."""
        columns = np.flatnonzero(mask.any(0))
        left, right = int(columns[0]), int(columns[-1]) + 1
        rows = np.flatnonzero(mask[:, left:right].any(1))
        top, bottom = int(rows[0]), int(rows[-1]) + 1
        return cls(left, top, np.array(mask[top:bottom, left:right], order="C"))

    @property
    def box(self) -> np.ndarray:
        """(4,) the tight box, outer edges included."""
        height, width = self.pixels.shape
        return np.array([self.x, self.y, self.x + width, self.y + height], dtype=float)

    def paint(self, canvas: np.ndarray, value: int) -> None:
        """Set the instance's pixels of an (H, W) canvas, in place."""
        height, width = self.pixels.shape
        place = canvas[self.y : self.y + height, self.x : self.x + width]
        np.copyto(place, value, where=self.pixels)


class Cutouts:
    """The cutouts of an index by annotation; beyond `limit` bytes the least recently used leave."""

    def __init__(self, index: CocoIndex, limit: int = CACHE_BYTES) -> None:
        self._index = index
        self._room = limit
        self._kept: OrderedDict[int, Cutout] = OrderedDict()

    def __getitem__(self, annotation: int) -> Cutout:
        """An annotation's pixels; one too thin to hold any has the one at its box's centre."""
        cutout = self._kept.pop(annotation, None)
        if cutout is None:
            cutout = Cutout.of(self._mask(annotation))
            self._room -= cutout.pixels.nbytes
        self._kept[annotation] = cutout
        while self._room < 0 and len(self._kept) > 1:
            self._room += self._kept.popitem(last=False)[1].pixels.nbytes
        return cutout

    def _mask(self, annotation: int) -> np.ndarray:
        mask = self._index.mask(annotation)
        if not mask.any():
            x0, y0, x1, y1 = self._index.annotation_box[annotation].tolist()
            height, width = mask.shape
            row = min(max(int((y0 + y1) / 2), 0), height - 1)
            column = min(max(int((x0 + x1) / 2), 0), width - 1)
            mask = np.zeros(mask.shape, dtype=bool)
            mask[row, column] = True
        return mask
