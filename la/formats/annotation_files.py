"""Existing annotations of other programs, read entry by entry: COCO, LabelMe, YOLO-seg, PNG masks.

Every reader yields `Marked`: a shape of a class on a photograph, as the file has it.
"""

import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from la.data.coco.entries import check_pixels, image_name, text_of
from la.data.coco.numbers import not_finite
from la.data.coco.segmentations import Unusable
from la.errors import UserError
from la.formats.labelme_shapes import read_labelme
from la.formats.marked import (
    Marked,
    Polygons,
    Shape,
    id_of,
    read_json,
    reason_of,
    stated_size,
    visible_files,
)
from la.formats.png_masks import read_masks
from la.formats.yolo_labels import class_names, label_files, read_labels
from la.types import Box
from la.wording import listed

UNUSABLE = (LookupError, TypeError, ValueError, OverflowError, AttributeError, Unusable)
MEND = "export the annotations in COCO's instance format"


def read_marked(source: Path, classes: Sequence[str] | None) -> tuple[list[str], list[Marked]]:
    """The classes of annotation files in their order, and all shapes.

    Args:
        source: a COCO or LabelMe file, or a folder with one COCO file, LabelMe files, YOLO labels
            or PNG masks.
        classes: names for the numbers of PNG masks that have no `legend.csv`.

    Raises:
        UserError: there is no such file, it is damaged, or its format is not known.
    """
    if source.is_file():
        if source.suffix.lower() != ".json":
            raise UserError(f"{source} is not a .json file; give COCO or LabelMe, or a folder")
        content = read_json(source)
        if not _is_known(content):
            raise _unknown(source)
        return _read_known({source: content})
    if not source.is_dir():
        raise UserError(f"no file or folder {source}; give the annotations")
    contents = {path: read_json(path) for path in visible_files(source, ".json")}
    known = {path: content for path, content in contents.items() if _is_known(content)}
    if known:
        return _read_known(known)
    if (source / "labelmap.txt").is_file():
        raise UserError(f"{source} holds masks in the colours of CVAT's labelmap.txt; {MEND}")
    text_files = label_files(source)
    if text_files:
        names = class_names(source)
        marked = [entry for path in text_files for entry in read_labels(path, source, names)]
        return list(names.values()), marked
    if contents:  # beside YOLO's labels there may be notes
        raise _unknown(next(iter(contents)))
    masks = visible_files(source, ".png")
    if masks:
        return read_masks(source, masks, classes)
    raise UserError(
        f"{source} holds no COCO or LabelMe file (.json), YOLO labels (.txt) or masks (.png)"
        f"{_other_files(source)}"
    )


def _other_files(source: Path) -> str:
    """The end of an error: the first files that a folder holds instead, "" if none."""
    names = sorted(path.name for path in source.iterdir() if path.is_file())
    return f", but {listed(names)}; {MEND}" if names else ""


def _read_known(contents: Mapping[Path, dict[str, Any]]) -> tuple[list[str], list[Marked]]:
    """All shapes of one COCO file, or of any number of LabelMe files."""
    marked: list[Marked] = []
    for path, content in contents.items():
        if "annotations" in content:
            if len(contents) == 1:
                return _coco(content, path)
            names = listed([path.name for path in contents])
            raise UserError(f"{path.parent} holds several files ({names}); give one of them")
        marked += read_labelme(content, path)
    return sorted({entry.cls for entry in marked}), marked


def _is_known(content: object) -> bool:
    """Whether this is what a file of COCO or LabelMe holds."""
    return isinstance(content, dict) and ("annotations" in content or "shapes" in content)


def _unknown(path: Path) -> UserError:
    return UserError(f"{path} has neither annotations (COCO) nor shapes (LabelMe); {MEND}")


def _coco(content: dict[str, Any], path: Path) -> tuple[list[str], list[Marked]]:
    for name in ("images", "categories", "annotations"):
        if not isinstance(content.get(name), list):
            raise UserError(
                f"{path} has no list {name!r}; a COCO file has images, categories and annotations"
            )
    check_pixels(content["annotations"], path)
    marked: list[Marked] = []
    folder = path.parent.parent if path.parent.name == "annotations" else path.parent
    hint = f"; all such entries: python -m la data {shlex.quote(str(folder))}"
    where = "categories"
    try:
        categories = _by_id(content["categories"], "name")
        names = {key: text_of(entry, "name") for key, entry in categories.items()}
        where = "images"
        images = _by_id(content["images"], "file_name")
        for number, entry in enumerate(content["annotations"]):
            where = f"annotations[{number}]"
            shape = _coco_shape(entry)
            image = _listed(images, entry, "image_id")
            size = stated_size(image.get("height"), image.get("width"))
            name = _listed(names, entry, "category_id")
            marked.append(Marked(image_name(image), name, shape, size, hint))
    except UNUSABLE as error:
        raise UserError(f"{path}: {where} cannot be used ({reason_of(error)}){hint}") from None
    _check_box_pixels(marked, path)
    return list(names.values()), marked


def _by_id(entries: list[Any], field: str) -> dict[int | str, dict[str, Any]]:
    """The entries of a list by id.

    Raises:
        ValueError: two entries of one id differ in `field`.
    """
    by_id: dict[int | str, dict[str, Any]] = {}
    for entry in entries:
        number = id_of(entry["id"])
        first = by_id.setdefault(number, entry)
        if first.get(field) != entry.get(field):
            both = f"{first.get(field)!r:.40} and {entry.get(field)!r:.40}"
            raise ValueError(f"the id {number!r:.40} belongs to {both}; give each its own")
    return by_id


def _check_box_pixels(marked: Sequence[Marked], path: Path) -> None:
    """Check that the coordinates of boxes are pixels.

    Raises:
        UserError: every box that is not empty lies within the first pixel.
    """
    boxes = [entry.shape for entry in marked if isinstance(entry.shape, Box)]
    corners = [max(box.x1, box.y1) for box in boxes if box.x1 > box.x0 and box.y1 > box.y0]
    if corners and max(corners) <= 1:
        raise UserError(
            f"{path}: all coordinates of boxes lie between 0 and 1; COCO's are pixels, so "
            "multiply x by the image's width and y by its height"
        )


def _listed(entries: Mapping[int | str, Any], annotation: dict[str, Any], field: str) -> Any:
    """The entry whose id a field of an annotation holds.

    Raises:
        ValueError: there is none.
    """
    wanted = id_of(annotation[field])
    if wanted not in entries:
        raise ValueError(f"no entry has the id that its {field} says, {wanted!r:.40}")
    return entries[wanted]


def _coco_shape(entry: dict[str, Any]) -> Shape:
    """The mask of an annotation, or else its box, which is empty where it stands for a point."""
    segmentation = entry.get("segmentation")
    if isinstance(segmentation, dict):
        return segmentation
    if segmentation:
        if not isinstance(segmentation, list):
            raise ValueError(f"segmentation {segmentation!r:.40} is neither polygons nor runs")
        return Polygons(segmentation)
    if entry.get("bbox") is None:
        raise ValueError("it has neither a mask nor a box")
    box = entry["bbox"]
    if not isinstance(box, list) or len(box) != 4:
        raise ValueError(f"bbox {box!r:.40} is not a list of x, y, width and height")
    odd = not_finite(box)
    if odd:
        raise ValueError(f"bbox {box!r:.60} holds {odd}")
    x, y, width, height = map(float, box)
    return Box(x, y, x + width, y + height)
