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

from la.data.feature_cache.memory import Memory
from la.errors import UserError

Numbers = Literal["float16", "int8"]


@dataclass(frozen=True)
class Float16:
    """Features of `shape` (V, h, w) as they are, two bytes per number."""

    shape: tuple[int, ...]
    suffix: ClassVar[str] = ".f16"

    @property
    def row_shape(self) -> tuple[int, ...]:
        """The shape of the array that is stored for an image."""
        return self.shape

    @property
    def n_bytes(self) -> int:
        """Bytes that are stored for an image."""
        return 2 * prod(self.shape)

    def pack(self, features: Tensor) -> np.ndarray:
        """(n, V, h, w) float16 -> (n, V, h, w)."""
        return features.numpy()

    def rows_for(self, features: Tensor, memory: Memory) -> Tensor:
        """Where the stored rows of features (n, V, h, w) are read to: the features themselves."""
        return features

    def unpack(self, rows: Tensor, features: Tensor) -> None:
        """Does nothing: the rows are the features."""


@dataclass(frozen=True)
class Int8:
    """Features of `shape` (V, h, w) in half the bytes.

    Each channel of an image is scaled so that its largest magnitude becomes 127, and rounded. It
    is stored as the four bytes of its scale in float32, then h * w numbers.
    """

    shape: tuple[int, ...]
    suffix: ClassVar[str] = ".i8"

    @property
    def row_shape(self) -> tuple[int, ...]:
        """(V, 4 + h * w), the shape of the array that is stored for an image."""
        n_channels, *cells = self.shape
        return n_channels, 4 + prod(cells)

    @property
    def n_bytes(self) -> int:
        """Bytes that are stored for an image."""
        return prod(self.row_shape)

    def pack(self, features: Tensor) -> np.ndarray:
        """(n, V, h, w) float16 -> (n, V, 4 + h * w)."""
        flat = features.float().flatten(2)
        scale = flat.abs().amax(2, keepdim=True) / 127  # (n, V, 1)
        numbers = (flat / scale.clamp(min=1e-30)).round().to(torch.int8)
        scale_bytes = scale.view(torch.uint8)
        number_bytes = numbers.view(torch.uint8)
        return torch.cat([scale_bytes, number_bytes], dim=2).numpy()

    def rows_for(self, features: Tensor, memory: Memory) -> Tensor:
        """Where the stored rows of features (n, V, h, w) are read to."""
        return memory.tensor((len(features), *self.row_shape), torch.uint8)

    def unpack(self, rows: Tensor, features: Tensor) -> None:
        """Rows (n, V, 4 + h * w) -> the values of features (n, V, h, w) float16."""
        n_images, n_channels, n_bytes = rows.shape
        wide = torch.empty(n_channels, n_bytes - 4)  # reused: allocating takes longest
        for packed, unpacked in zip(rows, features.flatten(2), strict=True):
            scale = packed[:, :4].contiguous().view(torch.float32)  # (V, 1)
            wide.copy_(packed[:, 4:].view(torch.int8))
            wide.mul_(scale)
            unpacked.copy_(wide)


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
