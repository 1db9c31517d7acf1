"""Existing annotations of other programs, read entry by entry: COCO, LabelMe, YOLO-seg, PNG masks.

Every reader yields `Marked`: a shape of a class on a photograph, as the file has it.
"""

import csv
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from la.data.entries import check_pixels
from la.errors import UserError
from la.formats.marked import Marked, Polygons, Shape, text_of
from la.formats.yolo_labels import class_names, read_labels
from la.types import Box, Point

IGNORED = 255  # index of PNG masks for pixels that belong to no class


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
        return _read_json([source])
    if not source.is_dir():
        raise UserError(f"no file or folder {source}; give the annotations")
    json_files = sorted(source.rglob("*.json"))
    if json_files:
        return _read_json(json_files)
    text_files = sorted(path for path in source.rglob("*.txt") if path.name != "classes.txt")
    if text_files:
        names = class_names(source)
        return names, [marked for path in text_files for marked in read_labels(path, source, names)]
    masks = sorted(source.rglob("*.png"))
    if masks:
        return _png_masks(source, masks, classes)
    raise UserError(
        f"{source} holds no COCO or LabelMe file (.json), YOLO labels (.txt) or masks (.png)"
    )


def _read_json(paths: list[Path]) -> tuple[list[str], list[Marked]]:
    """All shapes of one COCO file, or of any number of LabelMe files."""
    contents = [_load_json(path) for path in paths]
    if len(contents) == 1 and "annotations" in contents[0]:
        return _coco(contents[0], paths[0])
    marked: list[Marked] = []
    for path, content in zip(paths, contents, strict=True):
        if "annotations" in content:
            names = ", ".join(path.name for path in paths[:3])
            raise UserError(f"{path.parent} holds several files ({names}); give one of them")
        marked += _labelme(content, path)
    return sorted({entry.cls for entry in marked}), marked


def _load_json(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(text_of(path))
    except (json.JSONDecodeError, RecursionError) as error:
        raise UserError(f"{path} is not JSON: {error}") from None
    if not isinstance(content, dict) or not ("annotations" in content or "shapes" in content):
        raise UserError(f"{path} has neither annotations (COCO) nor shapes (LabelMe)")
    return content


def _coco(content: dict[str, Any], path: Path) -> tuple[list[str], list[Marked]]:
    marked = []
    where = "categories or images"
    if isinstance(content["annotations"], list):
        check_pixels(content["annotations"], path)
    try:
        # Ids are numbers in some files and text in others.
        name_of = {str(entry["id"]): str(entry["name"]) for entry in content["categories"]}
        image_of = {str(entry["id"]): entry for entry in content["images"]}
        for number, entry in enumerate(content["annotations"]):
            where = f"annotations[{number}]"
            shape = _coco_shape(entry)
            if shape is not None:
                image = image_of[str(entry["image_id"])]
                size = (int(image["height"]), int(image["width"]))
                name = name_of[str(entry["category_id"])]
                marked.append(Marked(str(image["file_name"]), name, shape, size))
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        reason = f"{type(error).__name__}: {error}"
        raise UserError(f"{path}: {where} cannot be used ({reason})") from None
    return list(dict.fromkeys(name_of.values())), marked


def _coco_shape(entry: dict[str, Any]) -> Shape | None:
    """The mask of an annotation, or else its box; None for an empty box, as a point has it."""
    segmentation = entry.get("segmentation")
    if isinstance(segmentation, dict):
        return segmentation
    if segmentation:
        is_flat = not isinstance(segmentation[0], list)
        return Polygons([segmentation] if is_flat else segmentation)
    x, y, width, height = map(float, entry["bbox"])
    if not (width > 0 and height > 0):
        return None
    return Box(x, y, x + width, y + height)


def _labelme(content: dict[str, Any], path: Path) -> Iterator[Marked]:
    for number, entry in enumerate(content["shapes"]):
        try:
            size = (int(content["imageHeight"]), int(content["imageWidth"]))
            photo = str(content["imagePath"])
            points = np.array(entry["points"], float).reshape(-1, 2)
            kind = entry.get("shape_type", "polygon")
            label = str(entry["label"])
        except (KeyError, TypeError, ValueError) as error:
            reason = f"{type(error).__name__}: {error}"
            raise UserError(f"{path}: shapes[{number}] cannot be used ({reason})") from None
        shape: Shape
        if kind == "polygon":
            shape = Polygons([points.ravel().tolist()])
        elif kind == "rectangle":
            (x0, y0), (x1, y1) = points.min(0).tolist(), points.max(0).tolist()
            shape = Box(x0, y0, x1, y1)
        elif kind == "point":
            shape = Point(*points[0].tolist())
        else:
            raise UserError(f"{path}: shapes[{number}] is a {kind}; make it a polygon")
        yield Marked(photo, label, shape, size)


def _png_masks(
    source: Path,
    masks: list[Path],
    classes: Sequence[str] | None,
) -> tuple[list[str], list[Marked]]:
    """Masks whose values are class numbers, or a folder of masks for each class."""
    legend = source / "legend.csv"
    if legend.is_file():
        entries = csv.DictReader(text_of(legend).splitlines())
        names = [entry["name"] for entry in entries][1:]  # the first is background
    elif any(path.parent == source for path in masks):
        if not classes:
            raise UserError(f"{source} has no legend.csv; name the classes of its numbers 1, 2, ..")
        names = list(classes)
    else:
        names = sorted({path.relative_to(source).parts[0] for path in masks})
        return names, [
            Marked(
                photo=Path(*path.relative_to(source).parts[1:]).with_suffix("").as_posix(),
                cls=path.relative_to(source).parts[0],
                shape=_pixels(path) > 0,
            )
            for path in masks
        ]
    marked = []
    for path in masks:
        pixels = _pixels(path)
        photo = path.relative_to(source).with_suffix("").as_posix()
        for row in np.unique(pixels[(pixels > 0) & (pixels != IGNORED)]).tolist():
            if row > len(names):
                raise UserError(f"{path} has the value {row}, but there are {len(names)} classes")
            marked.append(Marked(photo, names[row - 1], pixels == row))
    return names, marked


def _pixels(path: Path) -> np.ndarray:
    """The pixel values (H, W) of a mask.

    Raises:
        UserError: the file is damaged, or a colour picture.
    """
    try:
        with Image.open(path) as png:
            pixels = np.array(png)
    except (OSError, SyntaxError, ValueError) as error:
        raise UserError(f"{path} cannot be read as an image: {error}") from None
    if pixels.ndim != 2:
        raise UserError(f"{path} is a colour picture; a mask has one value for each pixel")
    return pixels
