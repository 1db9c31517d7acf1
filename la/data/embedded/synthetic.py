"""The embedded data set: 80 classes of drawn scenes in COCO format, without a download.

Class c, counted from 0, has category id c + 1 and belongs to fold c % 4 of the interleaved folds.
"""

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from pycocotools import mask as coco_mask

from la.data.embedded.classes import kinds
from la.data.embedded.scenes import SIZE, Scene, draw_scene
from la.errors import UserError
from la.files import claim, progress_bar
from la.rng import stream

VAL_IDS = 100_000  # image ids of the validation split are greater than this
# Square pixels: the same share of a 96 x 96 image as 2,048 pixels are of COCO's usual 640 x 480.
SMALL_AREA = 61.0
VERSION = 1  # of the drawing code: a change of any pixel or annotation raises it


def write(
    folder: Path,
    *,
    n_train: int = 3000,
    n_val: int = 1000,
    seed: int = 0,
    progress: bool = True,
) -> Path:
    """Write the data set into `folder` in COCO format, unless it is there; returns the folder.

    The files are `annotations/instances_{train,val}.json` and `images/{train,val}`. They are
    written to a temporary folder, which is renamed when it is complete. If several processes call
    this, one writes and the others wait.

    Raises:
        UserError: the folder exists and holds something else.
    """
    folder = Path(folder)
    recipe = {"version": VERSION, "n_train": n_train, "n_val": n_val, "seed": seed}
    note = folder / "recipe.json"
    with claim(folder, wait=True):
        if not folder.exists():
            partial = folder.with_name(f".{folder.name}.partial")
            shutil.rmtree(partial, ignore_errors=True)
            (partial / "annotations").mkdir(parents=True)
            n_images = n_train + n_val
            train_ids = range(1, 1 + n_train)
            val_ids = range(VAL_IDS + 1, VAL_IDS + 1 + n_val)
            with progress_bar(total=n_images, desc="drawing images", disable=not progress) as bar:
                _write_split(partial, "train", train_ids, seed, bar.update)
                _write_split(partial, "val", val_ids, seed, bar.update)
            (partial / note.name).write_text(json.dumps(recipe))
            os.rename(partial, folder)
    written = json.loads(note.read_text()) if note.exists() else "something else"
    if written != recipe:
        raise UserError(
            f"{folder} holds {written}, not the embedded data set {recipe}; "
            "remove it or name another folder"
        )
    return folder


def _write_split(
    folder: Path,
    split: str,
    image_ids: range,
    seed: int,
    report: Callable[[], object],
) -> None:
    """Draw the images with these ids; an image depends on the seed and its id alone."""
    world = kinds("benchmark")
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    image_folder = folder / "images" / split
    image_folder.mkdir(parents=True)
    for image_id in image_ids:
        scene = draw_scene(world, stream(seed, "benchmark scene", image_id))
        name = f"{image_id:06d}.png"
        Image.fromarray(scene.image).save(image_folder / name, compress_level=1)
        images.append({"id": image_id, "file_name": name, "width": SIZE, "height": SIZE})
        annotations += _annotations(image_id, scene)
        report()
    categories = [{"id": i, "name": kind.name} for i, kind in enumerate(world, start=1)]
    content = {"images": images, "annotations": annotations, "categories": categories}
    (folder / "annotations" / f"instances_{split}.json").write_text(json.dumps(content))


def _annotations(image_id: int, scene: Scene) -> list[dict[str, Any]]:
    """The objects of a scene as COCO annotations."""
    annotations = []
    for position, (class_index, mask) in enumerate(scene.instances):
        runs = coco_mask.encode(np.asfortranarray(mask, np.uint8))
        counts = runs["counts"]
        assert isinstance(counts, bytes)
        annotations.append(
            {
                "id": image_id * 10 + position,
                "image_id": image_id,
                "category_id": class_index + 1,
                "segmentation": {"size": [SIZE, SIZE], "counts": counts.decode()},
                "bbox": coco_mask.toBbox(runs).tolist(),
                "area": int(coco_mask.area(runs)),
                "iscrowd": 0,
            }
        )
    return annotations
