"""How a segmentation is scored: pixels are counted per episode, summed, divided once (4.1).

One confusion matrix over the N + 1 rows is kept per episode, counted at the query's
original size. Every score, report and protocol rule below is a sum over those, so none
of them needs a second run of the model. All scores are in [0, 1].

In this module B counts the episodes of a list, and F the classes that they could draw.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pandas as pd

# COCO's bounds, 32 x 32 and 96 x 96 px, as shares of its usual image.
COCO_IMAGE = 640 * 480
SIZES = {
    "small": 32**2 / COCO_IMAGE,
    "medium": 96**2 / COCO_IMAGE,
    "large": math.inf,
}


@dataclass(frozen=True)
class Scores:
    """The confusion matrices of scored episodes, and what can be computed from them.

    The rows of each episode are sorted by class id.
    """

    classes: tuple[int, ...]  # the F category ids that could be drawn, ascending
    class_ids: np.ndarray  # (B, N) int64, the id of row n + 1; -1 beyond an episode's own N
    confusion: np.ndarray  # (B, C, C) int64 pixels [target, prediction]

    @classmethod
    def of(
        cls,
        episodes: Iterable[tuple[Sequence[int], np.ndarray]],
        classes: Iterable[int],
    ) -> "Scores":
        """From (class ids, confusion matrix) of each episode, padded rows last.

        Raises:
            ValueError: there is no episode, or one has a class that is not in `classes`.
        """
        episodes = list(episodes)
        classes = tuple(sorted(classes))
        if not episodes:
            raise ValueError("Scores.of got no episode, so nothing can be scored")
        n_ways = max(len(ids) for ids, _ in episodes)
        class_ids = np.full((len(episodes), n_ways), -1)
        confusion = np.zeros((len(episodes), n_ways + 1, n_ways + 1), np.int64)
        for b, (ids, counts) in enumerate(episodes):
            unlisted = sorted(set(ids) - set(classes))
            if unlisted:
                raise ValueError(f"episode {b} has classes {unlisted}, not among {classes}")
            n_rows = len(ids) + 1
            rows = np.append(0, np.argsort(ids) + 1)
            class_ids[b, : len(ids)] = np.sort(ids)
            confusion[b, :n_rows, :n_rows] = np.asarray(counts)[rows][:, rows]
        return cls(classes, class_ids, confusion)

    @property
    def truth(self) -> np.ndarray:
        """(B, N) pixels of each class in the query; 0 where the query lacks it."""
        return self.confusion.sum(2)[:, 1:]

    @cached_property
    def pairs(self) -> pd.DataFrame:
        """One row for each pair of an episode and one of its classes.

        Columns: episode (its position), class_id, and pixels: intersection and union of
        the class, true (its pixels in the target), painted (in the prediction), and query
        (all that are counted).
        """
        episode, n = np.nonzero(self.class_ids >= 0)
        row = n + 1
        hits = self.confusion[episode, row, row]
        true = self.confusion[episode, row].sum(1)
        painted = self.confusion[episode, :, row].sum(1)
        columns = {
            "episode": episode,
            "class_id": self.class_ids[episode, n],
            "intersection": hits,
            "union": true + painted - hits,
            "true": true,
            "painted": painted,
            "query": self.confusion[episode].sum((1, 2)),
        }
        return pd.DataFrame(columns)

    def intersection_union(self) -> np.ndarray:
        """(2, B, F) pixels that each episode adds to each class; 0 if it lacks the class."""
        n_episodes = len(self.class_ids)
        counts = np.zeros((2, n_episodes, len(self.classes)), np.int64)
        episode = self.pairs["episode"]
        position = np.searchsorted(self.classes, self.pairs["class_id"])
        counts[0, episode, position] = self.pairs["intersection"]
        counts[1, episode, position] = self.pairs["union"]
        return counts

    @cached_property
    def iou(self) -> np.ndarray:
        """(F,) IoU of each class; NaN where neither truth nor prediction has a pixel."""
        return self._class_iou(self.pairs)

    @property
    def miou_star(self) -> float:
        """The paper's mIoU, Table 2's mIoU*: foreground classes; all false positives count."""
        return _mean(self.iou)

    @property
    def miou_present(self) -> float:
        """PANet's rule: an episode adds to a class only if the query shows it."""
        shown = self.pairs[self.pairs["true"] > 0]
        return _mean(self._class_iou(shown))

    @property
    def miou_bg(self) -> float:
        """`miou_star` with background as one more class of the mean."""
        background = self._binary_iou[0]
        return _mean(np.append(self.iou, background))

    @property
    def fb_iou(self) -> float:
        """All foreground as one class: the mean of background and foreground IoU."""
        return _mean(self._binary_iou)

    @property
    def absent_false_positives(self) -> float:
        """Share of a query's pixels painted with a class that the query does not show."""
        absent = self.pairs[self.pairs["true"] == 0]
        painted = absent["painted"].to_numpy().sum()
        counted = absent["query"].to_numpy().sum()
        return float(_ratio(painted, counted))

    def per_class(self) -> pd.DataFrame:
        """By class id: IoU, episodes that ask for it, those that show it, true pixels."""
        shown = self.pairs["true"] > 0
        groups = self.pairs.assign(shown=shown).groupby("class_id")
        columns = {
            "asked": groups.size(),
            "shown": groups["shown"].sum(),
            "pixels": groups["true"].sum(),
        }
        every_class = pd.Index(self.classes, name="class_id")
        table = pd.DataFrame(columns).reindex(every_class, fill_value=0)
        table.insert(0, "iou", self.iou)
        return table

    def by_size(self) -> pd.DataFrame:
        """`miou_star` by the share of the query that a class covers, in the bins of `SIZES`."""
        shown = self.pairs[self.pairs["true"] > 0]
        share = shown["true"] / shown["query"]
        bounds = list(SIZES.values())
        size = np.searchsorted(bounds, share, side="right")
        rows = []
        for i in range(len(bounds)):
            of_size = shown[size == i]
            miou = _mean(self._class_iou(of_size))
            rows.append((miou, len(of_size)))
        return pd.DataFrame(rows, pd.Index(SIZES, name="size"), ["miou_star", "pairs"])

    def row_confusion(self) -> pd.DataFrame:
        """Pixels by truth (background, foreground) and prediction (background, right, other)."""
        total = self.confusion.sum(0)
        painted = total[:, 1:].sum(1)  # (C,) by target
        right = total.diagonal()[1:].sum()
        wrong = painted[1:].sum() - right
        missed = total[1:, 0].sum()
        table = {
            "background": [total[0, 0], missed],
            "right": [0, right],
            "other": [painted[0], wrong],
        }
        return pd.DataFrame(table, ["background", "foreground"])

    def class_confusion(self, index: np.ndarray | None = None) -> np.ndarray:
        """(F + 1, F + 1) pixels [target, prediction] of background and all classes.

        Args:
            index: (B, N) the position in 1..F that each foreground row counts for; by
                default that of its class.
        """
        if index is None:
            index = np.searchsorted(self.classes, self.class_ids) + 1
            index = np.where(self.class_ids < 0, 0, index)
        index = np.pad(index, ((0, 0), (1, 0)))  # (B, C); the background's position is 0
        n_rows = len(self.classes) + 1
        total = np.zeros((n_rows, n_rows), np.int64)
        np.add.at(total, (index[:, :, None], index[:, None, :]), self.confusion)
        return total

    def _class_iou(self, pairs: pd.DataFrame) -> np.ndarray:
        """(F,) IoU of each class over some rows of `pairs`; NaN without a pixel."""
        sums = pairs.groupby("class_id")[["intersection", "union"]].sum()
        return _iou(sums.reindex(self.classes, fill_value=0))

    @property
    def _binary_iou(self) -> np.ndarray:
        """(2,) IoU of background and of all foreground as one class."""
        total = self.confusion.sum(0)
        background = total[0, 0]
        foreground = total[1:, 1:].sum()
        wrong = total.sum() - background - foreground
        intersection = np.array([background, foreground])
        return _ratio(intersection, intersection + wrong)


def miou_hsnet(scores: Scores) -> float:
    """HSNet's and DCAMA's mean over all classes of the fold: one never drawn counts as 0."""
    return float(np.nan_to_num(scores.iou).mean())


def miou_of_episodes(scores: Scores) -> float:
    """The mistake of dividing before summing: mean IoU over single (episode, class) pairs."""
    return _mean(_iou(scores.pairs))


def miou_renamed_in_place(scores: Scores) -> float:
    """The published code's mistake: rows become class positions one by one, in place.

    A row already renamed to k is renamed again when it is row k's turn, so classes merge
    if 1 < N < F.
    """
    n_ways = scores.class_ids.shape[1]
    own_rows = np.arange(1, n_ways + 1)
    index = np.tile(own_rows, (len(scores.class_ids), 1))  # (B, N)
    for row in own_rows:
        ids = scores.class_ids[:, row - 1, None]  # (B, 1)
        position = np.searchsorted(scores.classes, ids) + 1
        is_renamed = (index == row) & (ids >= 0)
        index = np.where(is_renamed, position, index)
    total = scores.class_confusion(index)
    hits = total.diagonal()
    union = total.sum(0) + total.sum(1) - hits
    return _mean(_ratio(hits, union)[1:])


def _iou(sums: pd.DataFrame) -> np.ndarray:
    """The IoU of each row; NaN where the union is empty."""
    intersection = sums["intersection"].to_numpy()
    union = sums["union"].to_numpy()
    return _ratio(intersection, union)


def _ratio(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
    """part / whole; NaN where the whole is 0."""
    return part / np.where(whole == 0, np.nan, whole)


def _mean(values: np.ndarray) -> float:
    """The mean of the values that are numbers; NaN without any."""
    numbers = values[~np.isnan(values)]
    return float(numbers.mean()) if numbers.size else math.nan
