"""COCO's instance format, from JSON to flat arrays; what cannot be used is left out and counted.

Reasons that `parse` counts; of several faults of an entry the first that is met:

    image         not an object, or without a usable id, file name, height or width
    image id      an id that an earlier image has
    category      not an object, or without a usable id or name
    category id   an id that an earlier category has
    annotation    not an object, or an id that an earlier annotation has
    reference     of an image or a category that the file does not have
    box           missing, not four finite numbers, without area, or not on the image
    segmentation  missing, empty, of wrong types, far off the image, or run lengths of another size
"""

import json
import math
import re
import struct
from array import array
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated, Any, TypeVar

import numpy as np
from msgspec import DecodeError, Meta, Raw, Struct, ValidationError
from msgspec.json import Decoder

from la.data.outlines import Outlines, boxes_fit, offsets, rings_fit, run_lengths
from la.errors import UserError

MAX_PIXELS = 89_478_485  # of an image; PIL's limit; larger images raise DecompressionBombError

Id = Annotated[int, Meta(ge=-(2**63), le=2**63 - 1)]
Side = Annotated[int, Meta(ge=1, le=MAX_PIXELS)]
BAD_ENTRY = DecodeError, ValueError, RecursionError
REASONS = {"image_id": "reference", "category_id": "reference", "bbox": "box", "area": "box"}
REASONS |= {"segmentation": "segmentation"}  # to leave an annotation out, by its bad field
_LINE = struct.Struct("2q8d")  # of the table of annotations: ids, flags, box and area


class _Image(Struct):
    id: Id
    file_name: str
    height: Side
    width: Side

    def __post_init__(self) -> None:
        if not _is_text(self.file_name) or self.height * self.width > MAX_PIXELS:
            raise ValueError


class _Category(Struct):
    id: Id
    name: str

    def __post_init__(self) -> None:
        if not _is_text(self.name):
            raise ValueError


_Entry = TypeVar("_Entry", _Image, _Category)


class _Runs(Struct):
    size: tuple[int, int]
    counts: list[int] | str


class _Annotation(Struct):
    image_id: Id
    category_id: Id
    bbox: tuple[float, float, float, float]  # x, y, width, height
    segmentation: list[list[float]] | _Runs
    id: int | str | None = None
    area: float = math.nan  # width * height where missing
    iscrowd: Any = 0


class _File(Struct):
    images: list[Raw]
    annotations: list[Raw]
    categories: list[Raw]


def parse(raw: bytes, path: Path) -> tuple[dict[str, np.ndarray], dict]:
    """Arrays of the images, categories, annotations and outlines; names and counts as JSON values.

    Raises:
        ValueError: this is no COCO instance file, or no image or category in it can be used.
    """
    file = _file(raw, path)
    skipped: Counter[str] = Counter()
    images = _by_id(file.images, _Image, "image", skipped, path)
    categories = _by_id(file.categories, _Category, "category", skipped, path)
    sizes = np.array([(i.height, i.width) for i in images.values()], np.int64).reshape(-1, 2)
    arrays = _annotations(file.annotations, list(images), list(categories), sizes, skipped)
    arrays["image_ids"], arrays["sizes"] = np.array(list(images), np.int64), sizes
    arrays["category_ids"] = np.array(list(categories), np.int64)
    words = {
        "file_names": [image.file_name for image in images.values()],
        "category_names": [category.name for category in categories.values()],
        "skipped": {reason: count for reason, count in sorted(skipped.items()) if count},
    }
    return arrays, words


def _file(raw: bytes, path: Path) -> _File:
    decode = Decoder(_File).decode
    try:
        try:
            return decode(raw)
        except ValidationError:
            raise
        except BAD_ENTRY:  # NaN, or half a character: Python writes and reads what JSON has not
            strict = json.dumps(json.loads(raw, parse_constant=str), ensure_ascii=False)
            return decode(strict.encode(errors="replace"))
    except ValidationError as error:
        raise UserError(
            f"{path} is not a COCO instance file: it has no list {_field(error) or 'images'!r}; "
            "give an instances_*.json, or export the data in COCO's instance format"
        ) from None
    except BAD_ENTRY as error:
        raise UserError(f"{path} is not JSON ({error}); download or export it again") from None


def _field(error: Exception) -> str | None:
    """The outermost field that a message of msgspec is about."""
    found = re.search(r"(?:\$\.|field `)(\w+)", str(error))
    return found and found[1]


def _is_text(value: str) -> bool:
    return value.isprintable() and value != ""


def _by_id(
    entries: list[Raw], kind: type[_Entry], name: str, skipped: Counter[str], path: Path
) -> dict[int, _Entry]:
    """The usable entries by ascending id."""
    by_id: dict[int, _Entry] = {}
    decoder = Decoder(kind)
    for entry in entries:
        try:
            value = decoder.decode(entry)
        except BAD_ENTRY:
            skipped[name] += 1
            continue
        skipped[f"{name} id"] += value.id in by_id
        by_id.setdefault(value.id, value)
    if entries and not by_id:
        needed = ", ".join(kind.__struct_fields__)
        first = bytes(entries[0]).decode(errors="replace")
        raise UserError(
            f"{path}: no {name} can be used; the first is {first!r:.80}, and it needs {needed}"
        )
    return dict(sorted(by_id.items()))


def _decoded(entries: list[Raw], skipped: Counter[str]) -> Iterator[_Annotation]:
    """The annotations of the right types; many at once, one by one where a fault is among them."""
    many, one = Decoder(list[_Annotation]).decode, Decoder(_Annotation).decode
    for first in range(0, len(entries), 256):
        part = entries[first : first + 256]
        try:
            yield from many(b"[" + b",".join(part) + b"]")
            continue
        except BAD_ENTRY:
            pass
        for entry in part:
            try:
                yield one(entry)
            except BAD_ENTRY as error:
                skipped[REASONS.get(_field(error) or "", "annotation")] += 1


@np.errstate(invalid="ignore", over="ignore")  # before absurd values are left out
def _annotations(
    entries: list[Raw],
    image_ids: list[int],
    category_ids: list[int],
    sizes: np.ndarray,
    skipped: Counter[str],
) -> dict[str, np.ndarray]:
    """Arrays (a, ...) of the usable annotations by (image, position), and all outlines.

    Args:
        entries: the annotations as JSON.
        image_ids: n, ascending.
        category_ids: c, ascending.
        sizes: (n, 2), (H, W) of each image.
        skipped: counts of what is left out, by reason; increased in place.
    """
    size_of = dict(zip(image_ids, sizes.tolist(), strict=True))
    lines, numbers, lengths = _table(_decoded(entries, skipped), size_of, skipped)
    ids = np.frombuffer(lines, np.int64).reshape(-1, 10)[:, :2].T
    table = np.frombuffer(lines).reshape(-1, 10)
    image, has_image = _rows(image_ids, ids[0])
    category, has_category = _rows(category_ids, ids[1])
    has_both = has_image & has_category
    crowd, runs, n_pieces = table[:, 2:5].T.astype(np.int64)
    low, extent, stated_area = table[:, 5:7], table[:, 7:9], table[:, 9]
    area = np.where(np.isnan(stated_area), extent.prod(1), stated_area)
    outlines = Outlines(
        np.frombuffer(numbers), offsets(lengths), offsets(n_pieces), runs.astype(bool)
    )
    good_box = has_both & boxes_fit(low, extent, area, sizes[image])
    good = good_box & rings_fit(outlines, sizes[image])
    skipped["reference"] += int((~has_both).sum())
    skipped["box"] += int((has_both & ~good_box).sum())
    skipped["segmentation"] += int((good_box & ~good).sum())
    order = np.argsort(image, kind="stable")
    order = order[good[order]]
    arrays = {
        "annotation_image": image[order],
        "annotation_category": category[order],
        "annotation_crowd": crowd[order].astype(bool),
        "annotation_box": np.hstack([low, low + extent])[order],
        "annotation_area": area[order],
        "annotation_outline": order,
    }
    return arrays | vars(outlines)


def _table(
    annotations: Iterator[_Annotation], size_of: dict[int, list[int]], skipped: Counter[str]
) -> tuple[bytearray, array, list[int]]:
    """One `_LINE` for each annotation with an outline, the outlines' numbers, pieces' lengths."""
    lines, numbers = bytearray(), array("d")
    lengths: list[int] = []
    ids: set[int | str | None] = set()
    for annotation in annotations:
        if annotation.id in ids and annotation.id is not None:
            skipped["annotation"] += 1
            continue
        shape = annotation.segmentation
        pieces: Sequence[list[float] | list[int]]
        if isinstance(shape, _Runs):
            pieces = run_lengths(shape.counts, shape.size, size_of.get(annotation.image_id))
        else:
            pieces = [ring for ring in shape if len(ring) >= 6 and len(ring) % 2 == 0]
        if not pieces:
            skipped["segmentation"] += 1
            continue
        for piece in pieces:
            numbers.fromlist(piece)  # type: ignore[arg-type]  # takes whole numbers too
            lengths.append(len(piece))
        ids.add(annotation.id)
        lines += _LINE.pack(
            annotation.image_id,
            annotation.category_id,
            annotation.iscrowd == 1,
            isinstance(shape, _Runs),
            len(pieces),
            *annotation.bbox,
            annotation.area,
        )
    return lines, numbers, lengths


def _rows(listed: list[int], ids: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The row of each of ids (a,) in an ascending list that is not empty, and if it is there."""
    sorted_ids = np.array(listed, np.int64)
    rows = np.searchsorted(sorted_ids, ids).clip(max=len(sorted_ids) - 1)
    is_listed: np.ndarray = sorted_ids[rows] == ids
    return rows, is_listed
