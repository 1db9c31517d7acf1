"""Predicted label maps in the formats of other programs: COCO, YOLO-seg, LabelMe.

File names are the photographs', class numbers those of the prompts file (YOLO counts from 0).
"""

import json
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from scipy import ndimage

from la.colours import PALETTE
from la.errors import UserError
from la.files import write_whole
from la.formats.coco import geometry
from la.formats.label_maps import LabelMap, coco
from la.formats.polygons import polygons

# (label maps, classes, folder of the photographs, file or folder to write)
Exporter = Callable[[Iterable[LabelMap], Sequence[str], Path, Path], None]


def write_legend(classes: Sequence[str], path: Path) -> None:
    """A CSV file with the index, name and colour of each class in the PNG masks."""
    lines = ["index,name,colour", "0,background,#000000"]
    for number, name in enumerate(classes, 1):
        quoted = '"' + name.replace('"', '""') + '"'
        lines.append(f"{number},{quoted},{PALETTE[number - 1]}")
    write_whole(path, "\n".join(lines) + "\n")


def instances(mask: np.ndarray) -> list[dict[str, Any]]:
    """One annotation for each connected part of a mask (H, W), as run lengths."""
    return [geometry(part) for part in _parts(mask)]


def outlined(mask: np.ndarray) -> list[dict[str, Any]]:
    """One annotation for all pixels of a mask (H, W), as polygons."""
    rings = [ring.ravel().tolist() for ring in polygons(mask)]
    return [{**geometry(mask), "segmentation": rings}]


def outlined_instances(mask: np.ndarray) -> list[dict[str, Any]]:
    """One annotation for each connected part of a mask (H, W), as polygons."""
    annotations = []
    for part in _parts(mask):
        annotations += outlined(part)
    return annotations


def _parts(mask: np.ndarray) -> list[np.ndarray]:
    """The connected parts of a mask, each (H, W); touching corners do not connect pixels."""
    numbered, n_parts = ndimage.label(mask)
    return [numbered == number for number in range(1, n_parts + 1)]


def _files(
    maps: Iterable[LabelMap],
    folder: Path,
    suffix: str,
) -> Iterator[tuple[LabelMap, Path]]:
    """Each label map with its file, which these formats find by the photograph's name."""
    for label_map in maps:
        yield label_map, (folder / label_map.file_name).with_suffix(suffix)


def _outlines(label_map: LabelMap) -> Iterator[tuple[int, np.ndarray]]:
    """The row of each class in a label map, and a polygon (n, 2) of each of its parts."""
    for row in label_map.class_margins:
        for ring in polygons(label_map.labels == row):
            yield row, ring


def _coco_file(geometries: Callable[[np.ndarray], list[dict[str, Any]]]) -> Exporter:
    def export(
        maps: Iterable[LabelMap],
        classes: Sequence[str],
        images: Path,
        target: Path,
    ) -> None:
        content = coco(maps, classes, geometries)
        write_whole(target.with_name(f"{target.name}.json"), json.dumps(content))

    return export


def yolo(
    maps: Iterable[LabelMap],
    classes: Sequence[str],
    images: Path,
    target: Path,
) -> None:
    """A YOLO segmentation data set: `labels/*.txt` with a line for each part, and `data.yaml`."""
    for label_map, path in _files(maps, target / "labels", ".txt"):
        height, width = label_map.labels.shape
        lines = []
        for row, ring in _outlines(label_map):
            shares = (ring / (width, height)).ravel().tolist()
            numbers = " ".join(f"{share:.7f}" for share in shares)
            lines.append(f"{row - 1} {numbers}\n")
        write_whole(path, "".join(lines))
    names = "".join(f"  {n}: {json.dumps(name)}\n" for n, name in enumerate(classes))
    photos = json.dumps(str(images.resolve()))
    write_whole(target / "data.yaml", f"path: {photos}\ntrain: .\nval: .\nnames:\n{names}")


def labelme(
    maps: Iterable[LabelMap],
    classes: Sequence[str],
    images: Path,
    target: Path,
) -> None:
    """A LabelMe file for each photograph, with a polygon for each part of each class."""
    for label_map, path in _files(maps, target, ".json"):
        height, width = label_map.labels.shape
        shapes = []
        for row, ring in _outlines(label_map):
            shape = {
                "label": classes[row - 1],
                "points": ring.tolist(),
                "group_id": None,
                "shape_type": "polygon",
                "flags": {},
            }
            shapes.append(shape)
        content = {
            "version": "5.5.0",
            "flags": {},
            "shapes": shapes,
            "imagePath": os.path.relpath(images / label_map.file_name, path.parent),
            "imageData": None,
            "imageHeight": height,
            "imageWidth": width,
        }
        write_whole(path, json.dumps(content))


BY_STEM = ("yolo", "labelme")  # which name a file as the photograph, but for the suffix
FORMATS: dict[str, Exporter] = {
    "coco-instances": _coco_file(instances),
    "coco-polygons": _coco_file(outlined),
    "coco-instance-polygons": _coco_file(outlined_instances),
    "yolo": yolo,
    "labelme": labelme,
}


def exporters(names: Sequence[str], photographs: Iterable[str]) -> dict[str, Exporter]:
    """The exporters of these formats, for photographs of these file names.

    Raises:
        UserError: there is no such format, or in one of them two photographs have the same file.
    """
    for name in names:
        if name not in FORMATS:
            raise UserError(f"no format {name!r}; known: {', '.join(FORMATS)}")
    chosen = {name: FORMATS[name] for name in names}
    one_file = [name for name in chosen if name in BY_STEM]
    photograph_of: dict[Path, str] = {}
    for photograph in photographs if one_file else ():
        other = photograph_of.setdefault(Path(photograph).with_suffix(""), photograph)
        if other != photograph:
            raise UserError(
                f"{other} and {photograph} differ only in their suffix, and {one_file[0]} has one "
                "file for both; rename one"
            )
    return chosen
