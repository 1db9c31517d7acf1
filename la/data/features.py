"""The feature cache: what a frozen backbone makes of an image, computed once and read from then on.

A store is a folder for one backbone and one way of preprocessing. Its shards, safetensors files,
hold the features of some images each, with a checksum of each image, and are independent. A shard
appears whole or not at all, so a killed writer loses the one it was at, and any number of processes
may write to one folder: they share out the shards by locks.

Half precision halves the bytes. float16 has 10 bits of mantissa where bfloat16 has 7; features are
of moderate size, so the wider range of bfloat16 buys nothing: the relative rounding error is at
most 2^-11 against 2^-8. What is beyond float16's range (65504) is refused, not stored as infinity.
"""

import json
import logging
import shutil
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from math import isfinite, prod
from pathlib import Path
from typing import Literal

import numpy as np
import safetensors.torch
import torch
from torch import Tensor

from la.config import digest
from la.data.shards import Shard, checksum, file_name, is_shard
from la.errors import UserError
from la.files import claim, progress_bar, write_whole

logger = logging.getLogger(__name__)

SHARD_BYTES = 256 << 20
SHARD_IMAGES = 2_000


@dataclass(frozen=True)
class FeatureKey:
    """All that the features of an image depend on; another key, another folder."""

    backbone: str
    weights_sha256: str
    image_size: int  # side of the square input, pixels
    resize: str  # "pad" or "squash"
    dtype: Literal["float16", "bfloat16", "float32"] = "float16"  # on disk

    @property
    def folder(self) -> str:
        """Readable, and different for different keys."""
        return f"{self.backbone}-{self.image_size}-{self.resize}-{self.dtype}-{digest(self)}"


class FeatureStore:
    """The features of one key under `root`, empty where there are none yet; see the module.

    To open a store writes nothing.
    """

    def __init__(self, root: Path, key: FeatureKey) -> None:
        self.key, self.folder = key, Path(root) / key.folder
        self.dtype = getattr(torch, key.dtype)
        self._place: dict[int, tuple[Shard, int]] = {}  # of an image
        self._checked: set[int] = set()  # images whose checksum was right
        self._look()

    def __reduce__(self) -> tuple:
        """For worker processes: where the features are, not the features."""
        return FeatureStore, (self.folder.parent, self.key)

    def _look(self) -> list[Path]:
        """Learn which shards there are now; those that are damaged."""
        known, damaged = {shard.path for shard, _ in self._place.values()}, []
        for path in sorted(set(self.folder.glob("*.safetensors")) - known):
            try:
                shard = Shard.of_file(path)
            except ValueError as error:
                logger.warning("%s; its images will be computed again", error)
                damaged.append(path)
                continue
            self._place |= {image_id: (shard, row) for row, image_id in enumerate(shard.image_ids)}
        return damaged

    def missing(self, image_ids: Iterable[int]) -> list[int]:
        """The images that have no features here, ascending."""
        return sorted({int(image_id) for image_id in image_ids} - self._place.keys())

    def write(
        self,
        image_ids: Iterable[int],
        load: Callable[[int], Tensor],
        encode: Callable[[Tensor], Tensor],
        *,
        batch_size: int = 8,
        progress: bool = True,
    ) -> None:
        """Compute and store the features of the images that have none; returns when all are there.

        Args:
            load: image id -> (3, S, S), what the backbone takes; called from threads.
            encode: (b, 3, S, S) -> (b, V, h, w).
            progress: show a bar with the time that is left.

        Raises:
            OSError: the disk has too little room, or cannot be written.
            ValueError: a feature does not fit the store's precision, or `load` raised it.
        """
        damaged, todo = self._look(), self.missing(image_ids)
        if not todo:
            return
        for path in damaged:
            path.unlink(missing_ok=True)
        write_whole(self.folder / "key.json", json.dumps(asdict(self.key), indent=1))
        with (
            ThreadPoolExecutor(2) as pool,
            progress_bar(
                total=len(todo), unit="image", desc="features", disable=not progress
            ) as bar,
        ):
            first = next(_batches(todo[:1], load, encode, 1, pool))
            size = first.numel() * self.dtype.itemsize
            self._check_disk(len(todo), size)
            n = max(1, min(SHARD_IMAGES, SHARD_BYTES // size))
            parts = [todo[start : start + n] for start in range(0, len(todo), n)]
            for wait in (False, True):  # then for what other processes were at
                for ids in parts:
                    path = self.folder / file_name(ids)
                    with claim(path, wait=wait) as granted:
                        if granted and not is_shard(path):
                            batches = _batches(ids, load, encode, batch_size, pool)
                            self._write_shard(path, ids, batches, bar)
        self._look()

    def _write_shard(self, path: Path, ids: list[int], batches: Iterator[Tensor], bar) -> None:
        stored = []
        for batch in batches:
            stored.append(batch.detach().cpu().to(self.dtype))
            bar.update(len(batch))
        features = torch.cat(stored).contiguous()  # (n, V, h, w)
        sums = features.flatten(1).sum(1, dtype=torch.float32)  # finite if all the terms are
        for image_id, total in zip(ids, sums.tolist(), strict=True):
            if not isfinite(total):
                raise UserError(
                    f"image {image_id}: a feature is not finite in {self.dtype}; "
                    "look at the image, or keep the features in bfloat16"
                )
        checksums = [checksum(*pair) for pair in zip(ids, features, strict=True)]
        words = json.dumps({"image_ids": ids, "checksums": checksums})
        write_whole(path, safetensors.torch.save({"features": features}, {"words": words}))

    def read(self, image_ids: Sequence[int], dtype: torch.dtype | None = None) -> Tensor:
        """(n, V, h, w), in the order asked for; in the stored precision if no `dtype` is named.

        The checksum of an image is looked at when this process first reads it.

        Raises:
            ValueError: an image has no features here, or its shard is damaged. A damaged shard is
                removed, so that `missing` names its images and `write` makes them anew.
        """
        dtype = dtype or self.dtype
        absent = [image_id for image_id in image_ids if image_id not in self._place]
        if absent:
            raise ValueError(
                f"{self.folder} has no features of {len(absent)} images, the first is {absent[0]}; "
                "compute them first"
            )
        if not len(image_ids):
            return torch.empty(0, 0, 0, 0, dtype=dtype)
        shape = self._place[image_ids[0]][0].features.shape[1:]
        # Room from numpy, which asks for huge pages: filled twice as fast as that of torch.empty.
        room = np.empty(len(image_ids) * prod(shape) * dtype.itemsize, np.uint8)
        features = torch.from_numpy(room).view(dtype).view(len(image_ids), *shape)
        for i, image_id in enumerate(image_ids):
            shard, row = self._place[image_id]
            stored = shard.features[row]
            if image_id not in self._checked:
                if checksum(image_id, stored) != shard.checksums[row]:
                    self._place = {i: at for i, at in self._place.items() if at[0] is not shard}
                    shard.path.unlink(missing_ok=True)
                    raise ValueError(
                        f"{shard.path} is damaged at image {image_id} and was removed; "
                        f"compute its {len(shard.image_ids)} images again"
                    )
                self._checked.add(image_id)
            features[i] = stored
        return features

    def _check_disk(self, n: int, size: int) -> None:
        needed, free = n * size / 1e9, shutil.disk_usage(self.folder).free / 1e9
        logger.info("%d images need %.2f GB in %s; %.2f GB are free", n, needed, self.folder, free)
        if needed > 0.98 * free:
            raise OSError(
                f"{self.folder} needs {needed:.2f} GB for {n} images and has {free:.2f} GB; "
                "make room, or keep the features elsewhere"
            )


def _batches(ids, load, encode, batch_size, pool) -> Iterator[Tensor]:
    """Encoded batches; the images of the next one are loaded meanwhile.

    The last one is filled up: a backbone rounds a smaller batch differently, and the features of an
    image must not depend on which others were missing when it was encoded.
    """
    groups = [ids[first : first + batch_size] for first in range(0, len(ids), batch_size)]
    coming = [pool.submit(load, image_id) for image_id in groups[0]]
    for group, following in zip(groups, [*groups[1:], []], strict=True):
        images = torch.stack([image.result() for image in coming])
        coming = [pool.submit(load, image_id) for image_id in following]
        filling = images[-1:].repeat_interleave(batch_size - len(group), 0)
        with torch.inference_mode():
            features = encode(torch.cat([images, filling]))
        yield features[: len(group)]
