"""Between original and input pixels: the one place that knows frames (paper 4.2).

`pad` scales the long side to the input size and pads right and bottom with zeros; `squash` resizes
both sides to it. Either way a point at (x, y) goes to (x * sx, y * sy), so one class serves both.
"""

from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Literal

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

MEAN = (0.485, 0.456, 0.406)  # ImageNet, RGB in [0, 1]; [O] for every backbone
STD = (0.229, 0.224, 0.225)


@dataclass(frozen=True)
class Frame:
    """How one original image of `size` (H, W) lies in the square input of side `side`."""

    size: tuple[int, int]
    side: int
    resize: Literal["pad", "squash"]

    @cached_property
    def inner(self) -> tuple[int, int]:
        """(H, W) in input pixels of the part that shows the image; the rest is padding."""
        if self.resize == "squash":
            return self.side, self.side
        height, width = self.size
        scale = self.side / max(height, width)
        return max(1, int(height * scale + 0.5)), max(1, int(width * scale + 0.5))

    @property
    def scale(self) -> tuple[float, float]:
        """(sx, sy), input pixels per original pixel."""
        return self.inner[1] / self.size[1], self.inner[0] / self.size[0]

    def image(self, image: Image.Image) -> Tensor:
        """RGB image of the original size -> (3, side, side) normalised, padding 0."""
        height, width = self.inner
        if image.size != (width, height):
            image = image.resize((width, height), Image.Resampling.BILINEAR)
        pixels = torch.from_numpy(np.array(image)).permute(2, 0, 1).float().div_(255)  # (3, H, W)
        pixels = (pixels - torch.tensor(MEAN)[:, None, None]) / torch.tensor(STD)[:, None, None]
        return F.pad(pixels, (0, self.side - width, 0, self.side - height))

    def points(self, points: np.ndarray) -> np.ndarray:
        """(n, 2) original -> input pixels."""
        return points * np.array(self.scale)

    def point_prompts(self, points: np.ndarray) -> np.ndarray:
        """(n, 2) points in original pixels -> what `Prompts.points` holds.

        The official code prompts with a pixel's index, i.e. its centre less half a pixel, and
        scales that; the model then adds half a pixel of the input frame [O].
        """
        return self.points(points - 0.5)

    def boxes(self, boxes: np.ndarray) -> np.ndarray:
        """(n, 4) original -> input pixels."""
        return boxes * np.array(self.scale * 2)

    def sample(self, values: np.ndarray, side: int, padding: int = 0) -> np.ndarray:
        """(H, W) over original pixels -> (side, side) over the input, for prompts and targets.

        Two nearest steps, to the input frame and from there to `side`, as [O] makes them.
        """
        rows = _shown(self.size[0], self.inner[0], self.side, side)
        columns = _shown(self.size[1], self.inner[1], self.side, side)
        sampled = np.full((side, side), padding, values.dtype)
        sampled[: len(rows), : len(columns)] = values[rows].take(columns, 1)
        return sampled

    def mask(self, mask: np.ndarray, side: int) -> np.ndarray:
        """`sample` for a mask prompt; an object that falls between the cells keeps one."""
        sampled = self.sample(mask, side)
        if not sampled.any() and mask.any():
            y, x = np.argwhere(mask).mean(0)
            column, row = self.points(np.array([[x, y]]) + 0.5)[0] * side / self.side
            sampled[int(row), int(column)] = True
        return sampled

    def original_logits(self, logits: Tensor) -> Tensor:
        """(B, C, h, w) over the input frame -> (B, C, H, W) over original images of this size.

        Bilinear to the input size, padding cut off, bilinear to the original size, as [O]: scores
        are always made on original pixels, with no trace of the padding.
        """
        height, width = self.inner
        upscaled = _bilinear(logits, (self.side, self.side))[..., :height, :width]
        return _bilinear(upscaled, self.size)


@lru_cache(maxsize=1024)
def _shown(original: int, inner: int, input_side: int, side: int) -> np.ndarray:
    """The original rows or columns that the first cells of a mask show; later ones are padding."""
    at = np.arange(side) * input_side // side  # input pixel under each cell
    return np.minimum(at[at < inner] * original // inner, original - 1)


def _bilinear(maps: Tensor, size: tuple[int, int]) -> Tensor:
    return maps if maps.shape[-2:] == size else F.interpolate(maps, size=size, mode="bilinear")
