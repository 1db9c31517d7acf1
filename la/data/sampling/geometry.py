"""Conversion between original and input pixels (paper 4.2); no other module converts.

`pad` scales the long side to the input size and pads right and bottom with zeros; `squash` resizes
both sides to it. Either way a point at (x, y) moves to (x * sx, y * sy), so that one class is
enough for both.
"""

from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Literal

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

from la.config import IMAGE_MEAN, IMAGE_STD


@dataclass(frozen=True)
class Frame:
    """How one original image of `size` (H, W) is placed in the square input of side `side`."""

    size: tuple[int, int]
    side: int
    resize: Literal["pad", "squash"]

    @cached_property
    def inner(self) -> tuple[int, int]:
        """(H, W) in input pixels of the part that shows the image; the rest is padding."""
        if self.resize == "squash":
            return self.side, self.side
        scale = self.side / max(self.size)
        height, width = (max(1, int(length * scale + 0.5)) for length in self.size)
        return height, width

    @property
    def scale(self) -> tuple[float, float]:
        """(sx, sy), input pixels per original pixel."""
        inner_height, inner_width = self.inner
        height, width = self.size
        return inner_width / width, inner_height / height

    def image(self, image: Image.Image) -> Tensor:
        """RGB image of the original size -> (3, side, side) normalised, padding 0."""
        height, width = self.inner
        if image.size != (width, height):
            image = image.resize((width, height), Image.Resampling.BILINEAR)
        mean = torch.tensor(IMAGE_MEAN).view(3, 1, 1)
        std = torch.tensor(IMAGE_STD).view(3, 1, 1)
        pixels = torch.from_numpy(np.array(image)).permute(2, 0, 1)  # (3, H, W) uint8
        normalised = (pixels.float() / 255 - mean) / std
        right, bottom = self.side - width, self.side - height
        return F.pad(normalised, (0, right, 0, bottom))

    def points(self, points: np.ndarray) -> np.ndarray:
        """(n, 2) original -> input pixels."""
        return points * np.array(self.scale)

    def point_prompts(self, points: np.ndarray) -> np.ndarray:
        """(n, 2) points in original pixels -> the values of `Prompts.points`.

        The official code prompts with the index of a pixel, i.e. its centre minus half a pixel,
        and scales that; the model then adds half a pixel of the input frame [O].
        """
        return self.points(points - 0.5)

    def boxes(self, boxes: np.ndarray) -> np.ndarray:
        """(n, 4) original -> input pixels."""
        return boxes * np.array(self.scale * 2)

    def sample(
        self,
        values: np.ndarray,
        side: int,
        padding: int = 0,
    ) -> np.ndarray:
        """(H, W) over original pixels -> (side, side) over the input, for prompts and targets.

        Nearest-neighbour resampling in two steps, to the input frame and from there to `side`, as
        the official code does it [O]. Cells outside the image are set to `padding`.
        """
        height, width = self.size
        inner_height, inner_width = self.inner
        rows = _nearest(height, inner_height, self.side, side)
        columns = _nearest(width, inner_width, self.side, side)
        sampled = np.full((side, side), padding, values.dtype)
        inside = values[rows].take(columns, axis=1)
        sampled[: len(rows), : len(columns)] = inside
        return sampled

    def mask(self, mask: np.ndarray, side: int) -> np.ndarray:
        """`sample` for a mask prompt; an object that no cell hits gets the cell at its centre."""
        sampled = self.sample(mask, side)
        if not sampled.any() and mask.any():
            y, x = np.argwhere(mask).mean(0) + 0.5
            centre = self.points(np.array([x, y]))
            column, row = centre * side / self.side
            sampled[int(row), int(column)] = True
        return sampled

    def original_logits(self, logits: Tensor) -> Tensor:
        """(B, C, h, w) over the input frame -> (B, C, H, W) over original images of this size.

        Bilinear to the input size, padding cut off, bilinear to the original size [O]: scores are
        always computed on original pixels and do not depend on the padding.
        """
        height, width = self.inner
        upscaled = _bilinear(logits, (self.side, self.side))
        return _bilinear(upscaled[..., :height, :width], self.size)


@lru_cache(maxsize=1024)
def _nearest(
    original: int,
    inner: int,
    input_side: int,
    side: int,
) -> np.ndarray:
    """The original row (or column) of each of `side` cells that lie inside the image."""
    input_pixel = np.arange(side) * input_side // side  # at each cell
    input_pixel = input_pixel[input_pixel < inner]  # the rest is padding
    return np.minimum(input_pixel * original // inner, original - 1)


def _bilinear(maps: Tensor, size: tuple[int, int]) -> Tensor:
    """(B, C, h, w) -> (B, C, *size)."""
    if maps.shape[-2:] == size:
        return maps
    return F.interpolate(maps, size=size, mode="bilinear")
