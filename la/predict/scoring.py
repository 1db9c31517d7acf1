"""A fixed support set scored on annotated photographs: IoU by class and by image, no folds.

Letters here: I images, N classes.
"""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from la.data.coco.index import CocoIndex
from la.data.coco.layouts import find
from la.data.dataset import open_index
from la.data.pictures.contents import picture_digest
from la.errors import UserError
from la.files import progress_bar
from la.folders import HOME
from la.predict.iou import SupportScores, by_name, count, mean, rounded
from la.predict.prediction import label_rows
from la.predict.predictor import Predictor
from la.predict.support_file import SupportFile, read_support_file
from la.predict.support_set import SupportSet
from la.predict.truth import scored_classes, target_rows

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
    adapt_steps: int = 0,
    progress: bool = True,
) -> Evaluation:
    """Score one support set; every image of an annotation file that is not a support is a query.

    Classes are matched by name; those without a true pixel are not scored. A picture that is a
    support is recognised by its content.

    Raises:
        UserError: no class of the support set has a mask, or no image is left as a query.
        MissingFile: an image is missing.
    """
    whole = support.support(predictor, adapt_steps)
    classes = whole.class_names
    pictures = {picture_digest(photo.path) for photo in support.photos}
    query_ids = [i for i in index.image_ids.tolist() if index.picture(i) not in pictures]
    if not query_ids:
        why = "every image is a support" if len(index.image_ids) else "the file lists no image"
        raise UserError(f"nothing of {index.source} is left to be scored: {why}")
    scored_classes(classes, index.subset(query_ids), " (supports left out)")
    parts = _leave_one_out(predictor, support, adapt_steps)
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


def evaluate_files(
    predictor: Predictor,
    prompts: Path,
    data: Path,
    adapt_steps: int = 0,
) -> Evaluation:
    """`evaluate` with a `prompts.json` and a folder in COCO format, whose test file is used.

    Raises:
        MissingFile, UserError: a file is missing or cannot be used; see `read_support_file`,
            `la.data.coco.layouts.find` and `evaluate`.
    """
    index = open_index(find(data)["val"], data, HOME / "cache")
    support = read_support_file(prompts)
    return evaluate(predictor, support, index, adapt_steps=adapt_steps)


def _leave_one_out(
    predictor: Predictor,
    support: SupportFile,
    adapt_steps: int,
) -> dict[str, SupportSet]:
    """The support sets without each photograph, by its name; none of a single photograph."""
    if len(support.photos) == 1:
        return {}
    sets = {}
    for photo in support.photos:
        others = tuple(other for other in support.photos if other is not photo)
        part = SupportFile(support.classes, others)
        sets[photo.name] = part.support(predictor, adapt_steps)
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
