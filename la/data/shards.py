"""A shard of the feature cache: the features of some images in one safetensors file, checked."""

import hashlib
import json
import zlib
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor


@dataclass(frozen=True, eq=False)
class Shard:
    """The features of some images in one file."""

    path: Path
    image_ids: list[int]  # n
    checksums: list[int]  # n, see `checksum`
    features: Tensor  # (n, V, h, w) in the stored precision, memory-mapped

    @classmethod
    def of_file(cls, path: Path) -> "Shard":
        """The shard at `path`; only its header is read.

        Raises:
            ValueError: the file is no shard, or damaged.
        """
        try:
            with safe_open(path, "pt") as file:
                words, features = json.loads(file.metadata()["words"]), file.get_tensor("features")
            shard = cls(path, words["image_ids"], words["checksums"], features)
            if path.name != file_name(shard.image_ids):
                raise ValueError("its images are others than its name says")
            return shard
        except (OSError, ValueError, KeyError, TypeError, SafetensorError) as error:
            raise ValueError(f"{path} is damaged in its header ({error})") from None


def checksum(image_id: int, features: Tensor) -> int:
    """The CRC-32 of the bytes of contiguous features, begun with the image's id."""
    return zlib.crc32(features.view(torch.uint8).numpy(), zlib.crc32(str(image_id).encode()))


def is_shard(path: Path) -> bool:
    """Whether there is a shard at `path`, by its header."""
    try:
        return bool(Shard.of_file(path))
    except ValueError:
        return False


def file_name(ids: list[int]) -> str:
    """Of the shard of these images."""
    return f"{hashlib.sha256(json.dumps(ids).encode()).hexdigest()[:16]}.safetensors"
