"""The feature cache: the output of a frozen backbone, computed once per image, then read.

A store is a folder for one backbone and one way of preprocessing. It has one file per picture: the
features, in float16 or int8 (`packing`), and a CRC-32 of the picture's digest and those bytes. A
picture is identified by its content, so a replaced image file gets new features, and equal pictures
of several data sets share theirs. A file that a killed writer left incomplete has the wrong size
and counts as missing. Processes that write to one folder claim parts of the images by
locks. A feature beyond the range of float16 (65504) is an error.
"""

import json
import logging
import os
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict, dataclass
from math import isfinite
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from la.config import digest
from la.data.feature_cache.memory import Memory
from la.data.feature_cache.packing import FORMATS, Float16, Int8, Numbers
from la.errors import UserError
from la.files import check_disk, claim, named, progress_bar, write_whole

logger = logging.getLogger(__name__)

PART_IMAGES = 128  # images that one process claims at a time
NO_SHAPE = (0, 0, 0)  # of the features of a store that has none yet

Load = Callable[[int], Tensor]  # image id -> (3, S, S), the backbone's input
Encode = Callable[[Tensor], Tensor]  # (b, 3, S, S) -> (b, V, h, w)


@dataclass(frozen=True)
class FeatureKey:
    """Everything that the features of an image depend on; each key has its own folder."""

    backbone: str
    weights_sha256: str
    image_size: int  # side of the square input, pixels
    resize: str  # "pad" or "squash"
    numbers: Numbers = "float16"

    @property
    def folder(self) -> str:
        """A readable name that differs for different keys."""
        fields = asdict(self)
        del fields["numbers"]  # the suffix of the name says which
        name = f"{self.backbone}-{self.image_size}-{self.resize}-{digest(fields)}"
        return name if self.numbers == "float16" else f"{name}-{self.numbers}"


class FeatureStore:
    """The features of one key under `root`. Opening a store writes nothing."""

    def __init__(self, root: Path, key: FeatureKey) -> None:
        self.key = key
        self.folder = Path(root) / key.folder
        self._format: Float16 | Int8 = FORMATS[key.numbers](NO_SHAPE)
        self._stored: set[str] = set()  # pictures that have a file of the right size
        self._memory = Memory()
        self._verified: set[str] = set()  # pictures whose checksum this process has compared
        self._scan()

    def __reduce__(self) -> tuple:
        """A pickle for a worker process holds the folder, not the features."""
        return FeatureStore, (self.folder.parent, self.key)

    def _scan(self) -> None:
        """Find the pictures that have a file; files of another size count as missing."""
        shape = self.folder / "shape.json"
        if not shape.exists():
            return
        self._set_shape(json.loads(shape.read_text()))
        self._stored = set()
        for entry in os.scandir(self.folder):
            if not entry.name.endswith(self._format.suffix):
                continue
            if entry.stat().st_size == self._n_bytes:
                self._stored.add(entry.name.removesuffix(self._format.suffix))
            else:
                logger.warning("%s is damaged; its features will be computed again", entry.path)

    def _set_shape(self, shape: Sequence[int]) -> None:
        """All features of a store have one shape (V, h, w)."""
        self._format = FORMATS[self.key.numbers](tuple(shape))

    @property
    def _n_bytes(self) -> int:
        """The size of a file; the checksum takes four bytes."""
        return self._format.n_bytes + 4

    def _path(self, picture: str) -> Path:
        return self.folder / f"{picture}{self._format.suffix}"

    def missing(self, pictures: Iterable[str]) -> list[str]:
        """The pictures that have no features yet, once each, in the given order."""
        return [p for p in dict.fromkeys(pictures) if p not in self._stored]

    def write(
        self,
        images: Mapping[str, int],
        load: Load,
        encode: Encode,
        *,
        batch_size: int = 8,
        progress: bool = True,
    ) -> None:
        """Compute and store the missing features; returns when all are there.

        Args:
            images: the id of an image of each picture.
            load: called from threads.
            progress: show a bar with the remaining time.

        Raises:
            OSError: the disk has too little room, or cannot be written.
            UserError: a feature is not finite in float16, or `load` raised it.
        """
        self._scan()
        todo = self.missing(images)
        if not todo:
            return
        write_whole(self.folder / "key.json", json.dumps(asdict(self.key), indent=1))
        bar = progress_bar(total=len(todo), unit="image", desc="features", disable=not progress)
        with ThreadPoolExecutor(3) as pool, bar:
            if self._format.shape == NO_SHAPE:
                _, example = next(_batches([images[todo[0]]], load, encode, batch_size, pool))
                self._set_shape(example.shape[1:])
                write_whole(self.folder / "shape.json", json.dumps(self._format.shape))
            check_disk({self.folder: len(todo) * self._n_bytes})
            starts = range(0, len(todo), PART_IMAGES)
            parts = [todo[start : start + PART_IMAGES] for start in starts]
            for wait in (False, True):  # second pass: parts that other processes had claimed
                for part in parts:
                    with claim(self.folder / f"part-{part[0]}", wait=wait) as granted:
                        if not granted:
                            continue
                        pictures = {images[p]: p for p in part if not self._is_whole(p)}
                        batches = _batches([*pictures], load, encode, batch_size, pool)
                        for n_written in self._write_batches(batches, pictures, pool):
                            bar.update(n_written)
        self._scan()

    def _write_batches(
        self,
        batches: Iterable[tuple[list[int], Tensor]],
        pictures: Mapping[int, str],
        pool: ThreadPoolExecutor,
    ) -> Iterator[int]:
        """Write each batch while the next one is computed; yields the number of its images.

        `pictures` has the picture of each image id.
        """
        writing: Future[None] | None = None
        for image_ids, features in batches:
            if writing:
                writing.result()
            of_batch = [pictures[image_id] for image_id in image_ids]
            writing = pool.submit(self._write_files, of_batch, image_ids, features)
            yield len(image_ids)
        if writing:
            writing.result()

    def _is_whole(self, picture: str) -> bool:
        """Whether the file of a picture is there now, and has the right size."""
        path = self._path(picture)
        return path.exists() and path.stat().st_size == self._n_bytes

    def _write_files(self, pictures: list[str], image_ids: list[int], features: Tensor) -> None:
        """Write features (n, V, h, w), one file per picture."""
        halves = features.detach().half().cpu().contiguous()
        # The sum of a picture's features is finite if and only if all of them are.
        sums = halves.flatten(1).sum(1, dtype=torch.float32)
        rows = self._format.pack(halves)
        for picture, image_id, row, total in zip(
            pictures, image_ids, rows, sums.tolist(), strict=True
        ):
            if not isfinite(total):
                raise UserError(
                    f"image {image_id}: a feature is not finite in float16; look at the image"
                )
            path = self._path(picture)
            try:
                # Without fsync, because a file that a power cut damages fails its checksum.
                # Not truncated first, because another process may be reading the same bytes.
                with named(path), path.open("r+b" if path.exists() else "wb") as file:
                    file.write(row)
                    file.write(_checksum(picture, row))
                    file.truncate()
            except BaseException:
                path.unlink(missing_ok=True)
                raise

    def read(self, pictures: Sequence[str], *, pin_memory: bool = False) -> Tensor:
        """Features (n, V, h, w) in float16, in the order of the pictures.

        A checksum is verified when this process first reads the picture. With `pin_memory` the
        features are page-locked, so that a GPU can copy them while it computes.

        Raises:
            ValueError: a picture has no features yet, or its file is damaged. A damaged file is
                removed, so that `missing` lists its picture and `write` computes it again.
        """
        absent = [picture for picture in pictures if picture not in self._stored]
        if absent:
            missing = f"picture {absent[0]}, the first of {len(absent)}"
            raise ValueError(f"{self.folder} has no features of {missing}; compute them first")
        shape = len(pictures), *self._format.shape
        features = self._memory.tensor(shape, torch.float16, pin_memory=pin_memory)
        rows = self._format.rows_for(features, self._memory)
        for row, picture in zip(rows.numpy(), pictures, strict=True):
            with self._path(picture).open("rb", buffering=0) as file:
                n_read = file.readinto(row.reshape(-1).view(np.uint8))
                if picture in self._verified:
                    continue
                if n_read != row.nbytes or file.read() != _checksum(picture, row):
                    self._discard(picture)
            self._verified.add(picture)
        self._format.unpack(rows, features)
        return features

    def _discard(self, picture: str) -> None:
        """Remove a damaged file and raise a ValueError with its name."""
        path = self._path(picture)
        path.unlink(missing_ok=True)
        self._stored.discard(picture)
        raise ValueError(f"{path} was damaged and is removed; compute its features again")


def _checksum(picture: str, row: np.ndarray) -> bytes:
    """The CRC-32 of the picture's digest and its stored bytes, 4 bytes."""
    crc = zlib.crc32(np.ascontiguousarray(row).tobytes(), zlib.crc32(picture.encode()))
    return crc.to_bytes(4, "little")


def _batches(
    image_ids: list[int], load: Load, encode: Encode, batch_size: int, pool: ThreadPoolExecutor
) -> Iterator[tuple[list[int], Tensor]]:
    """(ids, features) of each batch; the images of the next one are loaded meanwhile.

    The last batch is padded with copies: a backbone rounds a smaller batch differently, and the
    features of an image must not depend on which other images were missing.
    """
    groups = [image_ids[i : i + batch_size] for i in range(0, len(image_ids), batch_size)]
    coming = [pool.submit(load, image_id) for image_id in image_ids[:batch_size]]
    for n, group in enumerate(groups, start=1):
        images = torch.stack([image.result() for image in coming])
        following = groups[n] if n < len(groups) else []
        coming = [pool.submit(load, image_id) for image_id in following]
        copies = images[-1:].repeat_interleave(batch_size - len(group), 0)
        with torch.inference_mode():
            features = encode(torch.cat([images, copies]))
        yield group, features[: len(group)]
