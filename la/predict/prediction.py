"""Predicted label maps: as a value, as COCO annotations, and for a whole folder with resume."""

import json
import logging
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from torch import Tensor

from la import colours
from la.data.geometry import Frame
from la.errors import MissingFile, UserError
from la.files import atomic_write, progress_bar, write_whole
from la.predict.prompts_file import coco_of

log = logging.getLogger(__name__)

SUFFIXES = {".bmp", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp"}


@dataclass(frozen=True)
class Prediction:
    """The segmentation of one image at its original size."""

    labels: np.ndarray  # (H, W) uint8 rows: 0 background, n the n-th of `class_names`
    class_names: tuple[str, ...]
    image: Image.Image
    frame: Frame
    logits: Tensor  # (C, h, w) over the input frame, as the decoder gave them, the bias included

    @property
    def probabilities(self) -> np.ndarray:
        """(C, H, W) float32, background first; made anew at each use."""
        return self.frame.original_logits(self.logits[None])[0].softmax(0).numpy()

    def to_png(self, path: str | Path | None = None) -> Image.Image:
        """The label map as a palette image, index n in the colour of class n; written if `path`."""
        picture = colours.palette_png(self.labels)
        if path is not None:
            with atomic_write(Path(path)) as file:
                picture.save(file, "PNG")
        return picture

    def to_coco(self, file_name: str = "image.png") -> dict[str, Any]:
        """A COCO file's content: the image, the categories, an RLE annotation per class found."""
        return coco([(file_name, self.labels)], self.class_names)

    def overlay(self, opacity: float = 0.6) -> Image.Image:
        """The image with the classes in colour."""
        return colours.overlay(self.image, self.labels, opacity)


def coco(maps: Iterable[tuple[str, np.ndarray]], class_names: tuple[str, ...]) -> dict[str, Any]:
    """A COCO file's content from (file name, label map (H, W)): an RLE annotation per class found.

    Category n is row n of the label maps; background has no annotation.
    """
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    for image_id, (name, labels) in enumerate(maps, 1):
        height, width = labels.shape
        images.append({"id": image_id, "file_name": name, "width": width, "height": height})
        for row in np.unique(labels[labels > 0]).tolist():
            ids = {"id": len(annotations) + 1, "image_id": image_id, "category_id": row}
            annotations.append(ids | {"iscrowd": 0} | coco_of(labels == row))
    categories = [{"id": n, "name": name} for n, name in enumerate(class_names, 1)]
    return {"images": images, "categories": categories, "annotations": annotations}


def segment_folder(
    segment: Callable[[Path], np.ndarray],
    class_names: tuple[str, ...],
    images: Path,
    out: Path,
    *,
    progress: bool,
) -> Path:
    """A palette PNG for each image under a folder and its sub-folders, and one COCO file.

    `a/b.jpg` becomes `out/masks/a/b.jpg.png`; a PNG that is there is not made again. The COCO file,
    `out/predictions.json`, is written last, from the PNGs, and returned. An image that `segment`
    refuses with a ValueError is left out and listed there under `skipped`.

    Raises:
        FileNotFoundError: there is no such folder, or no image in it.
    """
    if not images.is_dir():
        raise MissingFile(f"no folder {images}; give the one that holds the images")
    found = sorted(p for p in images.rglob("*") if p.suffix.lower() in SUFFIXES and p.is_file())
    found = [p for p in found if out.resolve() not in p.resolve().parents]
    if not found:
        raise MissingFile(f"no image under {images}; known are {', '.join(sorted(SUFFIXES))}")
    maps, skipped = {}, []
    for path in progress_bar(found, "segmenting", unit="image", disable=not progress):
        name = path.relative_to(images).as_posix()
        png = out / "masks" / f"{name}.png"
        try:
            made = None if png.exists() else colours.palette_png(segment(path))
        except UserError as error:
            log.warning("left out: %s", error)
            skipped.append({"file_name": name, "reason": str(error)})
            continue
        if made is not None:
            with atomic_write(png) as file:
                made.save(file, "PNG")
        maps[name] = png
    content = coco(((name, np.array(Image.open(png))) for name, png in maps.items()), class_names)
    write_whole(out / "predictions.json", json.dumps(content | {"skipped": skipped}))
    return out / "predictions.json"
