"""One method against others: differences counted by hand, and what their intervals hold."""

import numpy as np
import pytest
from hand_made import result, with_iou

from la.report.scores.comparison import compare, differences, not_scored
from la.report.scores.statistics import paired_bootstrap, t_interval
from la.types import PromptKind


def method_on(ious, method, **fields):
    return [with_iou(iou, method=method, fold=fold, **fields) for fold, iou in enumerate(ious)]


def test_a_difference_is_the_mean_over_lists_with_a_bootstrap_of_each():
    ids = ((3,), (7,), (11,), (3,))
    easy, hard = ((90, 10), (10, 40)), ((90, 10), (40, 10))
    counts = np.array([easy, hard, easy, hard])
    ours = [result(seed=s, ids=ids, confusion=np.roll(counts, s, 0)) for s in (0, 1)]
    theirs = [result("affinity", seed=s, ids=ids, confusion=hard) for s in (0, 1)]
    (comparison,) = compare([*ours, *theirs])
    assert (comparison.method, comparison.other) == ("la", "affinity")
    assert (comparison.prompts, comparison.setting) == ("masks", "1-way 1-shot")
    by_hand = [
        paired_bootstrap(a.scores.intersection_union(), b.scores.intersection_union(), seed=number)
        for number, (a, b) in enumerate(zip(ours, theirs, strict=True))
    ]
    difference = comparison.difference
    assert difference.value == pytest.approx((by_hand[0].value + by_hand[1].value) / 2)
    squares = by_hand[0].half_width ** 2 + by_hand[1].half_width ** 2
    assert difference.over_episodes == pytest.approx(squares**0.5 / 2)
    assert np.isnan(difference.over_folds)


def test_the_spread_over_folds_is_the_t_interval_of_the_folds_differences():
    results = [*method_on((50, 60, 40), "la"), *method_on((40, 45, 38), "affinity")]
    (comparison,) = compare(results)
    expected = t_interval([0.10, 0.15, 0.02])
    assert comparison.difference.value == pytest.approx(expected.value)
    assert comparison.difference.over_folds == pytest.approx(expected.half_width)


def test_the_table_shows_points_and_both_intervals():
    results = [*method_on((50, 60), "la"), *method_on((40, 40), "affinity")]
    results += method_on((50, 60), "floor")
    table = differences(compare(results)).droplevel(0)
    assert table.loc["Affinity", "points"] == 15.0
    folds = t_interval([10, 20]).half_width
    assert table.loc["Affinity", "± folds"] == round(folds, 1)
    assert table.loc["Affinity", ""] == ""
    assert table.loc["All background"].tolist() == [0.0, 0.0, 0.0, "unresolved"]


def test_with_one_fold_there_is_no_spread_over_folds():
    table = differences(compare([with_iou(50), with_iou(40, method="floor")]))
    assert table["± folds"].tolist() == [""]


def test_rows_name_their_prompts_where_there_are_several_kinds():
    boxes = (PromptKind.BOX,)
    results = [with_iou(50), with_iou(40, method="affinity"), with_iou(30, kinds=boxes)]
    results.append(with_iou(10, method="affinity", kinds=boxes))
    table = differences(compare(results))
    assert table.index.get_level_values(0).tolist() == ["masks", "boxes"]
    assert table["points"].tolist() == [10.0, 20.0]


def test_lists_that_only_one_method_has_are_left_out():
    results = [with_iou(30, seed=0), with_iou(50, seed=1), with_iou(10, method="affinity")]
    (comparison,) = compare(results)
    assert comparison.difference.value == pytest.approx(0.2)


def test_exchanged_supports_are_not_compared_with_own_ones():
    assert compare([with_iou(30), with_iou(10, method="affinity", supports="exchanged")]) == []


def test_without_a_name_the_method_of_the_first_result_is_compared():
    (comparison,) = compare([with_iou(50, method="published"), with_iou(20, method="floor")])
    assert (comparison.method, comparison.other) == ("published", "floor")
    assert comparison.difference.value == pytest.approx(0.3)


def test_comparators_that_were_not_scored_are_named_with_the_page_that_has_them(tmp_path):
    names = ("la", "threshold_prototype", "prototype", "affinity")
    results = [with_iou(30, method=name) for name in names]
    text = not_scored(results, tmp_path)
    assert text == "Part prototypes and Ridge classifier were not scored for this page."
    (tmp_path / "table2.ipynb").touch()
    assert "[Table 2](table2.ipynb) has them" in not_scored(results, tmp_path)
    results += [with_iou(30, method="ridge"), with_iou(30, method="part_prototypes")]
    assert not_scored(results, tmp_path) == ""
