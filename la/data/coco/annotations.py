"""COCO's instance format, from JSON to flat arrays; what cannot be used is left out and counted.

Exporters differ, so nothing that can be computed is required: a missing or wrong box or area is
computed from the mask, and numbers may be written as text. An annotation with a box and no mask is
kept as a region that is not scored, like a crowd.

Reasons that `parse` counts; an entry with several faults counts under the first one found:

    image         not an object, or without a usable id, file name, height or width
    image id      an id that an earlier image has
    category      not an object, or without a usable id or name
    category id   an id that an earlier category has
    annotation    not an object, or a repetition of an earlier one
    reference     of an image or a category that is not in the file
    box           neither a usable box nor a mask with a pixel
    segmentation  of wrong types, far off the image, or run lengths of another size
"""

import math
from array import array
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import numpy as np

from la.data.coco.coco_file import read_lists
from la.data.coco.entries import (
    Noticed,
    Skipped,
    as_object,
    check_pixels,
    id_of,
    image_name,
    no_garbage_collection,
    text_of,
    usable_box,
    whole_number,
    why_no_box,
)
from la.data.coco.numbers import to_number
from la.data.coco.segmentations import Outline, Unusable, bounding_box, outline
from la.errors import UserError

MAX_PIXELS = 89_478_485  # of an image: PIL's limit, above which it raises DecompressionBombError

Entry = TypeVar("Entry")


class _Image(NamedTuple):
    file_name: str
    height: int
    width: int


class _Annotation(NamedTuple):
    image: int  # row of the images by ascending id
    category: int  # row of the categories
    is_crowd: bool
    box: tuple[float, float, float, float]  # x0, y0, x1, y1
    area: float
    outline: Outline


@no_garbage_collection()
def parse(raw: bytes, path: Path) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """Arrays of images, categories and annotations; names and faults as JSON.

    Raises:
        UserError: this is not a COCO instance file, no image or category in it can be used, or all
            coordinates are fractions of the image.
    """
    file = read_lists(raw, path)
    skipped = Skipped()
    images = _by_id(file["images"], _image, "image", "id, file_name, height, width", skipped, path)
    categories = _by_id(file["categories"], _name, "category", "id, name", skipped, path)
    check_pixels(file["annotations"], path)
    parsed, notes = _annotations(file["annotations"], images, categories, skipped)
    arrays = _arrays(parsed)
    arrays["image_ids"] = np.array(list(images), np.int64)
    arrays["category_ids"] = np.array(list(categories), np.int64)
    sizes = [(image.height, image.width) for image in images.values()]
    arrays["sizes"] = np.array(sizes, np.int64).reshape(-1, 2)
    words = {
        "file_names": [image.file_name for image in images.values()],
        "category_names": list(categories.values()),
        "described": dict(sorted(skipped.described.items())),
        "notes": notes,
    }
    return arrays, words


def _by_id(
    entries: list[Any],
    read: Callable[[dict[str, Any]], Entry],
    kind: str,
    needed: str,
    skipped: Skipped,
    path: Path,
) -> dict[int, Entry]:
    """The usable entries by ascending id."""
    by_id: dict[int, Entry] = {}
    plural = {"image": "images", "category": "categories"}[kind]
    for position, entry in enumerate(entries):
        place = f"{plural}[{position}]"
        try:
            entry_id = id_of(as_object(entry), "id")
            value = read(entry)
        except Unusable as error:
            skipped.add(kind, place, str(error))
            continue
        if entry_id in by_id:
            skipped.add(f"{kind} id", place, f"id {entry_id} is taken by an earlier entry")
        by_id.setdefault(entry_id, value)
    if entries and not by_id:
        why = skipped.described[kind][0]
        raise UserError(f"{path}: no {kind} can be used; it needs {needed}; {why:.200}")
    return dict(sorted(by_id.items()))


def _name(entry: dict[str, Any]) -> str:
    return text_of(entry, "name")


def _image(entry: dict[str, Any]) -> _Image:
    sides = []
    for name in ("height", "width"):
        try:
            sides.append(whole_number(entry.get(name)))
        except Unusable as error:
            raise Unusable(f"{name} {error}") from None
    height, width = sides
    if min(sides) < 1 or height * width > MAX_PIXELS:
        raise Unusable(f"an image of {width} x {height} pixels cannot be read")
    return _Image(image_name(entry), height, width)


def _annotations(
    entries: list[Any], images: dict[int, _Image], categories: dict[int, str], skipped: Skipped
) -> tuple[list[_Annotation], list[str]]:
    """The usable annotations by image, then in the file's order; and what was noticed."""
    image_row = {image_id: row for row, image_id in enumerate(images)}
    category_row = {category_id: row for row, category_id in enumerate(categories)}
    sizes = [(image.height, image.width) for image in images.values()]
    parsed: list[_Annotation] = []
    by_label: dict[int | str, list[_Annotation]] = {}
    noticed = Noticed()
    for position, entry in enumerate(entries):
        place = f"annotations[{position}]"
        try:
            entry = as_object(entry)
        except Unusable as error:
            skipped.add("annotation", place, str(error))
            continue
        try:
            image = _row(entry, "image_id", image_row)
            category = _row(entry, "category_id", category_row)
        except Unusable as error:
            skipped.add("reference", place, str(error))
            continue
        try:
            annotation, has_mask = _annotation(entry, image, category, *sizes[image])
        except Unusable as error:
            reason = "box" if str(error).startswith("bbox") else "segmentation"
            skipped.add(reason, place, str(error))
            continue
        label = entry.get("id")
        if isinstance(label, int | str):
            earlier = by_label.setdefault(label, [])
            if annotation in earlier:
                skipped.add("annotation", place, f"repeats an earlier annotation of id {label}")
                continue
            noticed.repeated_ids += bool(earlier)
            earlier.append(annotation)
        noticed.boxes_only += not has_mask
        drawn = annotation.outline if has_mask else Outline([annotation.box], is_runs=False)
        if drawn.leaves(*sizes[image]):
            noticed.beyond.append(place)
        parsed.append(annotation)
    return sorted(parsed, key=lambda annotation: annotation.image), noticed.notes()


def _row(entry: dict[str, Any], field: str, rows: dict[int, int]) -> int:
    """The row of the image or category that a field of an annotation names.

    Raises:
        Unusable: the field is not a whole number, or the file has no usable entry of this id.
    """
    named = id_of(entry, field)
    if named not in rows:
        raise Unusable(f"{field} is {named}, of which the file has no usable entry")
    return rows[named]


def _annotation(
    entry: dict[str, Any], image: int, category: int, height: int, width: int
) -> tuple[_Annotation, bool]:
    """An annotation, and whether it has a mask of its own."""
    shape = entry.get("segmentation")
    box = usable_box(entry.get("bbox"), height, width)
    if shape is None or shape == []:
        if box is None:
            raise Unusable(f"{why_no_box(entry.get('bbox'))}, and there is no segmentation")
        return _box_only(image, category, box, height, width), False
    checked = outline(shape, height, width)
    if checked.is_in_first_pixel(height, width):
        raise Unusable(
            "all coordinates of the polygon lie between 0 and 1; COCO's are pixels, so multiply x "
            "by the image's width and y by its height"
        )
    stated = to_number(entry.get("area"))
    has_area = 0 < stated < math.inf
    if box is None or not has_area:
        mask = checked.draw(height, width)
        if box is None:
            box = bounding_box(mask)
            if not mask.any():
                raise Unusable(f"{why_no_box(entry.get('bbox'))}, and the mask holds no pixel")
        if not has_area:
            stated = int(mask.sum()) or box[2] * box[3]
    x, y, box_width, box_height = box
    is_crowd = entry.get("iscrowd") in (1, "1", True)
    corners = (x, y, x + box_width, y + box_height)
    return _Annotation(image, category, is_crowd, corners, stated, checked), True


def _box_only(
    image: int, category: int, box: tuple[float, ...], height: int, width: int
) -> _Annotation:
    """A region that is not scored."""
    x, y, box_width, box_height = box
    corners = (x, y, x + box_width, y + box_height)
    x0, x1 = max(0.0, corners[0]), min(float(width), corners[2])
    y0, y1 = max(0.0, corners[1]), min(float(height), corners[3])
    rectangle = outline([[x0, y0, x1, y0, x1, y1, x0, y1]], height, width)
    return _Annotation(image, category, True, corners, box_width * box_height, rectangle)


def _arrays(annotations: list[_Annotation]) -> dict[str, np.ndarray]:
    """The fields of a annotations as arrays; one array holds the numbers of all outlines."""
    pieces = [piece for annotation in annotations for piece in annotation.outline.pieces]
    n_pieces = [len(annotation.outline.pieces) for annotation in annotations]
    numbers = array("d")
    for piece in pieces:
        numbers.extend(piece if isinstance(piece, array) else array("d", piece))
    last = np.cumsum(n_pieces, dtype=np.int64)
    boxes = [annotation.box for annotation in annotations]
    return {
        "annotation_image": np.array([a.image for a in annotations], np.int64),
        "annotation_category": np.array([a.category for a in annotations], np.int64),
        "annotation_crowd": np.array([a.is_crowd for a in annotations], bool),
        "annotation_area": np.array([a.area for a in annotations], np.float64),
        "annotation_box": np.array(boxes, np.float64).reshape(-1, 4),
        "annotation_pieces": np.stack([last - np.array(n_pieces, np.int64), last], axis=1),
        "annotation_is_runs": np.array([a.outline.is_runs for a in annotations], bool),
        "piece_start": np.cumsum([0, *map(len, pieces)], dtype=np.int64),
        "numbers": np.array(numbers, np.float64),
    }
