"""Writes COCO files: images, categories, and annotations with a mask, a box or a point."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from pycocotools import mask as coco_mask

from la.types import Box, Point


class CocoWriter:
    """The content of a COCO file, image by image; category n is the n-th class."""

    def __init__(self, classes: Sequence[str]) -> None:
        self.content: dict[str, Any] = {
            "images": [],
            "categories": [{"id": n, "name": name} for n, name in enumerate(classes, 1)],
            "annotations": [],
        }

    def add_image(
        self,
        file_name: str,
        width: int,
        height: int,
    ) -> dict[str, Any]:
        """Add an image; return its entry, to which the caller may add fields."""
        images = self.content["images"]
        entry: dict[str, Any] = {"id": len(images) + 1, "file_name": file_name}
        entry |= {"width": width, "height": height}
        images.append(entry)
        return entry

    def annotate(
        self,
        cls: int,
        geometry: dict[str, Any],
    ) -> dict[str, Any]:
        """Add an annotation to the newest image, with these fields, and return its entry."""
        annotations = self.content["annotations"]
        entry = {"id": len(annotations) + 1, "image_id": len(self.content["images"])}
        entry |= {"category_id": cls, "iscrowd": 0, **geometry}
        annotations.append(entry)
        return entry


def geometry(prompt: Box | Point | np.ndarray) -> dict[str, Any]:
    """The fields of an annotation that hold its place; a mask (H, W) becomes run lengths."""
    match prompt:
        case Point(x, y, positive):
            return {
                "bbox": [x, y, 0, 0],
                "area": 0,
                "keypoints": [x, y, 2],
                "num_keypoints": 1,
                "positive": positive,
            }
        case Box(x0, y0, x1, y1):
            width, height = x1 - x0, y1 - y0
            return {"bbox": [x0, y0, width, height], "area": width * height}
    runs = coco_mask.encode(np.asfortranarray(prompt, np.uint8))
    counts = runs["counts"]
    assert isinstance(counts, bytes)
    return {
        "segmentation": {"size": list(runs["size"]), "counts": counts.decode()},
        "bbox": coco_mask.toBbox(runs).tolist(),
        "area": int(prompt.sum()),
    }
