"""The feature cache: what a frozen backbone makes of an image, computed once and read from then on.

A store is a folder for one backbone and one way of preprocessing. Its shards hold the features of
some images each and are independent: a header says which images, and has a checksum of each of them
and of itself. A shard appears whole or not at all, so a killed writer loses the one it was at, and
any number of processes may write to one folder: they share out the shards by locks.

Half precision halves the bytes. float16 has 10 bits of mantissa where bfloat16 has 7; features are
of moderate size, so the wider range of bfloat16 buys nothing: the relative rounding error is at
most 2^-11 against 2^-8. What is beyond float16's range (65504) is refused, not stored as infinity.
"""

import hashlib
import json
import logging
import shutil
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from math import prod
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from torch import Tensor
from tqdm.auto import tqdm

from la.data.atomic import atomic_write, claim, sweep
from la.data.shards import Shard, crc, is_whole, write_shard

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
        digest = hashlib.sha256(json.dumps(asdict(self), sort_keys=True).encode()).hexdigest()
        return f"{self.backbone}-{self.image_size}-{self.resize}-{self.dtype}-{digest[:12]}"


@dataclass(frozen=True, eq=False)
class FeatureStore:
    """The features of one key under `root`; see the module."""

    key: FeatureKey
    folder: Path
    _place: dict[int, tuple[Shard, int]] = field(default_factory=dict, repr=False)  # of an image
    _damaged: list[Path] = field(default_factory=list, repr=False)  # files that are no shards
    _tensors: dict[Path, Tensor] = field(default_factory=dict, repr=False)  # shards in use
    _checked: set[int] = field(default_factory=set, repr=False)  # images whose checksum was right

    @classmethod
    def open(cls, root: Path, key: FeatureKey) -> "FeatureStore":
        """The store of `key` under `root`; an empty one if there is none yet. Writes nothing."""
        store = cls(key, Path(root) / key.folder)
        store._look()
        return store

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
        self._look()
        todo = self.missing(image_ids)
        if not todo:
            return
        self.folder.mkdir(parents=True, exist_ok=True)
        sweep(self.folder)
        for path in self._damaged:
            if not is_whole(path):  # or another process has remade it
                path.unlink(missing_ok=True)
        self._damaged.clear()
        with atomic_write(self.folder / "key.json") as file:
            file.write(json.dumps(asdict(self.key), indent=1).encode())
        with (
            ThreadPoolExecutor(2) as pool,
            tqdm(total=len(todo), unit="image", desc="features", disable=not progress) as bar,
        ):
            shape = tuple(next(_batches(todo[:1], load, encode, 1, pool)).shape[1:])
            size = prod(shape) * self._dtype.itemsize
            self._check_disk(len(todo), size)
            n = max(1, min(SHARD_IMAGES, SHARD_BYTES // size))
            parts = [todo[first : first + n] for first in range(0, len(todo), n)]
            for wait in (False, True):  # then for what other processes were at
                for ids in parts:
                    path = self.folder / f"{_digest(ids)}.shard"
                    if path.exists():
                        continue
                    with claim(path, wait=wait) as granted:
                        if granted and not path.exists():
                            batches = _batches(ids, load, encode, batch_size, pool)
                            write_shard(path, ids, shape, self._dtype, _counted(batches, bar))
        self._look()

    def read(self, image_ids: Sequence[int], dtype: torch.dtype = torch.float32) -> Tensor:
        """(n, V, h, w) in `dtype`, in the order asked for.

        The checksum of an image is looked at when this process first reads it.

        Raises:
            ValueError: an image has no features here, or its shard is damaged. A damaged shard is
                removed, so that `missing` names its images and `write` makes them anew.
        """
        absent = [image_id for image_id in image_ids if image_id not in self._place]
        if absent:
            raise ValueError(
                f"{self.folder} has no features of {len(absent)} images, the first is {absent[0]}; "
                "compute them first"
            )
        if not len(image_ids):
            return torch.empty(0, 0, 0, 0, dtype=dtype)
        shape = self._place[image_ids[0]][0].shape
        # Room from numpy, which asks for huge pages: filled twice as fast as that of torch.empty.
        room = np.empty(len(image_ids) * prod(shape) * dtype.itemsize, np.uint8)
        features = torch.from_numpy(room).view(dtype).view(len(image_ids), *shape)
        for i, image_id in enumerate(image_ids):
            shard, row = self._place[image_id]
            if shard.path not in self._tensors:
                self._tensors[shard.path] = shard.tensor()
            stored = self._tensors[shard.path][row]
            if image_id not in self._checked:
                if crc(stored) != shard.checksums[row]:
                    self._forget(shard)
                    raise ValueError(
                        f"{shard.path} is damaged at image {image_id} and was removed; "
                        f"compute its {len(shard.image_ids)} images again"
                    )
                self._checked.add(image_id)
            features[i] = stored
        return features

    def verify(self) -> list[Path]:
        """Look at every checksum; remove the damaged shards and say which these were."""
        self._look()
        shards = {shard for shard, _ in self._place.values()}
        damaged = [shard for shard in shards if not is_whole(shard.path)]
        for shard in damaged:
            self._forget(shard)
        return sorted([*self._damaged, *(shard.path for shard in damaged)])

    def __getstate__(self) -> dict:
        """For worker processes: where the features are, not the features."""
        return {**self.__dict__, "_tensors": {}, "_checked": set()}

    @property
    def _dtype(self) -> torch.dtype:
        return getattr(torch, self.key.dtype)

    def _look(self) -> None:
        """Learn which shards there are now."""
        known = {shard.path for shard, _ in self._place.values()} | set(self._damaged)
        for path in sorted(set(self.folder.glob("*.shard")) - known):
            try:
                shard = Shard.of_file(path)
            except (OSError, ValueError) as error:
                logger.warning("%s; its images will be computed again", error)
                self._damaged.append(path)
                continue
            self._place.update((image, (shard, row)) for row, image in enumerate(shard.image_ids))

    def _forget(self, shard: Shard) -> None:
        logger.warning("%s is damaged and removed; its images are missing now", shard.path)
        with suppress(OSError):
            shard.path.unlink()
        self._tensors.pop(shard.path, None)
        for image_id in shard.image_ids:
            if self._place.get(image_id, (None,))[0] is shard:
                del self._place[image_id]
                self._checked.discard(image_id)

    def _check_disk(self, n: int, size: int) -> None:
        needed, free = n * size / 1e9, shutil.disk_usage(self.folder).free / 1e9
        logger.info("%d images need %.2f GB in %s; %.2f GB are free", n, needed, self.folder, free)
        if needed > 0.98 * free:
            raise OSError(
                f"{self.folder} needs {needed:.2f} GB for {n} images and has {free:.2f} GB; "
                "make room, or keep the features elsewhere"
            )


def _batches(ids, load, encode, batch_size, pool) -> Iterator[Tensor]:
    """Encoded batches; the images of the next one are loaded meanwhile."""
    groups = [ids[first : first + batch_size] for first in range(0, len(ids), batch_size)]
    coming = [pool.submit(load, image_id) for image_id in groups[0]]
    for following in [*groups[1:], []]:
        images = torch.stack([image.result() for image in coming])
        coming = [pool.submit(load, image_id) for image_id in following]
        with torch.inference_mode():
            features = encode(images)
        yield features


def _counted(batches: Iterator[Tensor], bar: tqdm) -> Iterator[Tensor]:
    for batch in batches:
        yield batch
        bar.update(len(batch))


def _digest(ids: list[int]) -> str:
    return hashlib.sha256(json.dumps(ids).encode()).hexdigest()[:16]
