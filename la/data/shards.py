"""Shards: the features of some images in one file, with a checksum for each of them.

A shard begins with a mark, the length and CRC-32 of its header, and the header, JSON; the features
follow, image after image, in the stored precision.
"""

import json
import struct
import zlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import prod
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from la.data.atomic import atomic_write

START = struct.Struct("<8sII")  # mark, bytes of the header, its CRC-32
MARK = b"LAshard1"


@dataclass(frozen=True, eq=False)
class Shard:
    """The features of some images in one file."""

    path: Path
    image_ids: tuple[int, ...]  # n
    shape: tuple[int, int, int]  # (V, h, w)
    dtype: torch.dtype
    checksums: tuple[int, ...]  # n, CRC-32 of each image's features
    begin: int  # where the features begin in the file

    @classmethod
    def of_file(cls, path: Path) -> "Shard":
        """The shard at `path`; only its header is read.

        Raises:
            ValueError: the file is no shard, or damaged.
        """
        with path.open("rb") as file:
            start = file.read(START.size)
            mark, length, checksum = (
                START.unpack(start) if len(start) == START.size else (b"", 0, 0)
            )
            text = file.read(length) if mark == MARK else b""
        if mark != MARK or zlib.crc32(text) != checksum:
            raise ValueError(f"{path} is damaged in its header")
        header = json.loads(text)
        shard = cls(
            path=path,
            image_ids=tuple(header["image_ids"]),
            shape=tuple(header["shape"]),
            dtype=getattr(torch, header["dtype"]),
            checksums=tuple(int(text, 16) for text in header["checksums"]),
            begin=START.size + length,
        )
        wanted = shard.begin + len(shard.image_ids) * prod(shard.shape) * shard.dtype.itemsize
        if path.stat().st_size != wanted:
            raise ValueError(f"{path} is damaged: {path.stat().st_size} bytes instead of {wanted}")
        return shard

    def tensor(self) -> Tensor:
        """(n, V, h, w) in the stored precision, memory-mapped."""
        raw = np.memmap(self.path, np.uint8, mode="c", offset=self.begin)  # torch wants it writable
        return torch.from_numpy(raw).view(self.dtype).view(-1, *self.shape)


def write_shard(
    path: Path, ids: Sequence[int], shape: tuple, dtype: torch.dtype, batches: Iterable[Tensor]
) -> None:
    """Store the features of the images `ids`, which come in `batches` (b, V, h, w), in that order.

    Raises:
        OSError: the file cannot be written.
        ValueError: a feature is not finite in `dtype`.
    """
    with atomic_write(path) as file:
        checksums = [0] * len(ids)
        file.write(_header(ids, shape, dtype, checksums))
        row = 0
        for features in batches:
            stored = features.detach().cpu().to(dtype).contiguous()
            sums = stored.flatten(1).sum(1, dtype=torch.float32)  # finite if all the terms are
            for image, finite in zip(stored, sums.isfinite().tolist(), strict=True):
                if not finite:
                    raise ValueError(
                        f"image {ids[row]}: a feature is not finite in {dtype}; "
                        "look at the image, or keep the features in bfloat16"
                    )
                checksums[row] = crc(image)
                file.write(_bytes(image))
                row += 1
        file.seek(0)
        file.write(_header(ids, shape, dtype, checksums))


def is_whole(path: Path) -> bool:
    """Whether there is a shard at `path` and all its checksums are right."""
    try:
        shard = Shard.of_file(path)
    except (OSError, ValueError):
        return False
    return all(
        crc(row) == wanted for row, wanted in zip(shard.tensor(), shard.checksums, strict=True)
    )


def crc(features: Tensor) -> int:
    """The CRC-32 of the bytes of contiguous features."""
    return zlib.crc32(_bytes(features))


def _bytes(features: Tensor) -> np.ndarray:
    return features.view(torch.uint8).numpy()


def _header(ids: Sequence[int], shape: tuple, dtype: torch.dtype, checksums: list[int]) -> bytes:
    """The start of a shard; as long for any checksums, a multiple of 64 bytes."""
    words = {
        "image_ids": list(ids),
        "shape": shape,
        "dtype": str(dtype).removeprefix("torch."),
        "checksums": [f"{checksum:08x}" for checksum in checksums],
    }
    text = json.dumps(words, separators=(",", ":")).encode()
    text += b" " * (-(START.size + len(text)) % 64)
    return START.pack(MARK, len(text), zlib.crc32(text)) + text
