"""How a segmentation is scored: pixels counted per episode, summed, divided once (paper 4.1).

One confusion of the N + 1 rows is kept per episode, at the query's original size. Every score,
report and protocol rule below is a sum over those: no question needs a second run. All in [0, 1].
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from la.types import IGNORE, check_shapes

# COCO's bounds, 32 x 32 and 96 x 96 px, as shares of its usual 640 x 480 image.
SIZES = {"small": 32**2 / (640 * 480), "medium": 96**2 / (640 * 480), "large": np.inf}


def episode_counts(prediction: Tensor, target: Tensor, n_rows: int) -> Tensor:
    """Confusion (C, C) int64 [target, prediction] of two maps (H, W) of rows, without IGNORE.

    Raises:
        ValueError: the maps differ in shape, or hold a row outside [0, n_rows).
    """
    check_shapes("episode_counts", prediction=(prediction, "H W"), target=(target, "H W"))
    pairs = torch.stack([target, prediction])[:, target != IGNORE]  # (2, pixels)
    if ((pairs < 0) | (pairs >= n_rows)).any():
        raise ValueError(f"episode_counts: a map holds a row outside [0, {n_rows})")
    return torch.bincount(pairs[0] * n_rows + pairs[1], minlength=n_rows**2).view(n_rows, n_rows)


@dataclass(frozen=True)
class Scores:
    """The counts of E scored episodes, rows ascending by class id, and the questions to them."""

    classes: tuple[int, ...]  # the F category ids that could be drawn, ascending
    class_ids: np.ndarray  # (E, N) int64, the id of row n + 1; -1 beyond an episode's own N
    confusion: np.ndarray  # (E, C, C) int64 pixels [target, prediction]

    @classmethod
    def of(
        cls, episodes: Iterable[tuple[Sequence[int], np.ndarray]], classes: Iterable[int]
    ) -> "Scores":
        """From (class ids, confusion) of each episode; a confusion may have padded rows at its end.

        Raises:
            ValueError: there is no episode, or one holds a class that is not in `classes`.
        """
        episodes, classes = list(episodes), tuple(sorted(classes))
        if not episodes:
            raise ValueError("Scores.of got no episode, so nothing can be scored")
        n_ways = max(len(ids) for ids, _ in episodes)
        class_ids = np.full((len(episodes), n_ways), -1)
        confusion = np.zeros((len(episodes), n_ways + 1, n_ways + 1), np.int64)
        for e, (ids, counts) in enumerate(episodes):
            if unknown := set(ids) - set(classes):
                raise ValueError(f"episode {e} holds {sorted(unknown)}, not among {classes}")
            rows = np.append(0, np.argsort(ids) + 1)
            class_ids[e, : len(ids)] = np.sort(ids)
            confusion[e, : len(rows), : len(rows)] = np.asarray(counts)[np.ix_(rows, rows)]
        return cls(classes, class_ids, confusion)

    @property
    def truth(self) -> np.ndarray:
        """(E, N) pixels of each asked class in the query; 0 where the query does not show it."""
        return self.confusion.sum(2)[:, 1:]

    def intersection_union(self) -> np.ndarray:
        """(2, E, F) pixels that each episode adds to each class, 0 where it does not ask for it."""
        hits = self.confusion.diagonal(axis1=1, axis2=2)[:, 1:]
        pairs = np.stack([hits, self.truth + self.confusion.sum(1)[:, 1:] - hits])  # (2, E, N)
        out = np.zeros((2, len(self.class_ids), len(self.classes)), np.int64)
        e, n = np.nonzero(self.class_ids >= 0)
        out[:, e, np.searchsorted(self.classes, self.class_ids[e, n])] = pairs[:, e, n]
        return out

    @property
    def iou(self) -> np.ndarray:
        """(F,) IoU of each class; NaN, so neither 0 nor 1, where truth and prediction lack it."""
        return _ratio(*self.intersection_union().sum(1))

    @property
    def miou_star(self) -> float:
        """The paper's mIoU, Table 2's mIoU*: foreground classes; all false positives count."""
        return _mean(self.iou)

    @property
    def miou_present(self) -> float:
        """PANet's rule: an episode adds to a class only if the query shows it."""
        return self._only(self.truth > 0).miou_star

    @property
    def miou_bg(self) -> float:
        """`miou_star` with background as one more class of the mean."""
        return _mean(np.append(self.iou, self._binary_iou[0]))

    @property
    def fb_iou(self) -> float:
        """All foreground as one class: mean of background and foreground IoU."""
        return _mean(self._binary_iou)

    @property
    def absent_false_positives(self) -> float:
        """Share of the pixels of a query painted with an asked class that it does not show."""
        absent = (self.class_ids >= 0) & (self.truth == 0)
        pixels = (self.confusion.sum((1, 2))[:, None] * absent).sum()
        return float(_ratio((self.confusion.sum(1)[:, 1:] * absent).sum(), pixels))

    def per_class(self) -> pd.DataFrame:
        """By class id: iou, how many episodes ask for it and show it, and how many true pixels."""
        of_class = [self.class_ids == c for c in self.classes]
        columns = {
            "iou": self.iou,
            "asked": [int(pairs.sum()) for pairs in of_class],
            "shown": [int((self.truth[pairs] > 0).sum()) for pairs in of_class],
            "pixels": [int(self.truth[pairs].sum()) for pairs in of_class],
        }
        return pd.DataFrame(columns, pd.Index(self.classes, name="class_id"))

    def by_size(self) -> pd.DataFrame:
        """`miou_star` of the (episode, class) pairs in each bin of `SIZES`, share of the query."""
        share = self.truth / self.confusion.sum((1, 2))[:, None].clip(1)
        bins = np.where(share > 0, np.searchsorted([*SIZES.values()], share, side="right"), -1)
        rows = [(self._only(bins == i).miou_star, (bins == i).sum()) for i in range(len(SIZES))]
        return pd.DataFrame(rows, pd.Index(SIZES, name="size"), ["miou_star", "pairs"])

    def row_confusion(self) -> pd.DataFrame:
        """Pixels by truth (background, foreground) and prediction (background, right, other)."""
        total = self.confusion.sum(0)
        right, painted = total.diagonal()[1:].sum(), total[:, 1:].sum(1)
        table = [
            [total[0, 0], 0, painted[0]],
            [total[1:, 0].sum(), right, painted[1:].sum() - right],
        ]
        return pd.DataFrame(table, ["background", "foreground"], ["background", "right", "other"])

    def class_confusion(self, index: np.ndarray | None = None) -> np.ndarray:
        """(F + 1, F + 1) pixels [target, prediction] of background and all classes.

        `index` (E, C) is the class position that each row counts for; its own by default.
        """
        if index is None:
            own = np.where(self.class_ids < 0, 0, np.searchsorted(self.classes, self.class_ids) + 1)
            index = np.pad(own, ((0, 0), (1, 0)))
        out = np.zeros((len(self.classes) + 1,) * 2, np.int64)
        np.add.at(out, (index[:, :, None], index[:, None, :]), self.confusion)
        return out

    @property
    def _binary_iou(self) -> np.ndarray:
        total = self.confusion.sum(0)
        inter = np.array([total[0, 0], total[1:, 1:].sum()])
        return _ratio(inter, inter + total[0, 1:].sum() + total[1:, 0].sum())

    def _only(self, pairs: np.ndarray) -> "Scores":
        """As if the (E, N) pairs that are False had not been asked for; for per-class IoU only."""
        return replace(self, class_ids=np.where(pairs, self.class_ids, -1))


def miou_hsnet(scores: Scores) -> float:
    """HSNet's and DCAMA's mean, over all classes of the fold: one never drawn counts as 0."""
    return float(np.nan_to_num(scores.iou).mean())


def miou_of_episodes(scores: Scores) -> float:
    """The fault of dividing before summing: the mean IoU of single (episode, class) pairs."""
    return _mean(_ratio(*scores.intersection_union()))


def miou_renamed_in_place(scores: Scores) -> float:
    """The published code's fault: rows become class positions one after another, in place.

    A row already renamed to k is renamed again at row k's turn: classes merge if 1 < N < F.
    """
    index = np.zeros(scores.class_ids.shape, np.int64) + np.arange(scores.confusion.shape[1])[1:]
    for n, ids in enumerate(scores.class_ids.T[:, :, None]):  # (E, 1) of row n + 1
        position = np.searchsorted(scores.classes, ids) + 1
        index = np.where((index == n + 1) & (ids >= 0), position, index)
    total = scores.class_confusion(np.pad(index, ((0, 0), (1, 0))))
    hits = total.diagonal()
    return _mean(_ratio(hits, total.sum(0) + total.sum(1) - hits)[1:])


def _ratio(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
    return part / np.where(whole == 0, np.nan, whole)


def _mean(values: np.ndarray) -> float:
    known = values[~np.isnan(values)]
    return float(known.mean()) if known.size else float("nan")
