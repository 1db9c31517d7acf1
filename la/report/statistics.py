"""How sure a number is: t-intervals over seeds, and a paired bootstrap over episodes."""

from collections.abc import Sequence
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
        """Half of the interval, for value +- half_width."""
        return (self.high - self.low) / 2


def t_interval(values: Sequence[float], level: float = 0.95) -> Interval:
    """The mean over seeds with Student's t-interval; one seed has a value and no interval.

    Raises:
        ValueError: there is no value.
    """
    values = np.asarray(values, float)
    if not values.size:
        raise ValueError("t_interval got no value; pass the score of each seed")
    if values.size == 1:
        return Interval(values[0], np.nan, np.nan)
    mean, error = values.mean(), stats.sem(values)
    half = error * stats.t.ppf((1 + level) / 2, values.size - 1)
    return Interval(mean, mean - half, mean + half)


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


def _miou(counts: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """(resamples,) mean over classes of summed counts; a class not in a resample is left out."""
    inter, union = weights @ counts  # (resamples, F) each
    known = union > 0
    iou = np.divide(inter, union, out=np.zeros_like(inter), where=known)
    return iou.sum(1) / np.where(known.any(1), known.sum(1), np.nan)
