"""`prompts.json`: a drawing as a COCO file, which the notebook saves and the command line reads.

Each prompt is an annotation, for other programs; the additional field `prompts` holds the vector
prompts of `la.predict.drawing`, and loading reads that field, so nothing is lost.
"""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from pycocotools import mask as coco_mask

from la.errors import UserError
from la.predict.drawing import Drawing, DrawnImage, annotate
from la.types import Box, Point


def to_coco(drawing: Drawing) -> dict[str, Any]:
    """The content of `prompts.json`: one annotation per point, per box and per mask."""
    found = [
        {"image_id": i, "category_id": drawing.classes.index(name) + 1, "iscrowd": 0} | coco_of(p)
        for i, classes in enumerate(annotate(drawing), 1)
        for name, prompts in classes.items()
        for p in prompts
    ]
    return {
        "info": {"description": "Visual prompts, one annotation each; `prompts` is lossless"},
        "images": [{"id": i, **asdict(image)} for i, image in enumerate(drawing.images, 1)],
        "categories": [{"id": n, "name": name} for n, name in enumerate(drawing.classes, 1)],
        "annotations": [{"id": i} | annotation for i, annotation in enumerate(found, 1)],
        "prompts": list(drawing.prompts),
    }


def coco_of(prompt: Box | Point | np.ndarray) -> dict[str, Any]:
    """The fields of a COCO annotation that say where it is; a mask (H, W) as run lengths."""
    if isinstance(prompt, Point):
        spot: dict[str, Any] = {"bbox": [prompt.x, prompt.y, 0, 0], "area": 0, "num_keypoints": 1}
        return spot | {"keypoints": [prompt.x, prompt.y, 2], "positive": prompt.positive}
    if isinstance(prompt, Box):
        width, height = prompt.x1 - prompt.x0, prompt.y1 - prompt.y0
        return {"bbox": [prompt.x0, prompt.y0, width, height], "area": width * height}
    runs = coco_mask.encode(np.asfortranarray(prompt, np.uint8))
    counts = runs["counts"]
    assert isinstance(counts, bytes)
    return {
        "segmentation": {"size": list(runs["size"]), "counts": counts.decode()},
        "bbox": coco_mask.toBbox(runs).tolist(),
        "area": int(prompt.sum()),
    }


def from_coco(data: Any, where: str = "prompts.json") -> Drawing:
    """The inverse of `to_coco`; `where` names the file in messages.

    Raises:
        ValueError: the data are not COCO images, categories and prompts; says which entry.
    """
    try:
        images = [
            DrawnImage(
                image.get("file_name"),
                image.get("width"),
                image.get("height"),
                image.get("role", "support"),
            )
            for image in data["images"]
        ]
        names = tuple(category.get("name") for category in data["categories"])
        return Drawing(tuple(images), names, tuple(data["prompts"]))
    except ValueError as error:
        raise UserError(f"{where}: {error}") from None
    except (KeyError, TypeError, AttributeError):
        lists = "lists of objects: images, categories and prompts; draw_prompts.ipynb saves such"
        raise UserError(f"{where} must hold one object with {lists}") from None


def read(path: str | Path) -> Drawing:
    """The drawing in a `prompts.json` file.

    Raises:
        ValueError: the file is not JSON, or not such a file; says which entry.
    """
    try:
        return from_coco(json.loads(Path(path).read_text(encoding="utf-8")), str(path))
    except (json.JSONDecodeError, UnicodeDecodeError, RecursionError) as error:
        raise UserError(f"{path} is not JSON: {error}") from None
