"""How the features of an image are stored: in float16, or in int8 with a scale for each channel.

float16 has 10 bits of mantissa where bfloat16 has 7, and features do not need the wider range of
bfloat16.
"""

import os
from dataclasses import dataclass
from math import prod
from typing import ClassVar, Literal, cast

import numpy as np
import torch
from torch import Tensor

from la.errors import UserError

Numbers = Literal["float16", "int8"]


@dataclass(frozen=True)
class Float16:
    """Features of `shape` (V, h, w) as they are, two bytes per number."""

    shape: tuple[int, ...]
    suffix: ClassVar[str] = ".f16"
    dtype: ClassVar[type] = np.float16

    @property
    def row_shape(self) -> tuple[int, ...]:
        """Of the array that is stored for an image."""
        return self.shape

    @property
    def n_bytes(self) -> int:
        """Of one image."""
        return 2 * prod(self.shape)

    def pack(self, features: Tensor) -> np.ndarray:
        """(n, V, h, w) float16 -> (n, V, h, w)."""
        return features.numpy()

    def unpack(self, rows: np.ndarray) -> Tensor:
        """(n, V, h, w) -> (n, V, h, w) float16."""
        return torch.from_numpy(rows)


@dataclass(frozen=True)
class Int8:
    """Features of `shape` (V, h, w) in half the bytes.

    Each channel of an image is scaled so that its largest magnitude becomes 127, and rounded. It
    is stored as the four bytes of its scale in float32, then h * w numbers.
    """

    shape: tuple[int, ...]
    suffix: ClassVar[str] = ".i8"
    dtype: ClassVar[type] = np.uint8

    @property
    def row_shape(self) -> tuple[int, ...]:
        """Of the array that is stored for an image: (V, 4 + h * w)."""
        n_channels, *cells = self.shape
        return n_channels, 4 + prod(cells)

    @property
    def n_bytes(self) -> int:
        """Of one image."""
        return prod(self.row_shape)

    def pack(self, features: Tensor) -> np.ndarray:
        """(n, V, h, w) float16 -> (n, V, 4 + h * w)."""
        flat = features.float().flatten(2)
        scale = flat.abs().amax(2, keepdim=True) / 127  # (n, V, 1)
        numbers = (flat / scale.clamp(min=1e-30)).round().to(torch.int8)
        scale_bytes = scale.view(torch.uint8)
        number_bytes = numbers.view(torch.uint8)
        return torch.cat([scale_bytes, number_bytes], dim=2).numpy()

    def unpack(self, rows: np.ndarray) -> Tensor:
        """(n, V, 4 + h * w) -> (n, V, h, w) float16."""
        n_images, n_channels, n_bytes = rows.shape
        n_cells = n_bytes - 4
        features = torch.from_numpy(np.empty((n_images, n_channels, n_cells), np.float16))
        wide = torch.empty(n_channels, n_cells)  # reused: allocating takes longest
        for packed, unpacked in zip(torch.from_numpy(rows), features, strict=True):
            scale = packed[:, :4].contiguous().view(torch.float32)  # (V, 1)
            wide.copy_(packed[:, 4:].view(torch.int8))
            wide.mul_(scale)
            unpacked.copy_(wide)
        return features.unflatten(2, self.shape[1:])


FORMATS: dict[str, type[Float16 | Int8]] = {"float16": Float16, "int8": Int8}


def chosen_numbers() -> Numbers:
    """How features are rounded: `LA_FEATURES`, else float16; "none" stores no features.

    Raises:
        UserError: there is no such format.
    """
    numbers = os.environ.get("LA_FEATURES") or "float16"
    if numbers == "none":
        return "float16"
    if numbers not in FORMATS:
        raise UserError(f"LA_FEATURES={numbers} is unknown; use float16, int8 or none")
    return cast(Numbers, numbers)
