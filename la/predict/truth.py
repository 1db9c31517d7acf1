"""Annotations of photographs as the truth for their predictions."""

import logging
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from la.data.coco.entries import same_spelling
from la.data.coco.index import CocoIndex
from la.data.pictures.images import orientation
from la.data.pictures.picture_files import file_id
from la.errors import UserError
from la.formats.label_maps import LabelMap
from la.predict.iou import by_name, count, ratio
from la.predict.prompts.photos import photo_size
from la.predict.prompts.upright import annotated_frame, upright_pixels
from la.types import IGNORE
from la.wording import listed

log = logging.getLogger(__name__)


def scored_classes(classes: Sequence[str], truth: CocoIndex, part: str = "") -> list[str]:
    """The classes that have a mask in the annotations; the others are logged, and not scored.

    Raises:
        UserError: none has one.
    """
    has_mask = np.unique(truth.annotation_category[~truth.annotation_crowd])
    annotated = [truth.category_names[row] for row in has_mask.tolist()]
    spelled = set(map(same_spelling, annotated))
    scored = [name for name in classes if same_spelling(name) in spelled]
    missing = ", ".join(name for name in classes if name not in scored)
    if not scored:
        known = listed(annotated, 10) or "no class"
        raise UserError(
            f"{truth.source}{part} has no mask of {missing} to score; it has masks of {known}. "
            "Rename the classes of the prompts, or annotate them on further images"
        )
    if missing:
        log.warning("%s%s has no mask of %s: not scored", truth.source, part, missing)
    return scored


def check_sizes(truth: CocoIndex, photos: Iterable[Path]) -> None:
    """Check that the annotated photographs have the sizes that their annotations state.

    Raises:
        UserError: a photograph has another size than its annotations.
    """
    id_of = _ids_by_file(truth)
    for photo in photos:
        image_id = id_of.get(file_id(photo))
        if image_id is None:
            continue
        try:
            size = photo_size(photo)
        except UserError:  # what cannot be read is listed under `skipped`
            continue
        with Image.open(photo) as stored:
            turn = orientation(stored)
        annotated_frame(truth.size(image_id), size, photo, turn)


def _ids_by_file(truth: CocoIndex) -> dict[object, int]:
    """The id of each image that has a file."""
    id_of: dict[object, int] = {}
    for path, image_id in zip(truth.paths, truth.image_ids.tolist(), strict=True):
        if path is not None:
            id_of[file_id(path)] = image_id
    return id_of


def add_iou(
    images: list[dict[str, Any]],
    maps: Iterable[LabelMap],
    truth: CocoIndex,
    classes: Sequence[str],
    scored: Sequence[str],
) -> None:
    """Add the `iou` of each scored class to the entries of annotated images, in place.

    Args:
        images: entries of `predictions.json`.
        maps: label maps in rows of `classes`; those without an entry are not scored.
        truth: annotations of the photographs, which are in its folder of images.
        classes: the names of the rows.
        scored: the classes that were asked for and have a truth, see `scored_classes`.

    Raises:
        UserError: a photograph has another size than its annotations.
    """
    entry_of = {entry["file_name"]: entry for entry in images}
    id_of = _ids_by_file(truth)
    for label_map in maps:
        image_id = id_of.get(file_id(truth.images / label_map.file_name))
        if image_id is None:
            continue
        target = target_rows(truth, image_id, classes)
        target = upright_pixels(target, label_map.labels.shape, truth.path(image_id))
        intersection, union, _ = count(label_map.labels, target, len(classes))
        iou = by_name(classes, ratio(intersection, union))
        of_scored = {name: value for name, value in iou.items() if name in scored}
        entry_of[label_map.file_name]["iou"] = of_scored
    if not any("iou" in entry for entry in images):
        log.warning("%s annotates none of the photographs, so they have no IoU", truth.source)


def target_rows(
    index: CocoIndex,
    image_id: int,
    classes: Sequence[str],
) -> np.ndarray:
    """(H, W) int16: 0 is background, n the n-th class, IGNORE a crowd of a class.

    Later annotations lie on top, and single instances on top of crowds.
    """
    target = np.zeros(index.size(image_id), np.int16)
    annotations = list(index.annotations_of(image_id))
    annotations.sort(key=lambda annotation: not index.annotation_crowd[annotation])
    row_of = {same_spelling(name): row for row, name in enumerate(classes, 1)}
    for annotation in annotations:
        name = same_spelling(index.category_names[index.annotation_category[annotation]])
        if name in row_of:
            row = IGNORE if index.annotation_crowd[annotation] else row_of[name]
            target[index.mask(annotation)] = row
    return target
