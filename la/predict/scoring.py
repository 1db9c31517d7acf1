"""A fixed support set scored on annotated photographs: IoU by class and by image, no folds.

As everywhere, pixels are counted per image, summed, and divided once (paper 4.1). Letters here:
I images, N classes.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from la.data.contents import picture_digest
from la.data.index import CocoIndex
from la.errors import UserError
from la.files import progress_bar
from la.predict.label_maps import LabelMap
from la.predict.prediction import label_rows
from la.predict.predictor import Predictor, SupportSet
from la.predict.support_file import SupportFile
from la.rng import stream
from la.types import IGNORE

RESAMPLES = 1000


@dataclass(frozen=True)
class SupportScores:
    """Counted pixels of each class on each image, and the scores that follow from them."""

    classes: tuple[str, ...]  # N
    file_names: tuple[str, ...]  # I
    intersection: np.ndarray  # (I, N) int64 pixels
    union: np.ndarray  # (I, N) int64 pixels
    truth: np.ndarray  # (I, N) int64 pixels of the annotated class

    @property
    def iou(self) -> np.ndarray:
        """(N,) over all images; NaN for a class that is neither annotated nor predicted."""
        return _ratio(self.intersection.sum(0), self.union.sum(0))

    @property
    def miou(self) -> float:
        """The mean over the classes; NaN if all are NaN."""
        return float(_mean(self.iou))

    @property
    def image_iou(self) -> np.ndarray:
        """(I, N); NaN where an image has no pixel of a class and none is predicted."""
        return _ratio(self.intersection, self.union)

    def intervals(self) -> tuple[np.ndarray, np.ndarray]:
        """95 % bootstrap intervals over images: (2,) of the mean, (2, N) of the classes."""
        n_images = len(self.file_names)
        shares = np.full(n_images, 1 / n_images)
        weights = stream(0, "bootstrap").multinomial(n_images, shares, RESAMPLES)
        iou = _ratio(weights @ self.intersection, weights @ self.union)  # (RESAMPLES, N)
        # A resample may lack a class; numpy warns only if all of them do.
        present = self.union.any(0)
        by_class = np.full((2, len(self.classes)), np.nan)
        by_class[:, present] = np.nanquantile(iou[:, present], (0.025, 0.975), axis=0)
        return np.nanquantile(_mean(iou), (0.025, 0.975)), by_class

    def to_json(self) -> dict[str, Any]:
        """The scores as JSON: the mean, classes, and images from the worst to the best."""
        interval, by_class = self.intervals()
        classes = {}
        for n, name in enumerate(self.classes):
            classes[name] = {
                "iou": _number(self.iou[n]),
                "interval": [_number(bound) for bound in by_class[:, n]],
                "images": int((self.truth[:, n] > 0).sum()),
            }
        means = _mean(self.image_iou)
        images = []
        for i in np.argsort(np.nan_to_num(means, nan=1), kind="stable").tolist():
            of_class = dict(zip(self.classes, self.image_iou[i].tolist(), strict=True))
            images.append(
                {
                    "file_name": self.file_names[i],
                    "iou": _number(means[i]),
                    "classes": {n: _number(v) for n, v in of_class.items() if v == v},
                }
            )
        return {
            "miou": _number(self.miou),
            "interval": [_number(bound) for bound in interval],
            "classes": classes,
            "images": images,
        }


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
            entry: dict[str, Any] = {"file_name": name, "gain": _number(_mean(gains))}
            entry["classes"] = {
                cls: _number(gain) for cls, gain in zip(scores.classes, gains, strict=True)
            }
            leave_one_out.append(entry)
        return {
            **self.scores.to_json(),
            "queries": len(self.scores.file_names),
            "supports_left_out": self.left_out,
            "leave_one_out": leave_one_out,
        }


def evaluate(
    predictor: Predictor, support: SupportFile, index: CocoIndex, *, progress: bool = True
) -> Evaluation:
    """Score one support set with every image of an annotation file that is no support as a query.

    Classes are matched by name. A picture that is a support is recognised by its content.

    Raises:
        UserError: no class of the support set is annotated, or no image is left as a query.
        MissingFile: an image is missing.
    """
    sets = {"": support.support(predictor)}
    for photo in support.photos if len(support.photos) > 1 else ():
        others = tuple(other for other in support.photos if other is not photo)
        sets[photo.name] = SupportFile(support.classes, others).support(predictor)
    classes = sets[""].class_names
    missing = [name for name in classes if name not in index.category_names]
    if missing:
        known = ", ".join(index.category_names[:10])
        raise UserError(
            f"{index.source} has no class {', '.join(missing)}; it has {known}. "
            "Rename the classes of the prompts, or remove the prompts of these"
        )
    pictures = {picture_digest(photo.path) for photo in support.photos}
    ids = [i for i in index.image_ids.tolist() if index.picture(i) not in pictures]
    if not ids:
        raise UserError(f"every image of {index.source} is a support; none is left to be scored")
    counts: dict[str, list[np.ndarray]] = {name: [] for name in sets}
    for image_id in progress_bar(ids, "scoring", unit="image", disable=not progress):
        query = predictor.encode(index.read_image(image_id))  # once for all support sets
        target = target_rows(index, image_id, classes)
        for name, support_set in sets.items():
            labels = predictor.predict(query, support_set).labels
            rows = label_rows(labels, support_set.class_names, classes)
            counts[name].append(count(rows, target, len(classes)))
    names = dict(zip(index.image_ids.tolist(), index.file_names, strict=True))
    file_names = tuple(names[i] for i in ids)
    scores = {
        name: _scores(support_set, classes, file_names, np.stack(counts[name]))
        for name, support_set in sets.items()
    }
    return Evaluation(
        scores=scores.pop(""),
        without=scores,
        left_out=len(index.image_ids) - len(ids),
    )


def _scores(
    support: SupportSet,
    classes: Sequence[str],
    file_names: tuple[str, ...],
    counts: np.ndarray,
) -> SupportScores:
    """The scores of the classes of a support set, from `count` of each image, (I, 3, N)."""
    rows = [classes.index(name) for name in support.class_names]
    intersection, union, truth = counts[:, :, rows].transpose(1, 0, 2)
    return SupportScores(support.class_names, file_names, intersection, union, truth)


def add_iou(
    images: list[dict[str, Any]],
    maps: Iterable[LabelMap],
    truth: CocoIndex,
    classes: Sequence[str],
) -> None:
    """Add the `iou` of each class to the entries of annotated images, in place.

    Args:
        images: entries of `predictions.json`.
        maps: label maps in rows of `classes`; those without an entry are not scored.
        truth: annotations of photographs with the same file names.
        classes: the names of the rows.

    Raises:
        UserError: a photograph has another size than its annotations.
    """
    entry_of = {entry["file_name"]: entry for entry in images}
    id_of = dict(zip(truth.file_names, truth.image_ids.tolist(), strict=True))
    for label_map in maps:
        image_id = id_of.get(label_map.file_name)
        if image_id is None:
            continue
        target = target_rows(truth, image_id, classes)
        if target.shape != label_map.labels.shape:
            raise UserError(
                f"{label_map.file_name} has {label_map.labels.shape} pixels (height, width), "
                f"{truth.source} says {target.shape}; give the annotations of this photograph"
            )
        intersection, union, _ = count(label_map.labels, target, len(classes))
        iou = _ratio(intersection, union).tolist()
        entry_of[label_map.file_name]["iou"] = {
            name: _number(value) for name, value in zip(classes, iou, strict=True) if value == value
        }


def target_rows(index: CocoIndex, image_id: int, classes: Sequence[str]) -> np.ndarray:
    """(H, W) int16: 0 is background, n the n-th class, IGNORE a crowd of a class.

    Later annotations lie on top, and single instances on top of crowds.
    """
    target = np.zeros(index.size(image_id), np.int16)
    annotations = list(index.annotations_of(image_id))
    annotations.sort(key=lambda annotation: not index.annotation_crowd[annotation])
    for annotation in annotations:
        name = index.category_names[index.annotation_category[annotation]]
        if name in classes:
            is_crowd = index.annotation_crowd[annotation]
            row = IGNORE if is_crowd else classes.index(name) + 1
            target[index.mask(annotation)] = row
    return target


def count(labels: np.ndarray, target: np.ndarray, n_classes: int) -> np.ndarray:
    """(3, N) int64 pixels of each class: intersection, union and truth, where the target counts.

    Args:
        labels: (H, W) predicted rows.
        target: (H, W) annotated rows, or IGNORE.
        n_classes: N.
    """
    kept = target != IGNORE
    n_rows = n_classes + 1
    pairs = target[kept].astype(np.int64) * n_rows + labels[kept]
    confusion = np.bincount(pairs, minlength=n_rows * n_rows).reshape(n_rows, n_rows)
    intersection = confusion.diagonal()[1:]
    truth = confusion.sum(1)[1:]
    union = truth + confusion.sum(0)[1:] - intersection
    return np.stack([intersection, union, truth])


def _ratio(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
    """part / whole; NaN where the whole is 0."""
    return part / np.where(whole == 0, np.nan, whole)


def _mean(values: np.ndarray) -> np.ndarray:
    """The mean over the last axis of what is not NaN; NaN if there is nothing else."""
    is_number = ~np.isnan(values)
    return _ratio(np.nansum(values, axis=-1), is_number.sum(-1))


def _number(value: float | np.floating | np.ndarray) -> float | None:
    """Rounded for JSON, which has no NaN."""
    return None if np.isnan(value) else round(float(value), 4)
