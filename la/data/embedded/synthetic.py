"""The embedded data set: 80 classes of drawn scenes in COCO format; nothing to download.

Class c from 0 is category c + 1, in fold c % 4 of the interleaved folds.
"""

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image
from pycocotools import mask as rle

from la.data.embedded.scenes import SIZE, draw_scene, kinds
from la.errors import UserError
from la.files import claim, progress_bar
from la.rng import stream

VAL_IDS = 100_000  # image ids of the validation split start after it
SMALL_AREA = 61.0  # square pixels: the share of 96 x 96 that 2,048 is of COCO's usual 640 x 480
VERSION = 1  # of the drawing: another number, another data set


def write(
    folder: Path, *, n_train: int = 3000, n_val: int = 1000, seed: int = 0, progress: bool = True
) -> Path:
    """Write the data set into `folder` in COCO format, once; returns the folder.

    `annotations/instances_{train,val}.json` and `images/{train,val}`, written beside and renamed:
    the folder is whole or absent. Of several processes one writes and the others wait for it.

    Raises:
        ValueError: the folder exists and holds something else.
    """
    folder = Path(folder)
    recipe = {"version": VERSION, "n_train": n_train, "n_val": n_val, "seed": seed}
    note = folder / "recipe.json"
    with claim(folder, wait=True):
        if not folder.exists():
            partial = folder.with_name(f".{folder.name}.partial")
            shutil.rmtree(partial, ignore_errors=True)
            (partial / "annotations").mkdir(parents=True)
            with progress_bar(
                total=n_train + n_val, desc="drawing images", disable=not progress
            ) as bar:
                for split, first, n in (("train", 1, n_train), ("val", VAL_IDS + 1, n_val)):
                    _write_split(partial, split, range(first, first + n), seed, bar.update)
            (partial / note.name).write_text(json.dumps(recipe))
            os.rename(partial, folder)
    found = json.loads(note.read_text()) if note.exists() else "something else"
    if found != recipe:
        raise UserError(
            f"{folder} holds {found}, not the embedded data set {recipe}; "
            "remove it or name another folder"
        )
    return folder


def _write_split(folder: Path, split: str, ids: range, seed: int, tick: Callable) -> None:
    """Draw the images with these ids; an image depends on the seed and its id alone."""
    world, images, annotations = kinds("benchmark"), [], []
    (folder / "images" / split).mkdir(parents=True)
    for image_id in ids:
        scene = draw_scene(world, stream(seed, "benchmark scene", image_id))
        name = f"{image_id:06d}.png"
        Image.fromarray(scene.image).save(folder / "images" / split / name, compress_level=1)
        images.append({"id": image_id, "file_name": name, "width": SIZE, "height": SIZE})
        for position, (class_index, mask) in enumerate(scene.instances):
            code = rle.encode(np.asfortranarray(mask, np.uint8))
            counts = code["counts"]
            assert isinstance(counts, bytes)
            annotations.append(
                {
                    "id": image_id * 10 + position,
                    "image_id": image_id,
                    "category_id": class_index + 1,
                    "segmentation": {"size": [SIZE, SIZE], "counts": counts.decode()},
                    "bbox": rle.toBbox(code).tolist(),
                    "area": int(rle.area(code)),
                    "iscrowd": 0,
                }
            )
        tick()
    categories = [{"id": i, "name": kind.name} for i, kind in enumerate(world, 1)]
    content = {"images": images, "annotations": annotations, "categories": categories}
    (folder / "annotations" / f"instances_{split}.json").write_text(json.dumps(content))
