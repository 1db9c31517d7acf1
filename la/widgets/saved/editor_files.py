"""The files that an editor writes: `prompts.json` with its images, and label maps."""

import json
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from la.colours import palette_png
from la.files import write_whole
from la.formats.coco import CocoWriter, geometry
from la.predict.prediction import label_rows
from la.predict.prompts.drawing import Annotation, Drawing
from la.widgets.photographs.photos import LivePredictor, Photo


def save_images(photos: Sequence[Photo], path: Path) -> None:
    """Write the images that have no file yet beside `path`, and remember where they are."""
    path.parent.mkdir(parents=True, exist_ok=True)
    for photo in photos:
        if photo.path is None:
            file = path.parent / f"{path.stem}-{photo.name.removesuffix('.png')}.png"
            photo.image.save(file)
            photo.path = file


def predict_command(model: str, file: str) -> str:
    """The shell command that segments a folder by a drawing on disk, or one that was saved.

    With the file of a live notebook the command holds whole paths, so it runs in any folder.
    """
    python, support = "python", "prompts.json"
    if file:
        python, support = sys.executable, file
    words = [python, "-m", "la", "predict", "--model", model, "--support", support]
    return f"{shlex.join(words)} --images FOLDER --out OUT"


def export_masks(
    drawing: Drawing,
    photos: Sequence[Photo],
    predictor: LivePredictor | None,
    support: Any,
    threshold: float,
    folder: Path,
) -> None:
    """Write a label map of each image as a palette PNG, and all of them as `masks.json` (COCO RLE).

    An image on which only masks are drawn gets these masks; where classes overlap, the later one
    wins. Any other image gets its predicted masks, with drawn ones on top. An image that can have
    neither is left out.

    Args:
        drawing: what is drawn on the images.
        photos: the images of the drawing; predicted at their original sizes.
        predictor: what segments the images; None if nothing does.
        support: the predictor's support set; None without a predictor or prompts.
        threshold: logits that a class needs over background.
        folder: where the files are written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    writer = CocoWriter(drawing.classes)
    annotated = zip(photos, drawing.annotations(), strict=True)
    for number, (photo, annotations) in enumerate(annotated, 1):
        masks = _masks(annotations, drawing.classes)
        n_prompts = sum(len(prompts) for prompts in annotations.values())
        labels = np.zeros(photo.size, np.uint8)
        if not masks or len(masks) < n_prompts:
            if predictor is None or support is None:
                if not masks:
                    continue
            else:
                prediction = predictor.predict(photo.image, support)
                labels = prediction.rows(photo.size, threshold) if threshold else prediction.labels
                labels = label_rows(labels, prediction.class_names, drawing.classes)
        for row, mask in masks:
            labels[mask] = row
        palette_png(labels).save(folder / f"{number}-{Path(photo.name).stem}.png")
        height, width = photo.size
        writer.add_image(photo.name, width, height)
        for row in np.unique(labels[labels > 0]).tolist():
            writer.annotate(row, geometry(labels == row))
    write_whole(folder / "masks.json", json.dumps(writer.content))


def _masks(
    annotations: dict[str, list[Annotation]], classes: Sequence[str]
) -> list[tuple[int, np.ndarray]]:
    """The drawn masks (H, W) of an image with the rows of their classes."""
    return [
        (classes.index(name) + 1, prompt)
        for name, prompts in annotations.items()
        for prompt in prompts
        if isinstance(prompt, np.ndarray)
    ]
