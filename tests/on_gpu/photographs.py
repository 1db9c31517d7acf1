"""Photographs that are drawn, in a folder in COCO format."""

import json
from pathlib import Path

import numpy as np
from PIL import Image
from pycocotools import mask as coco_mask

from la.rng import stream

CLASSES = range(1, 9)
OBJECTS = 4  # in each photograph, of different classes


def write_photographs(folder: Path, n_images: int, size: tuple[int, int]) -> Path:
    """A folder of JPEG files (H, W) with ellipses on a smooth background; the annotation file."""
    (folder / "images").mkdir(parents=True)
    (folder / "annotations").mkdir()
    height, width = size
    grid = np.mgrid[:height, :width]
    images, annotations = [], []
    for image_id in range(1, n_images + 1):
        rng = stream(image_id, "drawn photograph")
        small = rng.integers(256, size=(6, 8, 3), dtype=np.uint8)
        pixels = np.array(Image.fromarray(small).resize((width, height), Image.Resampling.BICUBIC))
        for class_id in rng.choice(CLASSES, OBJECTS, replace=False).tolist():
            centre = rng.uniform(0.2, 0.8, size=2) * size
            radii = rng.uniform(0.1, 0.25, size=2) * min(size)
            places = (grid - centre[:, None, None]) / radii[:, None, None]
            mask = (places**2).sum(0) <= 1
            pixels[mask] = stream(class_id, "colour").integers(256, size=3)
            code = coco_mask.encode(np.asfortranarray(mask, np.uint8))
            counts = code["counts"]
            assert isinstance(counts, bytes)
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "image_id": image_id,
                    "category_id": class_id,
                    "segmentation": {"size": list(size), "counts": counts.decode()},
                    "bbox": coco_mask.toBbox(code).tolist(),
                    "area": int(coco_mask.area(code)),
                    "iscrowd": 0,
                }
            )
        name = f"{image_id:06d}.jpg"
        Image.fromarray(pixels).save(folder / "images" / name, quality=90)
        images.append({"id": image_id, "file_name": name, "height": height, "width": width})
    categories = [{"id": i, "name": f"class {i}"} for i in CLASSES]
    content = {"images": images, "annotations": annotations, "categories": categories}
    path = folder / "annotations" / "instances_drawn.json"
    path.write_text(json.dumps(content))
    return path
