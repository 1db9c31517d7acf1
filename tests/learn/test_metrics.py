"""Scores against hand counts, against scikit-learn, and the known faults of the field."""

from itertools import combinations

import numpy as np
import pytest
import torch
from sklearn.metrics import confusion_matrix

from la.learn.evaluation import counts_by_bias
from la.learn.metrics import (
    Scores,
    miou_hsnet,
    miou_of_episodes,
    miou_renamed_in_place,
)
from la.types import IGNORE

NAN = float("nan")


def random_maps(seed, n_rows, size=(13, 17), ignored=0.2):
    g = torch.Generator().manual_seed(seed)
    prediction = torch.randint(0, n_rows, size, generator=g)
    target = torch.randint(0, n_rows, size, generator=g)
    return prediction, target.masked_fill(torch.rand(size, generator=g) < ignored, IGNORE)


def pixel_counts(prediction, target, n_rows):
    kept = target != IGNORE
    return confusion_matrix(target[kept], prediction[kept], labels=range(n_rows))


def random_scores(n_episodes=40, n_ways=3, n_classes=6, seed=0):
    rng = np.random.default_rng(seed)
    classes = [10 * c + 7 for c in range(n_classes)]
    episodes = []
    for e in range(n_episodes):
        prediction, target = random_maps(1000 * seed + e, n_ways + 1)
        confusion = pixel_counts(prediction, target, n_ways + 1)
        episodes.append((rng.permutation(classes)[:n_ways].tolist(), confusion))
    return Scores.of(episodes, classes), episodes


def iou_in_loops(episodes, c, present_only=False):
    inter = union = 0
    for ids, confusion in episodes:
        if c in ids:
            n = list(ids).index(c) + 1
            if confusion[n].sum() > 0 or not present_only:
                inter += confusion[n, n]
                union += confusion[n].sum() + confusion[:, n].sum() - confusion[n, n]
    return inter / union if union else NAN


def painted(scores, bias):
    """The rule of `counts_by_bias` for one bias: the best foreground row, or background."""
    best, way = scores[1:].max(0)
    return torch.where(best - scores[0] > bias, way + 1, 0)


@pytest.mark.parametrize("n_rows", [2, 6, 21])
def test_all_biases_counted_at_once_equal_a_loop_over_them(n_rows):
    g = torch.Generator().manual_seed(n_rows)
    scores = torch.randn(n_rows, 13, 17, generator=g)
    scores[0, 0] = scores[1:, 0].amax(0) - 0.5  # margins that equal a bias to the bit
    _, target = random_maps(n_rows, n_rows)
    biases = torch.tensor([0.5, -3.0, 0.0, 0.5, 9.0, -9.0])

    counts = counts_by_bias(scores, target, biases)

    assert counts.shape == (6, n_rows, n_rows) and counts.dtype == torch.int64
    for matrix, bias in zip(counts, biases, strict=True):
        expected = pixel_counts(painted(scores, bias), target, n_rows)
        np.testing.assert_array_equal(matrix, expected)


def test_a_bias_of_zero_is_the_argmax():
    g = torch.Generator().manual_seed(0)
    scores = torch.randn(4, 13, 17, generator=g)
    _, target = random_maps(0, 4)
    counts = counts_by_bias(scores, target, torch.zeros(1))[0]
    np.testing.assert_array_equal(counts, pixel_counts(scores.argmax(0), target, 4))


def test_counts_of_a_map_counted_by_hand():
    target = torch.tensor([[0, 0, 1], [2, IGNORE, 1]])
    prediction = torch.tensor([[0, 1, 1], [1, 2, 0]])
    scores = torch.nn.functional.one_hot(prediction).permute(2, 0, 1).float()
    expected = [[1, 1, 0], [1, 1, 0], [0, 1, 0]]
    nothing_painted = [[2, 0, 0], [2, 0, 0], [1, 0, 0]]
    counts = counts_by_bias(scores, target, torch.tensor([0.0, 1.0]))
    assert counts.tolist() == [expected, nothing_painted]


def test_scores_under_ignored_pixels_change_nothing():
    g = torch.Generator().manual_seed(1)
    scores = torch.randn(4, 13, 17, generator=g)
    _, target = random_maps(1, 4)
    other = torch.where(target == IGNORE, -scores, scores)
    biases = torch.tensor([0.0, 0.3])
    counts = counts_by_bias(scores, target, biases)
    assert torch.equal(counts_by_bias(other, target, biases), counts)
    assert counts_by_bias(scores, torch.full_like(target, IGNORE), biases).sum() == 0


def test_what_cannot_be_scored_is_an_error():
    with pytest.raises(ValueError, match="target has shape"):
        zeros = torch.zeros(1, 2, dtype=torch.int64)
        counts_by_bias(torch.zeros(2, 2, 2), zeros, torch.zeros(1))
    with pytest.raises(ValueError, match="no episode"):
        Scores.of([], [1])
    with pytest.raises(ValueError, match=r"episode 0 has classes \[9\]"):
        Scores.of([((9,), np.eye(2))], [1, 2])


def test_every_score_of_two_episodes_counted_by_hand():
    """Class 5 is shown once (6 px, 4 found, 2 painted wrongly) and absent once (3 px painted)."""
    shown, absent = [[10, 2], [2, 4]], [[15, 3], [0, 0]]
    scores = Scores.of([((5,), shown), ((5,), absent)], classes=[5])
    assert scores.miou_star == pytest.approx(4 / (4 + 2 + 2 + 3))
    assert scores.miou_present == pytest.approx(4 / 8)
    assert scores.fb_iou == pytest.approx((4 / 11 + 25 / 32) / 2)
    assert scores.miou_bg == pytest.approx((4 / 11 + 25 / 32) / 2)
    assert scores.absent_false_positives == pytest.approx(3 / 18)
    assert miou_of_episodes(scores) == pytest.approx((4 / 8 + 0) / 2)
    row = scores.per_class().loc[5]
    assert row.to_dict() == {"iou": 4 / 11, "asked": 2, "shown": 1, "pixels": 6}


def test_class_scores_equal_a_loop_over_episodes_in_any_row_order():
    scores, episodes = random_scores()
    for present_only, got in ((False, scores.miou_star), (True, scores.miou_present)):
        ious = [iou_in_loops(episodes, c, present_only) for c in scores.classes]
        assert got == pytest.approx(np.mean(ious))
    expected = [iou_in_loops(episodes, c) for c in scores.classes]
    np.testing.assert_allclose(scores.iou, expected)


def test_permuted_rows_and_padded_rows_change_no_score():
    scores, episodes = random_scores()
    turned = []
    for ids, confusion in episodes:
        rows = [0, 3, 1, 2]
        padded = np.pad(confusion[np.ix_(rows, rows)], ((0, 2), (0, 2)))
        turned.append(([ids[2], ids[0], ids[1]], padded))
    again = Scores.of(turned, scores.classes)
    np.testing.assert_array_equal(again.class_ids, scores.class_ids)
    np.testing.assert_array_equal(again.confusion, scores.confusion)


def test_episodes_of_different_ways_are_scored_together():
    one = ((3,), [[5, 1], [0, 4]])
    two = ((8, 3), [[5, 0, 1], [0, 2, 0], [1, 0, 3]])
    scores = Scores.of([one, two], [3, 8])
    np.testing.assert_allclose(scores.iou, [(4 + 3) / (5 + 5), 1.0])
    assert scores.absent_false_positives != scores.absent_false_positives  # NaN: none was absent
    assert scores.class_confusion().tolist() == [[10, 2, 0], [1, 7, 0], [0, 0, 2]]


def test_a_class_never_drawn_is_neither_0_nor_1():
    scores = Scores.of([((1,), [[4, 0], [2, 2]])], classes=[1, 2])
    assert scores.miou_star == 0.5
    assert np.isnan(scores.iou[1]) and scores.per_class()["asked"].tolist() == [1, 0]
    assert miou_hsnet(scores) == 0.25  # that code counts it as 0


def test_a_class_asked_for_but_nowhere_in_truth_or_prediction_is_left_out_of_the_mean():
    scores = Scores.of([((1, 2), [[4, 0, 0], [2, 2, 0], [0, 0, 0]])], classes=[1, 2])
    assert scores.miou_star == 0.5 and scores.per_class()["asked"].tolist() == [1, 1]


def test_false_positives_of_an_absent_class_lower_the_papers_score_and_not_panets():
    clean = [((1,), [[4, 0], [0, 4]]), ((1,), [[8, 0], [0, 0]])]
    painted = [clean[0], ((1,), [[4, 4], [0, 0]])]
    before, after = Scores.of(clean, [1]), Scores.of(painted, [1])
    assert (before.miou_star, after.miou_star) == (1.0, 0.5)
    assert (before.miou_present, after.miou_present) == (1.0, 1.0)


def test_summed_counts_are_not_the_mean_of_episode_scores():
    scores = Scores.of([((1,), [[0, 0], [0, 90]]), ((1,), [[0, 0], [10, 0]])], [1])
    assert scores.miou_star == pytest.approx(0.9)
    assert miou_of_episodes(scores) == pytest.approx(0.5)


def test_foreground_background_iou_does_not_ask_which_class():
    scores = Scores.of([((1, 2), [[6, 0, 0], [0, 0, 3], [1, 2, 0]])], [1, 2])
    assert scores.miou_star == 0
    assert scores.fb_iou == pytest.approx((5 / 6 + 6 / 7) / 2)
    assert scores.miou_bg == pytest.approx((0 + 0 + 6 / 7) / 3)


def test_the_row_confusion_tells_wrong_class_from_missed():
    scores = Scores.of([((1, 2), [[6, 1, 2], [3, 4, 5], [7, 8, 9]])], [1, 2])
    table = scores.row_confusion()
    assert table.loc["background"].tolist() == [6, 0, 3]
    assert table.loc["foreground"].tolist() == [10, 13, 13]
    assert table.to_numpy().sum() == scores.confusion.sum()


def test_iou_by_size_puts_each_class_of_a_query_by_the_share_it_covers():
    small, large = [[997, 0], [1, 2]], [[500, 0], [250, 250]]  # 0.3 % and 50 % of 1000 px
    absent = [[900, 100], [0, 0]]
    table = Scores.of([((1,), small), ((1,), large), ((1,), absent)], [1]).by_size()
    assert table.loc["small"].tolist() == pytest.approx([2 / 3, 1])
    assert table.loc["large"].tolist() == pytest.approx([0.5, 1])
    assert table.loc["medium", "pairs"] == 0 and np.isnan(table.loc["medium", "miou_star"])


def test_renaming_by_one_look_up_gives_the_same_score_as_summing_per_episode():
    scores, _ = random_scores()
    total = scores.class_confusion()
    iou = total.diagonal() / (total.sum(0) + total.sum(1) - total.diagonal())
    assert scores.miou_star == pytest.approx(iou[1:].mean())
    assert scores.miou_bg == pytest.approx(iou.mean())


def rename_in_place(rows, ids, classes):
    rows = rows.copy()
    for n, c in enumerate(sorted(ids)):
        rows[rows == n + 1] = classes.index(c) + 1
    return rows


def test_the_renaming_fault_is_the_published_loop_on_label_maps():
    """On pixels, one value after another; ids 1 and 2 of 1..6 keep their rows, 2 and 3 merge."""
    classes, totals, episodes = [1, 2, 3, 4, 5, 6], np.zeros((7, 7), int), []
    for e, ids in enumerate([(2, 3, 5), (1, 2, 6), (3, 4, 6), (2, 4, 5), (1, 3, 5)]):
        prediction, target = random_maps(e, 4, ignored=0)
        episodes.append((ids, pixel_counts(prediction, target, 4)))
        renamed = [rename_in_place(m.numpy(), ids, classes) for m in (target, prediction)]
        totals += confusion_matrix(renamed[0].ravel(), renamed[1].ravel(), labels=range(7))
    scores = Scores.of(episodes, classes)
    with np.errstate(invalid="ignore"):
        iou = totals.diagonal() / (totals.sum(0) + totals.sum(1) - totals.diagonal())
    assert miou_renamed_in_place(scores) == pytest.approx(np.nanmean(iou[1:]))
    assert abs(miou_renamed_in_place(scores) - scores.miou_star) > 0.01


def test_renaming_in_place_is_harmless_for_one_way_and_merges_18_of_190_two_way_pairs():
    scores, _ = random_scores(n_ways=1)
    assert miou_renamed_in_place(scores) == pytest.approx(scores.miou_star)
    classes, hit = list(range(20)), 0
    for ids in combinations(classes, 2):
        swapped = Scores.of([(ids, [[5, 0, 0], [0, 0, 5], [0, 5, 0]])], classes)
        hit += miou_renamed_in_place(swapped) == 1.0  # both wrong, yet merged into one right class
    assert hit == 18


def test_renaming_in_place_stops_at_an_episodes_own_classes():
    """Ids 2 and 3 merge in position 3, which the missing third row must not move on."""
    two = ((2, 3), [[5, 0, 0], [0, 4, 0], [0, 0, 4]])
    three = ((1, 2, 3), [[0, 0, 0, 0], [0, 0, 0, 0], [0, 0, 6, 0], [3, 0, 0, 7]])
    scores = Scores.of([two, three], [1, 2, 3, 4])  # 3 px of class 3 are taken for background
    assert miou_renamed_in_place(scores) == pytest.approx((6 / 6 + (8 + 7) / (8 + 10)) / 2)
