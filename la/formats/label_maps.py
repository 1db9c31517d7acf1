"""Label maps of a folder's photographs: as PNG files that keep their scores, and as COCO."""

import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from la.colours import palette_png
from la.files import atomic_write
from la.formats.coco import CocoWriter, geometry

PNG_FIELD = "label-anything"  # the text of a PNG file that holds the scores, as JSON


@dataclass(frozen=True)
class LabelMap:
    """A segmented photograph: the class of each pixel, and how sure the model is of it."""

    file_name: str  # the photograph's, relative to its folder
    labels: np.ndarray  # (H, W) uint8; 0 is background, n the n-th class
    margin: float  # mean over all pixels, see `Prediction.margins`
    class_margins: dict[int, float]  # mean over the pixels of each class that is present

    @classmethod
    def of(
        cls,
        file_name: str,
        labels: np.ndarray,
        margins: np.ndarray,
    ) -> "LabelMap":
        """From the margin of each pixel, (H, W)."""
        count = np.bincount(labels.ravel())
        total = np.bincount(labels.ravel(), margins.ravel())
        means = {}
        for row in np.flatnonzero(count).tolist():
            if row > 0:
                means[row] = float(total[row] / count[row])
        return cls(file_name, labels, float(margins.mean()), means)

    def save(self, path: Path, picture: str) -> None:
        """Write a palette PNG with the scores and the photograph's digest as a text."""
        about = {"picture": picture, "margin": self.margin, "class_margins": self.class_margins}
        text = PngInfo()
        text.add_text(PNG_FIELD, json.dumps(about))
        with atomic_write(path) as file:
            palette_png(self.labels).save(file, "PNG", pnginfo=text)

    @classmethod
    def load(
        cls,
        path: Path,
        file_name: str,
        picture: str,
    ) -> "LabelMap | None":
        """The inverse of `save`; None if the file is damaged or belongs to another photograph."""
        try:
            with Image.open(path) as png:
                labels = np.array(png)
                about = json.loads(png.info[PNG_FIELD])  # read after the pixels, as PNG allows
            if about["picture"] != picture:
                return None
            means = {int(row): margin for row, margin in about["class_margins"].items()}
            return cls(file_name, labels, about["margin"], means)
        except (OSError, SyntaxError, ValueError, KeyError):
            return None


def semantic(mask: np.ndarray) -> list[dict[str, Any]]:
    """One annotation for all pixels of a class, as run lengths."""
    return [geometry(mask)]


def coco(
    maps: Iterable[LabelMap],
    classes: Sequence[str],
    geometries: Callable[[np.ndarray], list[dict[str, Any]]] = semantic,
) -> dict[str, Any]:
    """The content of a COCO file; background has no annotation.

    An image has its mean `margin`. An annotation has the class's mean margin in this image as
    `score`, and its `area_share` of the image.

    Args:
        maps: label maps in rows of `classes`.
        classes: the names; category n is the n-th.
        geometries: the annotations of a mask (H, W), see `la.formats.coco.geometry`.
    """
    writer = CocoWriter(classes)
    for label_map in maps:
        height, width = label_map.labels.shape
        image = writer.add_image(label_map.file_name, width, height)
        image["margin"] = round(label_map.margin, 4)
        for row, margin in label_map.class_margins.items():
            for shape in geometries(label_map.labels == row):
                annotation = writer.annotate(row, shape)
                annotation["score"] = round(margin, 4)
                annotation["area_share"] = round(shape["area"] / (height * width), 6)
    return writer.content
