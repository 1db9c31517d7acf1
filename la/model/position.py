"""Positions of points and of image cells, added to tokens and to queries and keys (Eq. 1-2)."""

import math

import torch
from torch import Tensor, nn


class FourierPosition(nn.Module):
    """Random Fourier features of a place in the unit square; never in half precision."""

    positional_encoding_gaussian_matrix: Tensor  # (2, D / 2)

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.register_buffer("positional_encoding_gaussian_matrix", torch.empty(2, dim // 2))

    def forward(self, xy: Tensor) -> Tensor:
        """(..., 2) in [0, 1] -> (..., D)."""
        with torch.autocast(xy.device.type, enabled=False):
            matrix = self.positional_encoding_gaussian_matrix
            centred = 2 * xy.to(matrix.dtype) - 1
            angle = 2 * math.pi * (centred @ matrix)
            return torch.cat([angle.sin(), angle.cos()], dim=-1)

    def grid(self, height: int, width: int) -> Tensor:
        """(h*w, D), the positions of the cell centres of an image."""
        matrix = self.positional_encoding_gaussian_matrix
        # Made on the device: copying them there would make the host wait for it.
        rows = torch.arange(height, dtype=matrix.dtype, device=matrix.device)
        columns = torch.arange(width, dtype=matrix.dtype, device=matrix.device)
        y = (rows + 0.5) / height
        x = (columns + 0.5) / width
        return self(torch.cartesian_prod(y, x).flip(1))
