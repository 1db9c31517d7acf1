"""How a segmentation is scored: pixels are counted per episode, summed, divided once (4.1).

One confusion matrix over the N + 1 rows is kept per episode, counted at the query's
original size. Every score, report and protocol rule below is a sum over those, so no
question needs a second run of the model. All scores lie in [0, 1].

In this module B counts the episodes of a list, and F the classes that they could draw.
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


def counts_by_bias(scores: Tensor, target: Tensor, biases: Tensor) -> Tensor:
    """Confusion matrices of one query, one for each bias on the background's score.

    A pixel is painted with its best foreground row if that row's score exceeds the
    background's by more than the bias. One histogram over (target, best foreground row,
    number of biases exceeded) answers for all biases, and nothing waits for the device.

    Args:
        scores: (C, H, W), row 0 is background.
        target: (H, W) int64 in [0, C), or IGNORE.
        biases: (n,) in any order, of the dtype of the scores.

    Returns:
        (n, C, C) int64 [target, prediction], in the order of the biases.

    Raises:
        ValueError: the tensors disagree about H or W.
    """
    shapes = check_shapes("counts_by_bias", scores=(scores, "C H W"), target=(target, "H W"))
    n_rows, n_ways, n_bins = shapes["C"], shapes["C"] - 1, len(biases) + 1
    best, way = scores[1:].max(0)  # (H, W)
    ascending, order = biases.sort()
    n_exceeded = torch.bucketize(best - scores[0], ascending)  # (H, W) in 0..n
    row = torch.where(target == IGNORE, n_rows, target)  # a row of its own, dropped below
    flat = ((row * n_ways + way) * n_bins + n_exceeded).flatten()
    # Not bincount: it waits for the GPU to learn the largest value.
    histogram = flat.new_zeros((n_rows + 1) * n_ways * n_bins)
    histogram = histogram.index_add(0, flat, torch.ones_like(flat))
    histogram = histogram.view(n_rows + 1, n_ways, n_bins)[:n_rows]
    # The i-th smallest bias is not exceeded by the pixels of bins 0..i: background.
    unpainted = histogram.cumsum(2)[..., :-1]  # (C, N, n)
    painted = histogram.sum(2, keepdim=True) - unpainted
    background = unpainted.sum(1, keepdim=True)  # (C, 1, n)
    confusion = torch.cat([background, painted], dim=1).permute(2, 0, 1)  # (n, C, C)
    return confusion[order.argsort()]


@dataclass(frozen=True)
class Scores:
    """The confusion matrices of scored episodes, and the questions to them.

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
        episodes, classes = list(episodes), tuple(sorted(classes))
        if not episodes:
            raise ValueError("Scores.of got no episode, so nothing can be scored")
        n_ways = max(len(ids) for ids, _ in episodes)
        class_ids = np.full((len(episodes), n_ways), -1)
        confusion = np.zeros((len(episodes), n_ways + 1, n_ways + 1), np.int64)
        for b, (ids, counts) in enumerate(episodes):
            if unlisted := set(ids) - set(classes):
                raise ValueError(f"episode {b} holds {sorted(unlisted)}, not among {classes}")
            rows = np.append(0, np.argsort(ids) + 1)
            class_ids[b, : len(ids)] = np.sort(ids)
            confusion[b, : len(rows), : len(rows)] = np.asarray(counts)[np.ix_(rows, rows)]
        return cls(classes, class_ids, confusion)

    @property
    def truth(self) -> np.ndarray:
        """(B, N) pixels of each class in the query; 0 where the query lacks it."""
        return self.confusion.sum(2)[:, 1:]

    def intersection_union(self) -> np.ndarray:
        """(2, B, F) pixels that each episode adds to each class; 0 if it lacks the class."""
        hits = self.confusion.diagonal(axis1=1, axis2=2)[:, 1:]
        union = self.truth + self.confusion.sum(1)[:, 1:] - hits  # (B, N)
        out = np.zeros((2, len(self.class_ids), len(self.classes)), np.int64)
        episode, n = np.nonzero(self.class_ids >= 0)
        position = np.searchsorted(self.classes, self.class_ids[episode, n])
        out[0, episode, position] = hits[episode, n]
        out[1, episode, position] = union[episode, n]
        return out

    @property
    def iou(self) -> np.ndarray:
        """(F,) IoU of each class; NaN where neither truth nor prediction has a pixel."""
        intersection, union = self.intersection_union().sum(1)
        return _ratio(intersection, union)

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
        """All foreground as one class: the mean of background and foreground IoU."""
        return _mean(self._binary_iou)

    @property
    def absent_false_positives(self) -> float:
        """Share of a query's pixels painted with a class that the query does not show."""
        absent = (self.class_ids >= 0) & (self.truth == 0)
        painted = (self.confusion.sum(1)[:, 1:] * absent).sum()
        pixels = (self.confusion.sum((1, 2))[:, None] * absent).sum()
        return float(_ratio(painted, pixels))

    def per_class(self) -> pd.DataFrame:
        """By class id: IoU, episodes that ask for it, those that show it, true pixels."""
        of_class = [self.class_ids == c for c in self.classes]
        columns = {
            "iou": self.iou,
            "asked": [int(pairs.sum()) for pairs in of_class],
            "shown": [int((self.truth[pairs] > 0).sum()) for pairs in of_class],
            "pixels": [int(self.truth[pairs].sum()) for pairs in of_class],
        }
        return pd.DataFrame(columns, pd.Index(self.classes, name="class_id"))

    def by_size(self) -> pd.DataFrame:
        """`miou_star` by the share of the query that a class covers, in the bins of `SIZES`."""
        share = self.truth / self.confusion.sum((1, 2))[:, None].clip(1)  # (B, N)
        bins = np.searchsorted([*SIZES.values()], share, side="right")
        bins = np.where(share > 0, bins, -1)
        rows = [(self._only(bins == i).miou_star, (bins == i).sum()) for i in range(len(SIZES))]
        return pd.DataFrame(rows, pd.Index(SIZES, name="size"), ["miou_star", "pairs"])

    def row_confusion(self) -> pd.DataFrame:
        """Pixels by truth (background, foreground) and prediction (background, right, other)."""
        total = self.confusion.sum(0)
        right = total.diagonal()[1:].sum()
        painted = total[:, 1:].sum(1)  # (C,) by target
        table = [
            [total[0, 0], 0, painted[0]],
            [total[1:, 0].sum(), right, painted[1:].sum() - right],
        ]
        return pd.DataFrame(table, ["background", "foreground"], ["background", "right", "other"])

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
        out = np.zeros((n_rows, n_rows), np.int64)
        np.add.at(out, (index[:, :, None], index[:, None, :]), self.confusion)
        return out

    @property
    def _binary_iou(self) -> np.ndarray:
        """(2,) IoU of background and of all foreground as one class."""
        total = self.confusion.sum(0)
        intersection = np.array([total[0, 0], total[1:, 1:].sum()])
        wrong = total[0, 1:].sum() + total[1:, 0].sum()
        return _ratio(intersection, intersection + wrong)

    def _only(self, pairs: np.ndarray) -> "Scores":
        """Without the (B, N) pairs that are False; valid for per-class IoU only."""
        return replace(self, class_ids=np.where(pairs, self.class_ids, -1))


def miou_hsnet(scores: Scores) -> float:
    """HSNet's and DCAMA's mean over all classes of the fold: one never drawn counts as 0."""
    return float(np.nan_to_num(scores.iou).mean())


def miou_of_episodes(scores: Scores) -> float:
    """The mistake of dividing before summing: mean IoU over single (episode, class) pairs."""
    intersection, union = scores.intersection_union()
    return _mean(_ratio(intersection, union))


def miou_renamed_in_place(scores: Scores) -> float:
    """The published code's mistake: rows become class positions one by one, in place.

    A row already renamed to k is renamed again when it is row k's turn, so classes merge
    if 1 < N < F.
    """
    n_episodes, n_ways = scores.class_ids.shape
    index = np.tile(np.arange(1, n_ways + 1), (n_episodes, 1))  # (B, N)
    for n, ids in enumerate(scores.class_ids.T[:, :, None]):  # (B, 1) of row n + 1
        position = np.searchsorted(scores.classes, ids) + 1
        index = np.where((index == n + 1) & (ids >= 0), position, index)
    total = scores.class_confusion(np.pad(index, ((0, 0), (1, 0))))
    hits = total.diagonal()
    return _mean(_ratio(hits, total.sum(0) + total.sum(1) - hits)[1:])


def _ratio(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
    """part / whole; NaN where the whole is 0."""
    return part / np.where(whole == 0, np.nan, whole)


def _mean(values: np.ndarray) -> float:
    """The mean of the values that are numbers; NaN without any."""
    numbers = values[~np.isnan(values)]
    return float(numbers.mean()) if numbers.size else float("nan")
