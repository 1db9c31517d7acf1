"""Prompts as soft maps: how training-free methods, which know only masks, take boxes and points.

A box becomes a Gaussian as wide as its sides, a point a small Gaussian around it; a mask stays
what it is.
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
    """How prompts become soft maps."""

    image_size: int  # side of the input, the prompts' frame
    mask_size: int  # side of the maps before they are averaged into cells

    def __call__(self, prompts: Prompts, size: tuple[int, int]) -> Tensor:
        """(E, h, w) in [0, 1], the maximum over an example's prompts; 0 where none draws."""
        n, side = len(prompts.example_row), self.mask_size
        maps = prompts.points.new_zeros(n, side, side)
        at = (torch.arange(side, device=maps.device) + 0.5) * self.image_size / side  # centres
        for drawn in (self._points(prompts, at), self._boxes(prompts, at)):
            maps = torch.maximum(maps, F.pad(drawn, (0, 0, 0, 0, 0, 1)).amax(1))
        masks = prompts.masks.to(maps.dtype)
        if masks.shape[-1] != side:
            masks = F.adaptive_avg_pool2d(masks[:, None], side)[:, 0]
        masks = torch.zeros_like(maps).index_copy(0, prompts.mask_example, masks)
        return F.adaptive_avg_pool2d(torch.maximum(maps, masks)[:, None], size)[:, 0]

    def _points(self, prompts: Prompts, at: Tensor) -> Tensor:
        """(E, P, side, side): a Gaussian around each positive point; the others draw nothing."""
        offset = at - (prompts.points + 0.5)[..., None]  # (E, P, 2, side)
        drawn = _bump(offset / (POINT_SIGMA * self.image_size))
        return drawn * (prompts.point_labels > 0)[..., None, None]

    def _boxes(self, prompts: Prompts, at: Tensor) -> Tensor:
        """(E, Q, side, side): a Gaussian that follows the sides of each box."""
        low, high = prompts.boxes.unflatten(2, (2, 2)).unbind(2)  # (E, Q, 2)
        half = ((high - low) / 2).clamp(min=1)
        offset = (at - ((low + high) / 2)[..., None]) / half[..., None]  # (E, Q, 2, side)
        x, y = (offset.abs() < BOX_REACH).unbind(2)
        inside = x[..., None, :] & y[..., None] & prompts.boxes_valid[..., None, None]
        return _bump(offset / BOX_SIGMA) * inside


def _bump(offset: Tensor) -> Tensor:
    """(..., 2, side) offsets along x and y -> (..., side, side), exp(-(u^2 + v^2) / 2)."""
    u, v = torch.exp(-(offset**2) / 2).unbind(-2)
    return u[..., None, :] * v[..., None]
