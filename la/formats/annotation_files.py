"""Existing annotations of other programs, read entry by entry: COCO, LabelMe, YOLO-seg, PNG masks.

Every reader yields `Marked`: a shape of a class on a photograph, as the file has it.
"""

import csv
import json
import math
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from la.data.entries import check_pixels
from la.data.segmentations import Unusable
from la.errors import UserError
from la.formats.labelme_shapes import read_labelme
from la.formats.marked import (
    Marked,
    Polygons,
    Shape,
    id_of,
    reason_of,
    stated_size,
    text_of,
    visible_files,
)
from la.formats.yolo_labels import class_names, label_files, read_labels
from la.types import Box
from la.wording import counted

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
        if source.suffix.lower() != ".json":
            raise UserError(f"{source} is no .json file; give one of COCO or LabelMe, or a folder")
        return _read_json([source])
    if not source.is_dir():
        raise UserError(f"no file or folder {source}; give the annotations")
    json_files = visible_files(source, ".json")
    if json_files:
        return _read_json(json_files)
    text_files = label_files(source)
    if text_files:
        names = class_names(source)
        marked = [entry for path in text_files for entry in read_labels(path, source, names)]
        return list(names.values()), marked
    masks = visible_files(source, ".png")
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
        marked += read_labelme(content, path)
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
    for name in ("images", "categories", "annotations"):
        if not isinstance(content.get(name), list):
            raise UserError(
                f"{path} has no list {name!r}; a COCO file has images, categories and annotations"
            )
    check_pixels(content["annotations"], path)
    marked = []
    folder = path.parent.parent if path.parent.name == "annotations" else path.parent
    hint = f"; all such entries: python -m la data {shlex.quote(str(folder))}"
    where = "categories or images"
    try:
        names = {id_of(entry["id"]): str(entry["name"]) for entry in content["categories"]}
        images = {id_of(entry["id"]): entry for entry in content["images"]}
        for number, entry in enumerate(content["annotations"]):
            where = f"annotations[{number}]"
            shape = _coco_shape(entry)
            image = _listed(images, entry, "image_id")
            size = stated_size(image.get("height"), image.get("width"))
            name = _listed(names, entry, "category_id")
            marked.append(Marked(str(image["file_name"]), name, shape, size, hint))
    except (LookupError, TypeError, ValueError, AttributeError, Unusable) as error:
        raise UserError(f"{path}: {where} cannot be used ({reason_of(error)}){hint}") from None
    return list(dict.fromkeys(names.values())), marked


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
    x, y, width, height = map(float, entry["bbox"])
    if not all(map(math.isfinite, (x, y, width, height))):
        raise ValueError(f"bbox {entry['bbox']} holds something that is no number")
    return Box(x, y, x + width, y + height)


def _png_masks(
    source: Path,
    masks: list[Path],
    classes: Sequence[str] | None,
) -> tuple[list[str], list[Marked]]:
    """Masks whose values are class numbers, or a folder of masks for each class."""
    legend = source / "legend.csv"
    if legend.is_file():
        entries = csv.DictReader(text_of(legend).splitlines())
        if "name" not in (entries.fieldnames or ()):
            raise UserError(f"{legend} has no column `name`; its first line is index,name")
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
                raise UserError(f"{path} has the value {row} for {counted(len(names), 'class')}")
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
        raise UserError(
            f"{path} is a colour picture; export masks whose pixels are class numbers, or a folder "
            "of masks for each class"
        )
    return pixels
