"""Training on augmented views: a data set of views on disk, and episodes that draw from it.

The backbone is frozen and its features are cached, so images cannot be augmented at every
step. Each training image gets a few fixed views instead, in a folder in COCO format: their
features are computed and cached like those of any other image.
"""

import json
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from pycocotools import mask as coco_mask

from la.data.coco.index import CocoIndex
from la.data.sampling.loader import BatchLoader
from la.files import atomic_write, progress_bar, write_whole
from la.learn.augmented.augment import Instance, Pasteboard, augmented, unchanged
from la.rng import stream
from la.types import Batch, Episode

QUALITY = 95  # of the JPEG files


def views_of(image_id: int, n_views: int) -> range:
    """Ids of the views of an image: first the image itself, then its augmented views."""
    first = image_id * (n_views + 1)
    return range(first, first + n_views + 1)


def write_views(index: CocoIndex, folder: Path, n_views: int) -> CocoIndex:
    """Each image of an index and `n_views` augmented views of it, as a data set in `folder`.

    The annotation file is written last. If it exists, the data set is complete and only read; an
    interrupted call starts again.

    Raises:
        MissingFile, UserError: an image cannot be read.
        OSError: the folder cannot be written.
    """
    path = folder / "annotations" / "instances_views.json"
    if not path.exists():
        write_whole(path, json.dumps(_write_images(index, folder, n_views)))
    return CocoIndex.from_json(path, folder, folder)


def _write_images(
    index: CocoIndex,
    folder: Path,
    n_views: int,
) -> dict[str, list[Any]]:
    """Write the images of all views, and return the content of their annotation file."""
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    board = Pasteboard(index)
    for image_id in progress_bar(index.image_ids.tolist(), unit="image", desc="views"):
        for number, view_id in enumerate(views_of(image_id, n_views)):
            if number == 0:
                image, instances = unchanged(index, image_id)
            else:
                rng = stream(number, "view", image_id)
                image, instances = augmented(index, image_id, board, rng)
            name = f"{view_id:012d}.jpg"
            with atomic_write(folder / name) as file:
                image.save(file, "JPEG", quality=QUALITY)
            size = {"width": image.width, "height": image.height}
            images.append({"id": view_id, "file_name": name, **size})
            for instance in instances:
                ids = {"id": len(annotations) + 1, "image_id": view_id}
                annotations.append({**ids, **_annotation(instance)})
    categories = []
    for category_id, name in zip(index.category_ids.tolist(), index.category_names, strict=True):
        categories.append({"id": category_id, "name": name})
    return {"images": images, "annotations": annotations, "categories": categories}


def _annotation(instance: Instance) -> dict[str, Any]:
    """An instance in COCO's format, with its mask as compressed run lengths."""
    runs = coco_mask.encode(np.asfortranarray(instance.mask, np.uint8))
    counts = runs["counts"]
    assert isinstance(counts, bytes)
    return {
        "category_id": instance.category_id,
        "iscrowd": int(instance.crowd),
        "area": float(coco_mask.area(runs)),
        "bbox": coco_mask.toBbox(runs).tolist(),
        "segmentation": {"size": runs["size"], "counts": counts.decode()},
    }


@dataclass(frozen=True)
class ViewLoader:
    """Loads episodes that were drawn from images, each image replaced by a random view of it.

    A view is drawn among those that keep all classes which the episode needs of its image.
    """

    loader: BatchLoader  # of the views
    n_views: int

    def __call__(self, episodes: list[Episode]) -> Batch:
        """The batch of the episodes' views."""
        return self.loader([self.with_views(episode) for episode in episodes])

    def with_views(self, episode: Episode) -> Episode:
        """The episode on views of its images, the same at every call."""
        rng = stream(episode.seed, "views")
        class_ids = set(episode.class_ids)
        query_id = self._draw(episode.query_id, class_ids, rng)
        support_ids = tuple(self._draw(i, class_ids, rng) for i in episode.support_ids)
        return replace(episode, query_id=query_id, support_ids=support_ids)

    def _draw(
        self,
        image_id: int,
        class_ids: set[int],
        rng: np.random.Generator,
    ) -> int:
        views = views_of(image_id, self.n_views)
        original = views[0]
        needed = class_ids & self._classes[original]
        complete = [view for view in views if needed <= self._classes[view]]
        return complete[int(rng.integers(len(complete)))]

    @cached_property
    def _classes(self) -> dict[int, set[int]]:
        """Ids of the classes that each view shows, crowds aside."""
        index = self.loader.index
        classes: dict[int, set[int]] = {}
        for image_id in index.image_ids.tolist():
            classes[image_id] = set()
            for annotation in index.annotations_of(image_id):
                if not index.annotation_crowd[annotation]:
                    category = index.annotation_category[annotation]
                    classes[image_id].add(int(index.category_ids[category]))
        return classes
