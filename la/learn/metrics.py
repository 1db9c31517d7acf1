"""How a segmentation is scored: pixels are counted per episode, summed, divided once (4.1).

One confusion matrix over the N + 1 rows is kept per episode, counted at the query's
original size. Every score, report and protocol rule below is a sum over those, so none
of them needs a second run of the model. All scores lie in [0, 1].

In this module B counts the episodes of a list, and F the classes that they could draw.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pandas as pd

# COCO's bounds, 32 x 32 and 96 x 96 px, as shares of its usual 640 x 480 image.
SIZES = {"small": 32**2 / (640 * 480), "medium": 96**2 / (640 * 480), "large": np.inf}


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
        cls, episodes: Iterable[tuple[Sequence[int], np.ndarray]], classes: Iterable[int]
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
            rows = np.append(0, np.argsort(ids) + 1)
            class_ids[b, : len(ids)] = np.sort(ids)
            confusion[b, : len(rows), : len(rows)] = np.asarray(counts)[np.ix_(rows, rows)]
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
        hits = self.confusion.diagonal(axis1=1, axis2=2)[episode, n + 1]
        true = self.confusion.sum(2)[episode, n + 1]
        painted = self.confusion.sum(1)[episode, n + 1]
        columns = {
            "episode": episode,
            "class_id": self.class_ids[episode, n],
            "intersection": hits,
            "union": true + painted - hits,
            "true": true,
            "painted": painted,
            "query": self.confusion.sum((1, 2))[episode],
        }
        return pd.DataFrame(columns)

    def intersection_union(self) -> np.ndarray:
        """(2, B, F) pixels that each episode adds to each class; 0 if it lacks the class."""
        counts = np.zeros((2, len(self.class_ids), len(self.classes)), np.int64)
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
        table = pd.DataFrame(
            {"asked": groups.size(), "shown": groups["shown"].sum(), "pixels": groups["true"].sum()}
        )
        table = table.reindex(pd.Index(self.classes, name="class_id"), fill_value=0)
        table.insert(0, "iou", self.iou)
        return table

    def by_size(self) -> pd.DataFrame:
        """`miou_star` by the share of the query that a class covers, in the bins of `SIZES`."""
        shown = self.pairs[self.pairs["true"] > 0]
        share = shown["true"] / shown["query"]
        bin_index = np.searchsorted([*SIZES.values()], share, side="right")
        rows = []
        for i in range(len(SIZES)):
            of_size = shown[bin_index == i]
            rows.append((_mean(self._class_iou(of_size)), len(of_size)))
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
            index: (B, C) the class position that each row counts for; by default its own.
        """
        if index is None:
            position = np.searchsorted(self.classes, self.class_ids) + 1
            position = np.where(self.class_ids < 0, 0, position)
            index = np.pad(position, ((0, 0), (1, 0)))
        n_rows = len(self.classes) + 1
        total = np.zeros((n_rows, n_rows), np.int64)
        np.add.at(total, (index[:, :, None], index[:, None, :]), self.confusion)
        return total

    def _class_iou(self, pairs: pd.DataFrame) -> np.ndarray:
        """(F,) IoU of each class over some rows of `pairs`; NaN without a pixel."""
        sums = pairs.groupby("class_id")[["intersection", "union"]].sum()
        sums = sums.reindex(self.classes, fill_value=0)
        return _ratio(sums["intersection"].to_numpy(), sums["union"].to_numpy())

    @property
    def _binary_iou(self) -> np.ndarray:
        """(2,) IoU of background and of all foreground as one class."""
        total = self.confusion.sum(0)
        intersection = np.array([total[0, 0], total[1:, 1:].sum()])
        wrong = total[0, 1:].sum() + total[1:, 0].sum()
        return _ratio(intersection, intersection + wrong)


def miou_hsnet(scores: Scores) -> float:
    """HSNet's and DCAMA's mean over all classes of the fold: one never drawn counts as 0."""
    return float(np.nan_to_num(scores.iou).mean())


def miou_of_episodes(scores: Scores) -> float:
    """The mistake of dividing before summing: mean IoU over single (episode, class) pairs."""
    pairs = scores.pairs
    return _mean(_ratio(pairs["intersection"].to_numpy(), pairs["union"].to_numpy()))


def miou_renamed_in_place(scores: Scores) -> float:
    """The published code's mistake: rows become class positions one by one, in place.

    A row already renamed to k is renamed again when it is row k's turn, so classes merge
    if 1 < N < F.
    """
    n_episodes, n_ways = scores.class_ids.shape
    index = np.tile(np.arange(1, n_ways + 1), (n_episodes, 1))  # (B, N)
    for n in range(n_ways):
        ids = scores.class_ids[:, n, None]  # (B, 1)
        position = np.searchsorted(scores.classes, ids) + 1
        index = np.where((index == n + 1) & (ids >= 0), position, index)
    total = scores.class_confusion(np.pad(index, ((0, 0), (1, 0))))
    hits = total.diagonal()
    union = total.sum(0) + total.sum(1) - hits
    return _mean(_ratio(hits, union)[1:])


def _ratio(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
    """part / whole; NaN where the whole is 0."""
    return part / np.where(whole == 0, np.nan, whole)


def _mean(values: np.ndarray) -> float:
    """The mean of the values that are numbers; NaN without any."""
    numbers = values[~np.isnan(values)]
    return float(numbers.mean()) if numbers.size else float("nan")
