"""`CocoIndex`: the images, categories and instances of an annotation file, without a pixel read.

A file is parsed once. Its arrays go to a cache file that is named by the annotation file's SHA-256
and memory-mapped from then on (safetensors' layout). Segmentations stay polygons and run lengths
until `mask` asks for pixels.
"""

import hashlib
import logging
import re
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path

import numpy as np
import orjson
from PIL import Image

from la.data.annotations import Outlines, parse
from la.data.atomic import atomic_write
from la.data.images import ImageFolder, read_rgb

logger = logging.getLogger(__name__)

FORMAT = 1  # of the cache file; another number, another file
DTYPES = {"I64": np.int64, "F64": np.float64, "BOOL": np.bool_}


@dataclass(frozen=True, eq=False)
class CocoIndex:
    """What an annotation file says; letters here: n images, c categories, a annotations."""

    source: Path  # the annotation file
    images: Path  # the folder in which the images lie, in any sub-folder
    sha256: str  # of the annotation file
    image_ids: np.ndarray  # (n,) int64, ascending
    sizes: np.ndarray  # (n, 2) int64, (H, W) as the file states them
    file_names: tuple[str, ...]  # n
    category_ids: np.ndarray  # (c,) int64, ascending
    category_names: tuple[str, ...]  # c
    annotation_image: np.ndarray  # (a,) int64 row of image_ids, ascending; then in the file's order
    annotation_category: np.ndarray  # (a,) int64 row of category_ids
    annotation_area: np.ndarray  # (a,) float64, as the file states it
    annotation_crowd: np.ndarray  # (a,) bool
    annotation_box: np.ndarray  # (a, 4) float64, (x0, y0, x1, y1) in original pixels
    skipped: dict[str, int]  # entries left out, by the reasons of annotations.py
    outlines: Outlines = field(repr=False)  # of the whole file
    annotation_outline: np.ndarray = field(repr=False)  # (a,) int64, number in outlines
    folder: ImageFolder = field(repr=False)

    @classmethod
    def from_json(
        cls, path: Path, images: Path | None = None, cache: Path | None = None
    ) -> "CocoIndex":
        """The index of an annotation file in COCO's instance format.

        Args:
            path: the file; masks are polygons, run lengths or compressed run lengths.
            images: where its images lie; when omitted, the folder that holds `annotations/`.
            cache: a folder that keeps the parsed arrays; when omitted, nothing is kept.

        Raises:
            FileNotFoundError: there is no such file.
            ValueError: it is not such a file, or nothing in it can be used.
        """
        path = Path(path)
        if not path.is_file():
            raise FileNotFoundError(f"no annotation file {path}; give an instances_*.json")
        if images is None:
            images = path.parent.parent if path.parent.name == "annotations" else path.parent
        sha256, raw = _content(path, cache)
        stored = Path(cache or "") / f"index-{FORMAT}-{sha256}.safetensors"
        try:
            if cache is None:
                raise FileNotFoundError
            arrays, words = _load(stored)
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            arrays, words = parse(path.read_bytes() if raw is None else raw, path)
            if cache is not None:
                _try_to_keep(stored, *_pack(arrays, words))
        if words["skipped"]:
            faults = ", ".join(f"{reason} {count}" for reason, count in words["skipped"].items())
            logger.warning("%s: entries that cannot be used are left out: %s", path, faults)
        names = Outlines.__dataclass_fields__
        return cls(
            source=path,
            images=Path(images),
            sha256=sha256,
            file_names=tuple(words["file_names"]),
            category_names=tuple(words["category_names"]),
            skipped=words["skipped"],
            outlines=Outlines(**{name: arrays[name] for name in names}),
            folder=ImageFolder(Path(images)),
            **{name: array for name, array in arrays.items() if name not in names},
        )

    def annotations_of(self, image_id: int) -> range:
        """Rows of an image's annotations, in the file's order."""
        row = self._row(image_id)
        return range(int(self._starts[row]), int(self._starts[row + 1]))

    def mask(self, annotation: int) -> np.ndarray:
        """(H, W) bool: the pixels of one annotation, as pycocotools draws them."""
        height, width = self.sizes[self.annotation_image[annotation]].tolist()
        return self.outlines.draw(int(self.annotation_outline[annotation]), height, width)

    def path(self, image_id: int) -> Path:
        """The image's file; COCO's 2014 and 2017 names stand for one another.

        Raises:
            FileNotFoundError: no file of that name lies under `images`.
            ValueError: several do.
        """
        name = self.file_names[self._row(image_id)]
        try:
            return self.folder.find(name)
        except (FileNotFoundError, ValueError) as error:
            raise type(error)(f"image {image_id} of {self.source}: {error}") from None

    def read_image(self, image_id: int) -> Image.Image:
        """The image as 8-bit RGB, of the stated size, in the frame of its annotations.

        Raises:
            FileNotFoundError: see `path`.
            ValueError: the file is damaged, no image, or of another size than stated.
        """
        path = self.path(image_id)
        height, width = self.sizes[self._row(image_id)].tolist()
        try:
            return read_rgb(path, (height, width))
        except ValueError as error:
            raise ValueError(f"image {image_id} of {self.source}: {error}") from None

    def subset(self, image_ids: Iterable[int]) -> "CocoIndex":
        """The same index with only these images.

        Raises:
            ValueError: an id is not in the index.
        """
        wanted = sorted({int(image_id) for image_id in image_ids})
        rows = np.array([self._row(image_id) for image_id in wanted], np.int64)
        kept = np.flatnonzero(np.isin(self.annotation_image, rows))
        return replace(
            self,
            image_ids=self.image_ids[rows],
            sizes=self.sizes[rows],
            file_names=tuple(self.file_names[row] for row in rows),
            annotation_image=np.searchsorted(rows, self.annotation_image[kept]),
            annotation_category=self.annotation_category[kept],
            annotation_area=self.annotation_area[kept],
            annotation_crowd=self.annotation_crowd[kept],
            annotation_box=self.annotation_box[kept],
            annotation_outline=self.annotation_outline[kept],
        )

    def class_name(self, class_id: int) -> str:
        """The name of a category id.

        Raises:
            ValueError: there is no such category.
        """
        row = int(np.searchsorted(self.category_ids, class_id))
        if row == len(self.category_ids) or self.category_ids[row] != class_id:
            raise ValueError(f"{self.source} has no category {class_id}")
        return self.category_names[row]

    def _row(self, image_id: int) -> int:
        row = int(np.searchsorted(self.image_ids, image_id))
        if row == len(self.image_ids) or self.image_ids[row] != image_id:
            raise ValueError(f"{self.source} has no image {image_id}")
        return row

    @cached_property
    def _starts(self) -> np.ndarray:
        return np.searchsorted(self.annotation_image, np.arange(len(self.image_ids) + 1))


def find(data: Path) -> dict[str, tuple[Path, Path]]:
    """The splits of a folder in COCO format: "train" and "val" -> (annotation file, image folder).

    A single `annotations/instances_*.json` is both, and the caller splits it by image. Of several
    releases side by side the oldest is taken: the paper's is 2014.

    Raises:
        FileNotFoundError: there is no such folder, or no annotation file in it.
        ValueError: there are several, and their names do not say which is which.
    """
    data = Path(data)
    if not data.is_dir():
        raise FileNotFoundError(f"no folder {data}; give a folder in COCO format")
    files = sorted(data.glob("annotations/instances_*.json"))
    if not files:
        raise FileNotFoundError(f"no annotations/instances_*.json in {data}; put one there")
    splits = {}
    for split in ("train", "val"):
        named = [file for file in files if file.name.startswith(f"instances_{split}")]
        splits[split] = (named[0] if named else files[0], data)
        if not named and len(files) > 1:
            names = ", ".join(file.name for file in files)
            raise ValueError(
                f"{data}/annotations has no instances_{split}*.json among {names}; "
                "name the files instances_train*.json and instances_val*.json, or keep only one"
            )
    return splits


def _content(path: Path, cache: Path | None) -> tuple[str, bytes | None]:
    """The SHA-256 of a file, remembered by its path, size and time of change; its bytes if read."""
    stat = path.stat()
    mark = f"{path.resolve()}|{stat.st_size}|{stat.st_mtime_ns}".encode()
    note = Path(cache or "") / f"known-{hashlib.sha256(mark).hexdigest()[:32]}.txt"
    if cache is not None and note.is_file():
        sha256 = note.read_bytes().decode(errors="replace")
        if re.fullmatch("[0-9a-f]{64}", sha256):
            return sha256, None
    raw = path.read_bytes()
    sha256 = hashlib.sha256(raw).hexdigest()
    if cache is not None:
        _try_to_keep(note, sha256.encode())
    return sha256, raw


def _try_to_keep(path: Path, *pieces: bytes | np.ndarray) -> None:
    """Write a cache file if that can be done; without it all works, only slower."""
    try:
        with atomic_write(path) as file:
            for piece in pieces:
                file.write(piece)
    except OSError as error:
        logger.warning("%s cannot be written (%s); the file is parsed anew each time", path, error)


def _pack(arrays: dict[str, np.ndarray], words: dict) -> list[bytes | np.ndarray]:
    """The pieces of a safetensors file: header length, header, arrays of 8-byte items first."""
    codes = {np.dtype(dtype): code for code, dtype in DTYPES.items()}
    header, pieces, end = {"__metadata__": {"words": orjson.dumps(words).decode()}}, [], 0
    for name, array in sorted(arrays.items(), key=lambda item: -item[1].itemsize):
        start, end = end, end + array.nbytes
        place = {"shape": list(array.shape), "data_offsets": [start, end]}
        header[name] = {"dtype": codes[array.dtype], **place}
        pieces.append(np.ascontiguousarray(array).reshape(-1).view(np.uint8))
    text = orjson.dumps(header)
    text += b" " * (-len(text) % 8)
    return [len(text).to_bytes(8, "little"), text, *pieces]


def _load(path: Path) -> tuple[dict[str, np.ndarray], dict]:
    """The inverse of `_pack`, memory-mapped.

    Raises:
        OSError, ValueError, KeyError, TypeError, AttributeError: no such file, or it is damaged.
    """
    raw = np.memmap(path, np.uint8, mode="r")
    begin = 8 + int.from_bytes(raw[:8].tobytes(), "little")
    header = orjson.loads(raw[8:begin].tobytes())
    words = orjson.loads(header.pop("__metadata__")["words"])
    arrays = {}
    for name, entry in header.items():
        first, last = entry["data_offsets"]
        piece = np.asarray(raw[begin + first : begin + last]).view(DTYPES[entry["dtype"]])
        arrays[name] = piece.reshape(entry["shape"])
    return arrays, words
