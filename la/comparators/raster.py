"""Prompts rasterised into soft maps, for methods that take only masks.

A mask stays as it is, a box becomes a Gaussian as wide as its sides, and a point becomes a
small Gaussian around it.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from la.types import Prompts

BOX_SIGMA = 0.35  # of the half side
BOX_REACH = 1.1  # a box draws nothing beyond this many half sides
POINT_SIGMA = 2 / 96  # of the image side


@dataclass(frozen=True)
class Raster:
    """Rasterises the prompts of each example."""

    image_size: int  # side of the input, the frame of the prompts
    mask_size: int  # side of the maps before they are averaged into cells

    def __call__(self, prompts: Prompts, size: tuple[int, int]) -> Tensor:
        """(E, h, w) in [0, 1]: the maximum over an example's prompts, 0 without one."""
        points = self._points(prompts)
        boxes = self._boxes(prompts)
        masks = self._masks(prompts)
        drawn = torch.maximum(points, boxes)
        drawn = torch.maximum(drawn, masks)
        return F.adaptive_avg_pool2d(drawn[:, None], size)[:, 0]

    def _masks(self, prompts: Prompts) -> Tensor:
        """(E, side, side): each example's mask, 0 for an example without one."""
        side = self.mask_size
        masks = prompts.masks.to(prompts.points.dtype)
        if masks.shape[-1] != side:
            masks = F.adaptive_avg_pool2d(masks[:, None], side)[:, 0]
        empty = masks.new_zeros(len(prompts.example_row), side, side)
        return empty.index_copy(0, prompts.mask_example, masks)

    def _points(self, prompts: Prompts) -> Tensor:
        """(E, side, side): a Gaussian around each positive point."""
        centres = prompts.points + 0.5
        offset = self._cells(prompts) - centres[..., None]  # (E, P, 2, side)
        drawn = _gaussian(offset / (POINT_SIGMA * self.image_size))
        positive = prompts.point_labels > 0
        return _maximum(drawn * positive[..., None, None])

    def _boxes(self, prompts: Prompts) -> Tensor:
        """(E, side, side): a Gaussian that follows the sides of each box."""
        low, high = prompts.boxes.chunk(2, dim=-1)  # (E, Q, 2)
        centres = (low + high) / 2
        half_sides = ((high - low) / 2).clamp(min=1)
        offset = self._cells(prompts) - centres[..., None]  # (E, Q, 2, side)
        offset = offset / half_sides[..., None]
        drawn = _gaussian(offset / BOX_SIGMA)
        drawn = drawn * _outer(offset.abs() < BOX_REACH)
        return _maximum(drawn * prompts.boxes_valid[..., None, None])

    def _cells(self, prompts: Prompts) -> Tensor:
        """(side,) centres of the cells along one axis, in input pixels."""
        steps = torch.arange(self.mask_size, device=prompts.points.device)
        return (steps + 0.5) * self.image_size / self.mask_size


def _gaussian(offset: Tensor) -> Tensor:
    """(..., 2, side) offsets (u, v) along x and y to exp(-(u^2 + v^2) / 2)."""
    return _outer(torch.exp(-(offset**2) / 2))


def _outer(axes: Tensor) -> Tensor:
    """(..., 2, side) values along x and y to their products (..., side, side)."""
    x, y = axes.unbind(-2)
    return x[..., None, :] * y[..., :, None]


def _maximum(maps: Tensor) -> Tensor:
    """(E, n, side, side) to the maximum over n, which is 0 where n is 0."""
    nothing = torch.zeros_like(maps.sum(1, keepdim=True))
    return torch.cat([maps, nothing], dim=1).amax(1)
