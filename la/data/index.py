"""`CocoIndex`: the images, categories and instances of an annotation file, and where a folder keeps such files.

A file is parsed once; its arrays go to a cache file that is named by the file's SHA-256 and memory-mapped
from then on. Segmentations stay polygons and run lengths until `mask` asks for pixels.
"""

import hashlib
import logging
import os
import re
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path

import numpy as np
import orjson
from PIL import Image, ImageOps
from safetensors.numpy import save

from la.data.annotations import Outlines, parse
from la.data.atomic import atomic_write

logger = logging.getLogger(__name__)

FORMAT = 1  # of the cache file; another number, another file


@dataclass(frozen=True)
class CocoIndex:
    """Images, categories and instances of one annotation file; no pixels.

    Letters here: n images, c categories, a annotations.
    """

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
    skipped: dict[str, int]  # entries left out, by reason (see annotations.py)
    _outlines: Outlines = field(repr=False)
    _outline: np.ndarray = field(repr=False)  # (a,) int64, number in _outlines
    _files: "_Files" = field(repr=False)

    @classmethod
    def from_json(
        cls, path: Path, images: Path | None = None, cache: Path | None = None
    ) -> "CocoIndex":
        """The index of an annotation file.

        Args:
            path: a COCO instance file; masks as polygons, run lengths or compressed run lengths.
            images: where its images lie; when omitted, the folder that holds `annotations/`.
            cache: a folder for the parsed arrays; nothing is stored when omitted.

        Raises:
            FileNotFoundError: there is no such file.
            ValueError: it is not a COCO instance file, or nothing in it can be used.
        """
        path = Path(path)
        if not path.is_file():
            raise FileNotFoundError(
                f"no annotation file {path}; give the path of an instances_*.json"
            )
        if images is None:
            images = path.parent.parent if path.parent.name == "annotations" else path.parent
        sha256, raw = _content(path, cache)
        stored = (
            None if cache is None else Path(cache) / f"index-{FORMAT}-{sha256[:32]}.safetensors"
        )
        try:
            arrays, words = _load(stored)
        except (OSError, ValueError, KeyError, TypeError):
            arrays, words = parse(path.read_bytes() if raw is None else raw, path)
            _try_to_store(stored, save(arrays, {"words": orjson.dumps(words).decode()}))
        if words["skipped"]:
            reasons = ", ".join(f"{count} {reason}" for reason, count in words["skipped"].items())
            logger.warning("%s: entries left out, by fault: %s", path, reasons)
        outlines = Outlines(**{name: arrays.pop(name) for name in Outlines.__annotations__})
        return cls(
            source=path, images=Path(images), sha256=sha256, skipped=words["skipped"],
            file_names=tuple(words["file_names"]), category_names=tuple(words["category_names"]),
            _outlines=outlines, _files=_Files(Path(images)), **arrays,
        )  # fmt: skip

    def annotations_of(self, image_id: int) -> range:
        """Rows of the annotations of an image, in the file's order."""
        row = self._row(image_id)
        return range(int(self._starts[row]), int(self._starts[row + 1]))

    def mask(self, annotation: int) -> np.ndarray:
        """(H, W) bool: the pixels of one annotation, as pycocotools draws them."""
        height, width = self.sizes[self.annotation_image[annotation]].tolist()
        return self._outlines.draw(int(self._outline[annotation]), height, width)

    def path(self, image_id: int) -> Path:
        """The image's file. COCO's 2014 and 2017 names stand for one another.

        Raises:
            FileNotFoundError: no file of that name lies under `images`.
            ValueError: several do.
        """
        return self._files.find(self.file_names[self._row(image_id)], image_id)

    def read_image(self, image_id: int) -> Image.Image:
        """The image in RGB, (W, H) as stated.

        Annotations are drawn on the pixels as stored, so an EXIF rotation is applied only where the stated
        size asks for it.

        Raises:
            FileNotFoundError: see `path`.
            ValueError: the file is damaged, or its size is not the stated one.
        """
        path = self.path(image_id)
        height, width = self.sizes[self._row(image_id)].tolist()
        try:
            with Image.open(path) as file:
                if file.size not in ((width, height), (height, width)):
                    raise ValueError(f"is {file.size}, but the annotations say {(width, height)}")
                image = file if file.size == (width, height) else ImageOps.exif_transpose(file)
                if image.size != (width, height):
                    raise ValueError(f"is {file.size}, but the annotations say {(width, height)}")
                return _to_rgb(image)
        except (OSError, ValueError, SyntaxError, Image.DecompressionBombError, Warning) as error:
            raise ValueError(
                f"image {image_id}: {path} cannot be used ({error}); replace the file or leave the image out"
            ) from None

    def subset(self, image_ids) -> "CocoIndex":
        """The same index with only these images.

        Raises:
            ValueError: an id is not in the index.
        """
        wanted = np.unique(np.asarray(list(image_ids), dtype=np.int64))
        if not np.isin(wanted, self.image_ids).all():
            raise ValueError(
                f"{self.source} has no image {wanted[~np.isin(wanted, self.image_ids)][0]}"
            )
        rows = np.searchsorted(self.image_ids, wanted)
        kept = np.flatnonzero(np.isin(self.annotation_image, rows))
        return replace(
            self,
            image_ids=wanted,
            sizes=self.sizes[rows],
            file_names=tuple(self.file_names[row] for row in rows),
            annotation_image=np.searchsorted(rows, self.annotation_image[kept]),
            annotation_category=self.annotation_category[kept],
            annotation_area=self.annotation_area[kept],
            annotation_crowd=self.annotation_crowd[kept],
            annotation_box=self.annotation_box[kept],
            _outline=self._outline[kept],
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


class _Files:
    """Where the files under a folder are, by name; looked up once, when first asked."""

    def __init__(self, root: Path) -> None:
        self.root = root

    @cached_property
    def by_name(self) -> dict[str, list[Path]]:
        if not self.root.is_dir():
            raise FileNotFoundError(
                f"no image folder {self.root}; give the folder that holds the images"
            )
        found: dict[str, list[Path]] = {}
        for folder, _, names in os.walk(self.root):
            for name in names:
                found.setdefault(_plain(name), []).append(Path(folder, name))
        return found

    def find(self, name: str, image_id: int) -> Path:
        candidates = self.by_name.get(_plain(name.rpartition("/")[2]), [])
        for same in (f"/{name}", f"/{name.rpartition('/')[2]}", ""):
            fits = [path for path in candidates if path.as_posix().endswith(same)]
            if len(fits) == 1:
                return fits[0]
            if fits:
                raise ValueError(
                    f"image {image_id}: {fits[0]} and {fits[1]} both are {name}; keep one"
                )
        raise FileNotFoundError(
            f"image {image_id}: no file {name} under {self.root}; put it there or leave the image out"
        )


def find(data: Path) -> dict[str, tuple[Path, Path]]:
    """The splits of a COCO-format folder: "train" and "val" -> (annotation file, image folder).

    A single `annotations/instances_*.json` is both; the caller splits it by image. With several releases
    side by side the oldest is taken, as the paper does.

    Raises:
        FileNotFoundError: there is no such folder, or no annotation file in it.
        ValueError: there are several annotation files, and their names do not say which is which.
    """
    data = Path(data)
    if not data.is_dir():
        raise FileNotFoundError(f"no folder {data}; give a folder in COCO format")
    files = sorted(data.glob("annotations/instances_*.json"))
    if not files:
        raise FileNotFoundError(
            f"no annotations/instances_*.json in {data}; put COCO's annotation files there"
        )
    if len(files) == 1:
        return {split: (files[0], data) for split in ("train", "val")}
    splits = {
        split: next((file for file in files if re.match(f"instances_{split}", file.name)), None)
        for split in ("train", "val")
    }
    if None in splits.values():
        raise ValueError(
            f"{data}/annotations holds {', '.join(file.name for file in files)}; "
            "name one instances_train*.json and one instances_val*.json, or keep a single file"
        )
    return {split: (file, data) for split, file in splits.items()}


def _plain(name: str) -> str:
    """A file name without the prefix that COCO's 2014 release has and the 2017 release has not."""
    return re.sub(r"^COCO_(train|val|test)\d{4}_", "", name)


def _to_rgb(image: Image.Image) -> Image.Image:
    """8-bit RGB; 16-bit greys are scaled down, transparency is dropped."""
    if image.mode.startswith("I"):
        grey = np.asarray(image, dtype=np.int64).clip(0, 65535)
        image = Image.fromarray((grey // 257).astype(np.uint8))
    return image.convert("RGBA").convert("RGB") if image.mode == "P" else image.convert("RGB")


def _content(path: Path, cache: Path | None) -> tuple[str, bytes | None]:
    """The SHA-256 of a file, remembered by path, size and time of change; its bytes if they were read."""
    if cache is None:
        raw = path.read_bytes()
        return hashlib.sha256(raw).hexdigest(), raw
    stat = path.stat()
    mark = hashlib.sha256(
        f"{path.resolve()}|{stat.st_size}|{stat.st_mtime_ns}".encode()
    ).hexdigest()
    note = Path(cache) / f"known-{mark[:32]}.txt"
    try:
        sha256 = note.read_text()
        if re.fullmatch("[0-9a-f]{64}", sha256):
            return sha256, None
    except (OSError, ValueError):
        pass
    raw = path.read_bytes()
    sha256 = hashlib.sha256(raw).hexdigest()
    _try_to_store(note, sha256.encode())
    return sha256, raw


def _try_to_store(path: Path | None, content: bytes) -> None:
    """Write a cache file; without one everything works, only slower."""
    if path is None:
        return
    try:
        with atomic_write(path) as file:
            file.write(content)
    except OSError as error:
        logger.warning("cannot keep the index at %s (%s); it is made anew each time", path, error)


def _load(path: Path | None) -> tuple[dict[str, np.ndarray], dict]:
    """The arrays of a safetensors file, memory-mapped, and the JSON in its metadata.

    Raises:
        OSError, ValueError, KeyError: there is no such file, or it is damaged.
    """
    if path is None:
        raise FileNotFoundError
    raw = np.memmap(path, np.uint8, mode="r")
    start = 8 + int(raw[:8].view(np.uint64)[0])
    header = orjson.loads(raw[8:start].tobytes())
    words = orjson.loads(header.pop("__metadata__")["words"])
    kinds = {"I64": np.int64, "F64": np.float64, "BOOL": np.bool_}
    arrays = {}
    for name, entry in header.items():
        first, last = (start + offset for offset in entry["data_offsets"])
        arrays[name] = (
            np.asarray(raw[first:last]).view(kinds[entry["dtype"]]).reshape(entry["shape"])
        )
    return arrays, words
