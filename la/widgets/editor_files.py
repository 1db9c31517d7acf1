"""The files that an editor writes: `prompts.json` with its images, and label maps."""

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from la.colours import palette_png
from la.files import write_whole
from la.predict import prompts_file
from la.predict.drawing import Drawing, annotate
from la.predict.prediction import Prediction, coco
from la.widgets.photos import LivePredictor, Photo


def save_images(photos: Sequence[Photo], path: Path) -> None:
    """Write the images that have no file yet beside `path`, and remember where they are."""
    path.parent.mkdir(parents=True, exist_ok=True)
    for photo in photos:
        if photo.path is None:
            photo.path = path.parent / f"{path.stem}-{photo.name.removesuffix('.png')}.png"
            photo.image.save(photo.path)


def save_prompts(drawing: Drawing, path: Path) -> None:
    """Write `prompts.json`; its image names are relative to its folder."""
    data = prompts_file.to_coco(drawing)
    for entry in data["images"]:
        entry["file_name"] = os.path.relpath(entry["file_name"], path.parent)
    write_whole(path, json.dumps(data))


def export_masks(
    drawing: Drawing,
    photos: Sequence[Photo],
    predictor: LivePredictor | None,
    support: Any,
    folder: Path,
) -> None:
    """Write a label map of each image as a palette PNG, and all of them as `masks.json` (COCO RLE).

    Supports have their drawn masks, of which the later one wins where classes overlap. Queries have
    their predicted masks, with drawn ones above.

    Args:
        support: the predictor's support set; not used without a predictor.
    """
    folder.mkdir(parents=True, exist_ok=True)
    label_maps = []
    drawn = annotate(drawing)
    for number, (photo, prompts_of_class) in enumerate(zip(photos, drawn, strict=True), 1):
        labels = np.zeros(photo.image.size[::-1], np.uint8)
        if photo.role == "query" and predictor is not None:
            labels = label_rows(predictor.predict(photo.encoded, support), drawing.classes)
        for name, prompts in prompts_of_class.items():
            for prompt in prompts:
                if isinstance(prompt, np.ndarray):
                    labels[prompt] = drawing.classes.index(name) + 1
        file_name = f"{number}-{Path(photo.name).stem}.png"
        palette_png(labels).save(folder / file_name)
        label_maps.append((file_name, labels))
    write_whole(folder / "masks.json", json.dumps(coco(label_maps, drawing.classes)))


def label_rows(prediction: Prediction, classes: Sequence[str]) -> np.ndarray:
    """A predicted label map (H, W) in rows of the editor's classes.

    The prediction has only the classes that carry a prompt, so its rows are renumbered.
    """
    rows = [0, *(classes.index(name) + 1 for name in prediction.class_names)]
    return np.array(rows, np.uint8)[np.asarray(prediction.labels)]
