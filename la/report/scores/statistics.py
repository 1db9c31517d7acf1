"""How sure a number is: t-intervals over seeds or folds, and a paired bootstrap over episodes."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy import stats

from la.rng import stream


@dataclass(frozen=True)
class Interval:
    """A value with its confidence interval; `low` and `high` are NaN where there is none."""

    value: float
    low: float
    high: float

    @property
    def resolved(self) -> bool:
        """Whether the interval excludes 0."""
        return self.low > 0 or self.high < 0

    @property
    def half_width(self) -> float:
        """Half of the interval, for value ± half_width."""
        return (self.high - self.low) / 2

    @property
    def points(self) -> str:
        """A difference in words, such as `+1.2 ± 0.4`; without ± where there is no interval."""
        spread = "" if np.isnan(self.half_width) else f" ± {self.half_width:.1f}"
        return f"{self.value:+.1f}{spread}"


@dataclass(frozen=True)
class Difference:
    """One method's mIoU* minus another's: the mean over episode lists, as a share of 1."""

    value: float
    over_episodes: float  # half of the 95 % interval of a paired bootstrap over episodes
    over_folds: float  # half of the 95 % t-interval over folds; NaN for a single fold

    @property
    def resolved(self) -> bool:
        """Whether the interval over episodes excludes 0."""
        return abs(self.value) > self.over_episodes

    @property
    def points(self) -> str:
        """In points of mIoU*, with the interval over episodes, such as `+1.2 ± 0.4`."""
        return f"{100 * self.value:+.1f} ± {100 * self.over_episodes:.1f}"


def t_interval(values: ArrayLike) -> Interval:
    """The mean of some numbers with Student's 95 % interval; a single number has none.

    Raises:
        ValueError: there is no number.
    """
    numbers = np.asarray(values, float)
    if not numbers.size:
        raise ValueError("t_interval got no value; pass the score of each seed")
    mean = float(numbers.mean())
    if numbers.size == 1:
        return Interval(mean, np.nan, np.nan)
    # scipy's own interval of a mean is NaN where all values are equal; this one has length 0.
    half_width = float(stats.sem(numbers) * stats.t.ppf(0.975, numbers.size - 1))
    return Interval(mean, mean - half_width, mean + half_width)


def paired_bootstrap(
    ours: np.ndarray,
    theirs: np.ndarray,
    *,
    seed: int,
    resamples: int = 1000,
) -> Interval:
    """mIoU of `ours` minus `theirs`, with a 95 % interval over resampled episodes.

    Each resample draws the same episodes for both, as many as there are, with replacement.
    The interval is between the 2.5th and the 97.5th percentile of its differences.

    Args:
        ours, theirs: (2, B, F), `Scores.intersection_union()` of both on the same B episodes.

    Raises:
        ValueError: the two do not hold equally many episodes and classes.
    """
    if ours.shape != theirs.shape:
        raise ValueError(
            f"paired_bootstrap: counts of shapes {ours.shape} and {theirs.shape}; score both "
            "methods on the same episode list"
        )
    n_episodes = ours.shape[1]
    share = np.full(n_episodes, 1 / n_episodes)
    drawn = stream(seed, "bootstrap").multinomial(n_episodes, share, resamples)
    weights = np.vstack([np.ones(n_episodes), drawn])  # each episode once, then the resamples
    value, *resampled = _miou(ours, weights) - _miou(theirs, weights)
    low, high = np.nanquantile(resampled, [0.025, 0.975])
    return Interval(value, low, high)


def mean_difference(intervals: Mapping[int, Sequence[Interval]]) -> Difference:
    """The mean over episode lists of the differences between two methods, by fold.

    Lists are independent, so the half-widths of their means over episodes add in quadrature.

    Args:
        intervals: for each fold the `paired_bootstrap` of each of its lists.
    """
    lists: list[Interval] = []
    fold_means = []
    for of_fold in intervals.values():
        lists.extend(of_fold)
        fold_means.append(np.mean([interval.value for interval in of_fold]))
    value = float(np.mean([interval.value for interval in lists]))
    half_widths = [interval.half_width for interval in lists]
    error = float(np.linalg.norm(half_widths) / len(lists))
    return Difference(value, error, t_interval(fold_means).half_width)


def _miou(counts: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """(resamples,) mean over classes of summed counts, without classes that a resample lacks.

    Args:
        counts: (2, B, F) intersection and union.
        weights: (resamples, B), how often each episode counts.
    """
    inter, union = weights @ counts  # (resamples, F) each
    counted = union > 0
    iou = np.divide(inter, union, out=np.zeros_like(inter), where=counted)
    return iou.sum(1) / np.where(counted.any(1), counted.sum(1), np.nan)
