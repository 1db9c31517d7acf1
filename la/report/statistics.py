"""How sure a number is: t-intervals over seeds or folds, and a paired bootstrap over episodes."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
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
        """Whether the interval excludes 0: for a difference, whether there is one to speak of."""
        return self.low > 0 or self.high < 0

    @property
    def half_width(self) -> float:
        """Half of the interval, for value ± half_width."""
        return (self.high - self.low) / 2


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


def t_interval(values: Sequence[float], level: float = 0.95) -> Interval:
    """The mean with Student's t-interval; a single value has none.

    Raises:
        ValueError: there is no value.
    """
    numbers = np.asarray(values, float)
    if not numbers.size:
        raise ValueError("t_interval got no value; pass the score of each seed")
    if numbers.size == 1:
        return Interval(float(numbers[0]), np.nan, np.nan)
    mean = float(numbers.mean())
    # The interval of the standard t, scaled here: scipy's own is NaN where all values are equal.
    low, high = stats.t.interval(level, numbers.size - 1)
    error = stats.sem(numbers)
    return Interval(mean, mean + error * low, mean + error * high)


def paired_bootstrap(
    ours: np.ndarray, theirs: np.ndarray, *, seed: int, resamples: int = 1000, level: float = 0.95
) -> Interval:
    """mIoU of `ours` minus `theirs`, with a percentile interval over episodes resampled in pairs.

    Args:
        ours, theirs: (2, E, F), `Scores.intersection_union()` of both on the same episodes.

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
    value, *others = _miou(ours, weights) - _miou(theirs, weights)
    return Interval(value, *np.nanquantile(others, [(1 - level) / 2, (1 + level) / 2]))


def mean_difference(intervals: Mapping[int, Sequence[Interval]]) -> Difference:
    """The mean over episode lists of the differences between two methods, by fold.

    Lists are independent, so the half-widths of their means over episodes add in quadrature.

    Args:
        intervals: for each fold the `paired_bootstrap` of each of its lists.
    """
    lists = [interval for of_fold in intervals.values() for interval in of_fold]
    folds = [np.mean([interval.value for interval in of_fold]) for of_fold in intervals.values()]
    error = np.linalg.norm([interval.half_width for interval in lists]) / len(lists)
    value = np.mean([interval.value for interval in lists])
    return Difference(float(value), float(error), t_interval(folds).half_width)


def _miou(counts: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """(resamples,) mean over classes of summed counts; a class not in a resample is left out."""
    inter, union = weights @ counts  # (resamples, F) each
    counted = union > 0
    iou = np.divide(inter, union, out=np.zeros_like(inter), where=counted)
    return iou.sum(1) / np.where(counted.any(1), counted.sum(1), np.nan)
