"""`CocoIndex`: the images, categories and instances of an annotation file, without a pixel read.

A file is parsed once. Its arrays go to a cache file that is named by the annotation file's SHA-256
and memory-mapped from then on. Segmentations stay rings and run lengths until `mask` draws
their pixels.
"""

import logging
import re
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from itertools import pairwise
from pathlib import Path

import numpy as np
from PIL import Image

from la.data.coco import index_cache
from la.data.coco.annotations import parse
from la.data.coco.segmentations import Outline
from la.data.pictures.contents import picture_digest, picture_digests
from la.data.pictures.images import ImageFolder, read_rgb
from la.errors import MissingFile, UserError

logger = logging.getLogger(__name__)

NAMED = 3  # entries of each kind of fault that are logged; `la data` lists all of them
FORMAT = 8  # of the format of cache files; part of their name


@dataclass(frozen=True, eq=False)
class CocoIndex:
    """What an annotation file says; letters here: n images, c categories, a annotations."""

    source: Path  # the annotation file
    images: Path  # the folder that contains the images, at any depth
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
    described: dict[str, list[str]]  # entries left out, by the reasons of annotations.py
    notes: tuple[str, ...]  # what was noticed about the others
    numbers: np.ndarray = field(repr=False)  # float64, of all outlines: rings or run lengths
    piece_start: np.ndarray = field(repr=False)  # (pieces + 1,) int64 into numbers
    annotation_pieces: np.ndarray = field(repr=False)  # (a, 2) int64, first and last + 1 piece
    annotation_is_runs: np.ndarray = field(repr=False)  # (a,) bool: run lengths, else rings
    folder: ImageFolder = field(repr=False)
    cache: Path | None = field(repr=False)  # a cache folder for what is expensive to compute

    @classmethod
    def from_json(
        cls, path: Path, images: Path | None = None, cache: Path | None = None
    ) -> "CocoIndex":
        """The index of an annotation file in COCO's instance format.

        Args:
            path: the file; masks are polygons, run lengths or compressed run lengths.
            images: the folder of its images; when omitted, the folder that contains
            `annotations/`.
            cache: a folder that keeps the parsed arrays; when omitted, nothing is kept.

        Raises:
            MissingFile: there is no such file.
            UserError: it is not in COCO's instance format, or nothing in it can be used.
        """
        path = Path(path)
        if not path.is_file():
            raise MissingFile(f"no annotation file {path}; give an instances_*.json")
        if images is None:
            images = path.parent.parent if path.parent.name == "annotations" else path.parent
        sha256 = index_cache.file_sha256(path, cache)
        stored = cache and Path(cache) / f"index-{FORMAT}-{sha256}.bin"
        try:
            arrays, words = index_cache.load(stored)
        except (OSError, ValueError, TypeError):  # there is none, or it is damaged
            arrays, words = parse(path.read_bytes(), path)
            save = partial(index_cache.save, arrays=arrays, words=words)
            index_cache.try_to_keep(stored, save)
        _warn(path, words)
        split = re.match("instances_(train|val)", path.stem)
        return cls(
            source=path,
            images=Path(images),
            sha256=sha256,
            image_ids=arrays["image_ids"],
            sizes=arrays["sizes"],
            file_names=tuple(words["file_names"]),
            category_ids=arrays["category_ids"],
            category_names=tuple(words["category_names"]),
            annotation_image=arrays["annotation_image"],
            annotation_category=arrays["annotation_category"],
            annotation_area=arrays["annotation_area"],
            annotation_crowd=arrays["annotation_crowd"],
            annotation_box=arrays["annotation_box"],
            described=words["described"],
            notes=tuple(words["notes"]),
            numbers=arrays["numbers"],
            piece_start=arrays["piece_start"],
            annotation_pieces=arrays["annotation_pieces"],
            annotation_is_runs=arrays["annotation_is_runs"],
            folder=ImageFolder(Path(images), split[1] if split else ""),
            cache=Path(cache) if cache else None,
        )

    @property
    def skipped(self) -> dict[str, int]:
        """How many entries were left out, by reason."""
        return {reason: len(entries) for reason, entries in self.described.items()}

    def size(self, image_id: int) -> tuple[int, int]:
        """(H, W) of an image."""
        return tuple(self.sizes[self._row(image_id)].tolist())

    def annotations_of(self, image_id: int) -> range:
        """Rows of an image's annotations, in the file's order."""
        row = self._row(image_id)
        return range(*self._starts[row : row + 2].tolist())

    def mask(self, annotation: int) -> np.ndarray:
        """(H, W) bool: the pixels of one annotation, as pycocotools draws them.

        A mask that rasterises to no pixel is replaced by the pixel at its box's centre.
        """
        size = self.sizes[self.annotation_image[annotation]]
        first, stop = self.annotation_pieces[annotation].tolist()
        cuts = self.piece_start[first : stop + 1].tolist()
        pieces = [self.numbers[a:b] for a, b in pairwise(cuts)]
        outline = Outline(pieces, bool(self.annotation_is_runs[annotation]))
        mask = outline.draw(*size.tolist())
        if not mask.any():
            corners = self.annotation_box[annotation].reshape(2, 2)  # (x, y) of each
            row, column = corners.mean(0)[::-1].astype(int).clip(0, size - 1).tolist()
            mask[row, column] = True
        return mask

    def path(self, image_id: int) -> Path:
        """The image's file, see `ImageFolder.find`.

        Raises:
            MissingFile: there is no such file under `images`.
            UserError: several files fit.
        """
        name = self.file_names[self._row(image_id)]
        try:
            return self.folder.find(name)
        except UserError as error:
            text = f"image {image_id} of {self.source}: {error}"
            n_lacking = self.paths.count(None)
            if n_lacking > 1:
                n_images = len(self.image_ids)
                text += (
                    f"; {n_lacking} of {n_images} images have no file; python -m la data lists them"
                )
            raise type(error)(text) from None

    def read_image(self, image_id: int) -> Image.Image:
        """The image as 8-bit RGB, of the stated size, in the frame of its annotations.

        Raises:
            MissingFile: see `path`.
            UserError: the file is damaged, not an image, or of another size than stated.
        """
        path = self.path(image_id)
        try:
            return read_rgb(path, self.size(image_id))
        except UserError as error:
            raise UserError(f"image {image_id} of {self.source}: {error}") from None

    @cached_property
    def pictures(self) -> tuple[str, ...]:
        """n digests: equal for equal pictures, "" for an image without exactly one file.

        Raises:
            OSError: a file cannot be read.
        """
        return picture_digests(self.paths, self.images, self.cache)

    @cached_property
    def paths(self) -> list[Path | None]:
        """n files; None for an image without exactly one."""
        paths: list[Path | None] = []
        for name in self.file_names:
            try:
                paths.append(self.folder.find(name))
            except UserError:  # raised again when the image is needed
                paths.append(None)
        return paths

    def picture(self, image_id: int) -> str:
        """The digest of an image's picture.

        Raises:
            MissingFile, UserError: see `path`.
        """
        return self.pictures[self._row(image_id)] or picture_digest(self.path(image_id))

    def subset(self, image_ids: Iterable[int]) -> "CocoIndex":
        """The same index with only these images.

        Raises:
            ValueError: an id is not in the index.
        """
        wanted = sorted({int(image_id) for image_id in image_ids})
        rows = np.array([self._row(image_id) for image_id in wanted], np.int64)
        kept = np.flatnonzero(np.isin(self.annotation_image, rows))
        names = [name for name in vars(self) if name.startswith("annotation_")]
        part = {name: getattr(self, name)[kept] for name in names}
        part["annotation_image"] = np.searchsorted(rows, part["annotation_image"])
        file_names = tuple(self.file_names[row] for row in rows)
        ids, sizes = self.image_ids[rows], self.sizes[rows]
        return replace(self, image_ids=ids, sizes=sizes, file_names=file_names, **part)

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


def _warn(path: Path, words: dict) -> None:
    """Log what was left out, with the first entries of each kind, and what was noticed."""
    for reason, entries in words["described"].items():
        logger.warning(
            "%s: entries left out, %s %d; %s",
            path,
            reason,
            len(entries),
            "; ".join(entries[:NAMED]),
        )
    for note in words["notes"]:
        logger.warning("%s: %s", path, note)
