"""A fixed support set scored on annotated photographs: IoU by class and by image, no folds.

Letters here: I images, N classes.
"""

import logging
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from la.data.coco.entries import same_spelling
from la.data.coco.index import CocoIndex
from la.data.coco.layouts import find
from la.data.dataset import open_index
from la.data.pictures.contents import picture_digest
from la.data.pictures.images import orientation
from la.data.pictures.picture_files import file_id
from la.errors import UserError
from la.files import progress_bar
from la.folders import HOME
from la.formats.label_maps import LabelMap
from la.predict.iou import SupportScores, by_name, count, mean, ratio, rounded
from la.predict.prediction import label_rows
from la.predict.predictor import Predictor
from la.predict.prompts.photos import photo_size
from la.predict.prompts.upright import annotated_frame, upright_pixels
from la.predict.support_file import SupportFile, read_support_file
from la.predict.support_set import SupportSet
from la.types import IGNORE
from la.wording import listed

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Evaluation:
    """The scores of a support set, and those without each of its photographs."""

    scores: SupportScores
    without: dict[str, SupportScores]  # by photograph; only the classes that the others prompt
    left_out: int  # annotated images that are supports, and so no queries

    def to_json(self) -> dict[str, Any]:
        """All scores as JSON; `gain` is what a photograph adds to the mean of the others."""
        leave_one_out = []
        for name, scores in self.without.items():
            rows = [self.scores.classes.index(cls) for cls in scores.classes]
            gains = self.scores.iou[rows] - scores.iou
            entry = {
                "file_name": name,
                "gain": rounded(mean(gains)),
                "classes": by_name(scores.classes, gains),
            }
            leave_one_out.append(entry)
        return {
            **self.scores.to_json(),
            "queries": len(self.scores.file_names),
            "supports_left_out": self.left_out,
            "leave_one_out": leave_one_out,
        }


def evaluate(
    predictor: Predictor,
    support: SupportFile,
    index: CocoIndex,
    *,
    progress: bool = True,
) -> Evaluation:
    """Score one support set; every image of an annotation file that is not a support is a query.

    Classes are matched by name; those without a true pixel are not scored. A picture that is a
    support is recognised by its content.

    Raises:
        UserError: no class of the support set has a mask, or no image is left as a query.
        MissingFile: an image is missing.
    """
    whole = support.support(predictor)
    classes = whole.class_names
    pictures = {picture_digest(photo.path) for photo in support.photos}
    query_ids = [i for i in index.image_ids.tolist() if index.picture(i) not in pictures]
    if not query_ids:
        why = "every image is a support" if len(index.image_ids) else "the file lists no image"
        raise UserError(f"nothing of {index.source} is left to be scored: {why}")
    scored_classes(classes, index.subset(query_ids), " (supports left out)")
    parts = _leave_one_out(predictor, support)
    sets = [whole, *parts.values()]
    counts = []
    for image_id in progress_bar(query_ids, "scoring", unit="image", disable=not progress):
        query = predictor.encode(index.read_image(image_id))  # once for all support sets
        target = target_rows(index, image_id, classes)
        for support_set in sets:
            labels = predictor.predict(query, support_set).labels
            rows = label_rows(labels, support_set.class_names, classes)
            counts.append(count(rows, target, len(classes)))
    by_set = np.reshape(counts, (len(query_ids), len(sets), 3, len(classes)))
    name_of = dict(zip(index.image_ids.tolist(), index.file_names, strict=True))
    file_names = tuple(name_of[image_id] for image_id in query_ids)
    scores = [
        _scores(support_set, classes, file_names, by_set[:, number])
        for number, support_set in enumerate(sets)
    ]
    return Evaluation(
        scores=scores[0],
        without=dict(zip(parts, scores[1:], strict=True)),
        left_out=len(index.image_ids) - len(query_ids),
    )


def evaluate_files(predictor: Predictor, prompts: Path, data: Path) -> Evaluation:
    """`evaluate` with a `prompts.json` and a folder in COCO format, whose test file is used.

    Raises:
        MissingFile, UserError: a file is missing or cannot be used; see `read_support_file`,
            `la.data.coco.layouts.find` and `evaluate`.
    """
    index = open_index(find(data)["val"], data, HOME / "cache")
    return evaluate(predictor, read_support_file(prompts), index)


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


def _leave_one_out(predictor: Predictor, support: SupportFile) -> dict[str, SupportSet]:
    """The support sets without each photograph, by its name; none of a single photograph."""
    if len(support.photos) == 1:
        return {}
    sets = {}
    for photo in support.photos:
        others = tuple(other for other in support.photos if other is not photo)
        part = SupportFile(support.classes, others)
        sets[photo.name] = part.support(predictor)
    return sets


def _scores(
    support: SupportSet,
    classes: Sequence[str],
    file_names: tuple[str, ...],
    counts: np.ndarray,
) -> SupportScores:
    """The scores of the classes of a support set, from `count` of each image, (I, 3, N)."""
    rows = [classes.index(name) for name in support.class_names]
    intersection, union, truth = counts[:, :, rows].transpose(1, 0, 2)
    return SupportScores(
        support.class_names,
        file_names,
        intersection,
        union,
        truth,
    )


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
