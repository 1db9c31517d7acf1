"""Intervals against textbook values, loops, and their own coverage."""

import time

import numpy as np
import pytest

from la.learn.metrics import Scores
from la.report.scores.statistics import paired_bootstrap, t_interval
from la.rng import stream


def random_counts(rng, n_episodes=30, n_classes=4, quality=0.5, drawn=0.5):
    union = rng.integers(50, 100, (n_episodes, n_classes))
    union = union * (rng.random(union.shape) < drawn)
    return np.stack([rng.binomial(union, quality), union])


def miou_in_loops(counts, episodes):
    ious = []
    for c in range(counts.shape[2]):
        inter = sum(int(counts[0, e, c]) for e in episodes)
        union = sum(int(counts[1, e, c]) for e in episodes)
        if union:
            ious.append(inter / union)
    return sum(ious) / len(ious)


def test_the_t_interval_of_five_seeds_is_the_textbooks():
    values = [42.0, 43.0, 44.0, 45.0, 46.0]  # sd sqrt(2.5), t(4, 97.5 %) = 2.776
    interval = t_interval(values)
    assert interval.value == 44
    assert interval.half_width == pytest.approx(2.7764 * np.sqrt(2.5 / 5), rel=1e-4)
    assert interval.low + interval.high == pytest.approx(88)


def test_one_seed_has_no_interval_and_resolves_nothing():
    interval = t_interval([3.0])
    assert interval.value == 3 and np.isnan([interval.low, interval.high]).all()
    assert not interval.resolved
    with pytest.raises(ValueError, match="score of each seed"):
        t_interval([])


def test_the_t_interval_covers_the_mean_95_times_in_100():
    values = stream(0, "test").normal(size=(2000, 5))
    inside = [i.low <= 0 <= i.high for i in map(t_interval, values)]
    assert 0.93 < np.mean(inside) < 0.97


def test_the_paired_bootstrap_is_resampling_written_out():
    rng = stream(1, "test")
    ours, theirs = random_counts(rng, 12, 3), random_counts(rng, 12, 3, 0.4)
    weights = stream(7, "bootstrap").multinomial(12, np.full(12, 1 / 12), 50)
    differences = []
    for times in weights:
        episodes = [e for e in range(12) for _ in range(times[e])]
        differences.append(miou_in_loops(ours, episodes) - miou_in_loops(theirs, episodes))
    got = paired_bootstrap(ours, theirs, seed=7, resamples=50)
    assert got.value == pytest.approx(
        miou_in_loops(ours, range(12)) - miou_in_loops(theirs, range(12))
    )
    assert [got.low, got.high] == pytest.approx(np.quantile(differences, [0.025, 0.975]).tolist())


def test_its_value_is_the_difference_of_the_scores():
    one = Scores.of([((1, 2), [[5, 1, 0], [2, 7, 0], [0, 0, 9]])], [1, 2, 3])
    two = Scores.of([((1, 2), [[6, 0, 0], [4, 5, 0], [3, 0, 6]])], [1, 2, 3])
    got = paired_bootstrap(one.intersection_union(), two.intersection_union(), seed=0)
    assert got.value == pytest.approx(one.miou_star - two.miou_star)


def test_a_method_against_itself_differs_by_exactly_nothing():
    counts = random_counts(stream(2, "test"))
    got = paired_bootstrap(counts, counts, seed=0)
    assert (got.value, got.low, got.high) == (0, 0, 0) and not got.resolved


def test_swapping_the_methods_turns_the_interval_round():
    rng = stream(3, "test")
    ours, theirs = random_counts(rng), random_counts(rng, quality=0.3)
    there, back = (paired_bootstrap(a, b, seed=4) for a, b in ((ours, theirs), (theirs, ours)))
    assert [-back.value, -back.high, -back.low] == pytest.approx(
        [there.value, there.low, there.high]
    )
    assert there.resolved and back.resolved


def test_pairing_is_sharper_than_two_lists():
    """Episodes vary by far more than the two methods differ on each of them."""
    rng = stream(5, "test")
    union = np.full((200, 4), 1000)
    level = rng.integers(100, 800, union.shape)
    ours, theirs = np.stack([level + 20, union]), np.stack([level, union])
    difference = paired_bootstrap(ours, theirs, seed=0)
    assert difference.value == pytest.approx(0.02) and difference.resolved
    unpaired = paired_bootstrap(ours, theirs[:, ::-1], seed=0)
    assert difference.half_width < unpaired.half_width / 10


def test_the_same_seed_gives_the_same_interval_and_another_seed_nearly_so():
    rng = stream(6, "test")
    pair = random_counts(rng, 100), random_counts(rng, 100)
    first, again, other = (paired_bootstrap(*pair, seed=s) for s in (0, 0, 1))
    assert first == again != other
    assert first.half_width == pytest.approx(other.half_width, rel=0.2)


def test_1200_episodes_are_resampled_1000_times_in_under_two_seconds():
    rng = stream(8, "test")
    ours, theirs = random_counts(rng, 1200, 20), random_counts(rng, 1200, 20)
    start = time.perf_counter()
    paired_bootstrap(ours, theirs, seed=0, resamples=1000)
    assert time.perf_counter() - start < 2


def test_methods_scored_on_different_lists_are_refused():
    counts = random_counts(stream(9, "test"))
    with pytest.raises(ValueError, match="same episode list"):
        paired_bootstrap(counts, counts[:, 1:], seed=0)
