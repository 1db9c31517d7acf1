"""Intersection over union of predicted photographs: counted, summed, and divided once (4.1).

Letters here: I images, N classes.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

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
    def is_scored(self) -> np.ndarray:
        """(N,) bool: whether an image has a pixel of the class; there is no truth of the others."""
        return (self.truth > 0).sum(0) > 0

    @property
    def iou(self) -> np.ndarray:
        """(N,) over all images; NaN for a class that is not scored."""
        iou = ratio(self.intersection.sum(0), self.union.sum(0))
        return np.where(self.is_scored, iou, np.nan)

    @property
    def miou(self) -> float:
        """The mean over the classes; NaN if all are NaN."""
        return float(mean(self.iou))

    @property
    def image_iou(self) -> np.ndarray:
        """(I, N); NaN where an image has no pixel of a class and none is predicted.

        Also NaN for a class that is not scored.
        """
        return np.where(self.is_scored, ratio(self.intersection, self.union), np.nan)

    def intervals(self) -> tuple[np.ndarray, np.ndarray]:
        """95 % bootstrap intervals over images: (2,) of the mean, (2, N) of the classes."""
        n_images = len(self.file_names)
        shares = np.full(n_images, 1 / n_images)
        weights = stream(0, "bootstrap").multinomial(n_images, shares, RESAMPLES)
        intersection = weights @ self.intersection
        union = weights @ self.union
        iou = ratio(intersection, union)  # (RESAMPLES, N)
        # A resample may lack a class; numpy warns only if all of them do.
        present = self.is_scored
        iou[:, ~present] = np.nan
        by_class = np.full((2, len(self.classes)), np.nan)
        by_class[:, present] = np.nanquantile(iou[:, present], (0.025, 0.975), axis=0)
        return np.nanquantile(mean(iou), (0.025, 0.975)), by_class

    def to_json(self) -> dict[str, Any]:
        """The scores as JSON: the mean, classes, and images from the worst to the best.

        If only one image counts, there is no interval.
        """
        interval, by_class = self.intervals()
        classes = {}
        for n in np.flatnonzero(self.is_scored).tolist():
            entry: dict[str, Any] = {"iou": rounded(self.iou[n])}
            if (self.union[:, n] > 0).sum() > 1:
                entry["interval"] = [rounded(end) for end in by_class[:, n]]
            entry["images"] = int((self.truth[:, n] > 0).sum())
            classes[self.classes[n]] = entry
        image_means = mean(self.image_iou)
        sortable = np.nan_to_num(image_means, nan=1)
        worst_first = np.argsort(sortable, kind="stable")
        images = []
        for i in worst_first.tolist():
            entry = {
                "file_name": self.file_names[i],
                "iou": rounded(image_means[i]),
                "classes": by_name(self.classes, self.image_iou[i]),
            }
            images.append(entry)
        content: dict[str, Any] = {"miou": rounded(self.miou)}
        if len(images) > 1:
            content["interval"] = [rounded(end) for end in interval]
        not_scored = np.flatnonzero(~self.is_scored).tolist()
        return {
            **content,
            "classes": classes,
            "not_scored": [self.classes[n] for n in not_scored],
            "images": images,
        }


def count(
    labels: np.ndarray,
    target: np.ndarray,
    n_classes: int,
) -> np.ndarray:
    """(3, N) int64 pixels of each class: intersection, union and truth, where the target counts.

    Args:
        labels: (H, W) predicted rows.
        target: (H, W) annotated rows, or IGNORE.
        n_classes: N.
    """
    kept = target != IGNORE
    n_rows = n_classes + 1
    true_row = target[kept].astype(np.int64)
    pair = true_row * n_rows + labels[kept]
    counts = np.bincount(pair, minlength=n_rows * n_rows)
    confusion = counts.reshape(n_rows, n_rows)  # [target, prediction]
    intersection = confusion.diagonal()[1:]
    truth = confusion.sum(1)[1:]
    predicted = confusion.sum(0)[1:]
    union = truth + predicted - intersection
    return np.stack([intersection, union, truth])


def by_name(classes: Sequence[str], values: np.ndarray) -> dict[str, float]:
    """The values (N,) that are numbers, rounded, by the names of the classes."""
    named = zip(classes, values.tolist(), strict=True)
    return {name: round(value, 4) for name, value in named if not np.isnan(value)}


def ratio(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
    """part / whole; NaN where the whole is 0."""
    return part / np.where(whole == 0, np.nan, whole)


def mean(values: np.ndarray) -> np.ndarray:
    """The mean over the last axis of what is not NaN; NaN if there is nothing else."""
    is_number = ~np.isnan(values)
    return ratio(np.nansum(values, axis=-1), is_number.sum(-1))


def rounded(value: float | np.floating | np.ndarray) -> float | None:
    """Rounded for JSON, which has no NaN."""
    return None if np.isnan(value) else round(float(value), 4)
