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
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from msgspec import DecodeError, Meta, Raw, Struct, ValidationError
from msgspec.json import Decoder
from pycocotools import mask as coco_mask

MAX_PIXELS = 89_478_485  # of an image; above it PIL takes a picture for an attack
MAX_OUTLINE = 1_000_000  # pixels along a ring; a hostile one could fill the memory

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


@dataclass(frozen=True)
class Outlines:
    """Segmentations as flat numbers: an outline has rings (a polygon's), or run lengths."""

    numbers: np.ndarray  # float64; of a ring x y x y ..., or run lengths, down the columns
    piece_start: np.ndarray  # (pieces + 1,) int64 into numbers; a piece is a ring or all runs
    outline_piece: np.ndarray  # (outlines + 1,) int64 into piece_start
    outline_runs: np.ndarray  # (outlines,) bool: run lengths, beginning with background

    def draw(self, outline: int, height: int, width: int) -> np.ndarray:
        """(H, W) bool: the pixels inside, as pycocotools draws them."""
        first, last = self.outline_piece[outline : outline + 2].tolist()
        cuts = self.piece_start[first : last + 1].tolist()
        pieces = [self.numbers[a:b] for a, b in zip(cuts[:-1], cuts[1:], strict=True)]
        if self.outline_runs[outline]:
            inside = np.arange(len(pieces[0])) % 2 == 1
            return np.repeat(inside, pieces[0].astype(np.int64)).reshape(width, height).T
        drawn = coco_mask.frPyObjects(pieces, height, width)
        return coco_mask.decode(coco_mask.merge(drawn)).view(bool)


def parse(raw: bytes, path: Path) -> tuple[dict[str, np.ndarray], dict]:
    """Arrays of the images, categories, annotations and outlines; names and counts as JSON values.

    Raises:
        ValueError: this is no COCO instance file, or no image or category in it can be used.
    """
    file, skipped = _file(raw, path), Counter()
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
        raise ValueError(
            f"{path} is not a COCO instance file: it has no list {_field(error) or 'images'!r}; "
            "give an instances_*.json, or export the data in COCO's instance format"
        ) from None
    except BAD_ENTRY as error:
        raise ValueError(f"{path} is not JSON ({error}); download or export it again") from None


def _field(error: Exception) -> str | None:
    """The outermost field that a message of msgspec is about."""
    found = re.search(r"(?:\$\.|field `)(\w+)", str(error))
    return found and found[1]


def _is_text(value: str) -> bool:
    return value.isprintable() and value != ""


def _by_id(entries: list[Raw], kind: type, name: str, skipped: Counter, path: Path) -> dict:
    """The usable entries by ascending id."""
    found, decode = {}, Decoder(kind).decode
    for entry in entries:
        try:
            value = decode(entry)
        except BAD_ENTRY:
            skipped[name] += 1
            continue
        skipped[f"{name} id"] += value.id in found
        found.setdefault(value.id, value)
    if entries and not found:
        needed = ", ".join(kind.__struct_fields__)
        first = bytes(entries[0]).decode(errors="replace")
        raise ValueError(
            f"{path}: no {name} can be used; the first is {first!r:.80}, and it needs {needed}"
        )
    return dict(sorted(found.items()))


def _decoded(entries: list[Raw], skipped: Counter) -> Iterator[_Annotation]:
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
                skipped[REASONS.get(_field(error), "annotation")] += 1


@np.errstate(invalid="ignore", over="ignore")  # before the absurd is left out
def _annotations(entries, image_ids, category_ids, sizes, skipped) -> dict[str, np.ndarray]:
    """Arrays (a, ...) of the usable annotations by (image, position), and all outlines."""
    size_of = dict(zip(image_ids, sizes.tolist(), strict=True))
    table, numbers, lengths, seen = bytearray(), array("d"), [], set()
    for found in _decoded(entries, skipped):
        if found.id in seen and found.id is not None:
            skipped["annotation"] += 1
            continue
        first, shape, has_runs = len(lengths), found.segmentation, False
        if type(shape) is _Runs:
            shape, has_runs = _run_lengths(shape, size_of.get(found.image_id)), True
        for piece in shape:
            length = len(piece)
            if has_runs or (length >= 6 and length % 2 == 0):
                numbers.fromlist(piece)
                lengths.append(length)
        n_pieces = len(lengths) - first
        if n_pieces:
            seen.add(found.id)
            values = found.iscrowd == 1, has_runs, n_pieces, *found.bbox, found.area
            table += _LINE.pack(found.image_id, found.category_id, *values)
        else:
            skipped["segmentation"] += 1
    ids = np.frombuffer(table, np.int64).reshape(-1, 10)[:, :2].T
    table = np.frombuffer(table).reshape(-1, 10)
    (image, has_image), (category, has_category) = map(_rows, (image_ids, category_ids), ids)
    known = has_image & has_category
    crowd, runs, n_pieces = table[:, 2:5].T.astype(np.int64)
    low, extent, area = table[:, 5:7], table[:, 7:9], table[:, 9]
    area = np.where(np.isnan(area), extent.prod(1), area)
    runs, starts = runs.astype(bool), _starts(lengths)
    outlines = Outlines(np.frombuffer(numbers), starts, _starts(n_pieces), runs)
    good_box = _boxes_fit(low, extent, area, sizes[image])
    good_box &= known
    good = good_box & _rings_fit(outlines, sizes[image])
    skipped["reference"] += int((~known).sum())
    skipped["box"] += int((known & ~good_box).sum())
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


def _rows(known: list[int], ids: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Where ids (a,) stand among the ascending known ones (not none), and whether they do."""
    known = np.array(known, np.int64)
    rows = np.searchsorted(known, ids).clip(max=len(known) - 1)
    return rows, known[rows] == ids


def _run_lengths(segmentation: _Runs, size: list[int] | None) -> list[list[int]]:
    """The one piece of an outline of run lengths; none if they are not of a mask of (H, W)."""
    runs = segmentation.counts
    if isinstance(runs, str):
        runs = _uncompressed(runs)
    fits = size is None or (list(segmentation.size) == size and sum(runs) == math.prod(size))
    return [runs] if fits and min(runs, default=-1) >= 0 else []


def _starts(lengths: list[int]) -> np.ndarray:
    return np.concatenate([np.zeros(1, np.int64), np.cumsum(lengths, dtype=np.int64)])


def _boxes_fit(low, extent, area, size) -> np.ndarray:
    """(a,) bool: finite, not empty, partly on the image."""
    on_image = (low < size[:, ::-1]) & (low + extent > 0)
    not_huge = extent <= 3 * size.max(1, keepdims=True)
    return (on_image & not_huge & (extent > 0)).all(1) & (area > 0) & np.isfinite(area)


def _rings_fit(outlines: Outlines, size: np.ndarray) -> np.ndarray:
    """(a,) bool: no ring strays further than its image's longer side, or is absurdly long."""
    owner = np.repeat(np.arange(len(size)), np.diff(outlines.outline_piece))
    numbers, start = outlines.numbers, outlines.piece_start
    if not len(owner):
        return np.ones(len(size), bool)
    side, is_ring = size.max(1)[owner], ~outlines.outline_runs[owner]
    good = np.minimum.reduceat(numbers, start[:-1]) >= -side  # False for NaN
    good &= np.maximum.reduceat(numbers, start[:-1]) <= 2 * side
    for ring in np.flatnonzero(good & is_ring & (3 * side * np.diff(start) > MAX_OUTLINE)):
        points = numbers[start[ring] : start[ring + 1]].reshape(-1, 2)
        good[ring] = np.abs(np.diff(points, axis=0)).sum() <= MAX_OUTLINE
    return np.bincount(owner, is_ring & ~good, len(size)) == 0


def _uncompressed(text: str) -> list[int]:
    """The run lengths of COCO's compressed form; none where it is damaged.

    A number is written in characters of 5 bits each (from "0" on), the lowest first; bit 32
    says that more follow, and bit 16 of the last one is the sign. From the fourth run on, a number
    is the difference to the run two before.
    """
    codes = np.frombuffer(text.encode("utf-32-le"), np.uint32).astype(np.int64) - 48
    if not len(codes) or codes.min() < 0 or codes.max() > 63 or codes[-1] & 32:
        return []
    ends = np.flatnonzero(codes & 32 == 0)
    starts = np.concatenate([[0], ends[:-1] + 1])
    shifts = 5 * (np.arange(len(codes)) - np.repeat(starts, ends - starts + 1))
    if shifts.max() > 30:
        return []
    runs = np.add.reduceat((codes & 31) << shifts, starts)
    runs -= (codes[ends] >> 4 & 1) << (shifts[ends] + 5)
    runs[1::2] = np.cumsum(runs[1::2])
    runs[2::2] = np.cumsum(runs[2::2])
    return runs.tolist()
