"""Reports from stored counts, against counts made by hand."""

import numpy as np
import pandas as pd
import pytest
from hand_made import CLASSES, result, with_iou

from la.learn.metrics import Scores
from la.report.scores import analysis as reports

TWO_WAYS = [[[50, 5, 5], [10, 20, 10], [0, 4, 16]], [[80, 10, 10], [0, 0, 0], [6, 2, 12]]]


def two_way(**fields):
    """Two 2-way episodes; the query of the second lacks its first class, 11."""
    return result(confusion=TWO_WAYS, ids=((3, 7), (11, 7)), **fields)


def named(class_id):
    return f"class {class_id}"


def test_every_rule_is_applied_to_the_same_counts():
    r = two_way()
    table = reports.protocols([r])
    row = table.loc[("2-way 1-shot", "LA", "clean")]
    assert row["mIoU* (the paper's)"] == round(100 * r.scores.miou_star, 1)
    three, seven = 20 / (40 + 5 + 4), (16 + 12) / (16 + 4 + 5 + 10 + 20 + 10)
    assert row["only if shown (PANet)"] == pytest.approx(100 * (three + seven) / 2, abs=0.06)
    assert row["only if shown (PANet)"] > row["mIoU* (the paper's)"]  # class 11 is only painted


def test_protocols_average_folds_and_seeds_and_keep_truths_apart():
    table = reports.protocols(
        [with_iou(20, seed=0), with_iou(40, seed=1), with_iou(70, seed=0, protocol="paper")]
    )
    values = table["mIoU* (the paper's)"].droplevel(0).droplevel(0)
    assert values.to_dict() == {"clean": 30.0, "paper": 70.0}


def test_per_class_sums_seeds_and_counts_what_was_asked_and_shown():
    table = reports.per_class([two_way(seed=0), two_way(seed=1)], "2-way 1-shot", named)
    assert table["LA"].round(1).to_dict() == {
        "class 7": pytest.approx(100 * 28 / 65, abs=0.06),
        "class 3": pytest.approx(100 * 20 / 49, abs=0.06),
        "class 11": 0.0,
    }
    assert table.loc["class 7", ["asked", "shown", "pixels"]].tolist() == [4, 4, 80]
    assert table.loc["class 11", ["asked", "shown", "pixels"]].tolist() == [2, 0, 0]


def test_the_best_and_the_worst_rows_are_shown_once_each():
    frame = pd.DataFrame({"LA": range(20)})
    assert reports.best_and_worst(frame, 3)["LA"].tolist() == [0, 1, 2, 17, 18, 19]
    assert reports.best_and_worst(frame, 10)["LA"].tolist() == list(range(20))
    assert reports.best_and_worst(frame[:2])["LA"].tolist() == [0, 1]


def test_per_class_names_the_settings_that_there_are():
    with pytest.raises(ValueError, match="there are 2-way 1-shot"):
        reports.per_class([two_way()], "1-way 1-shot", named)


def test_sizes_average_folds_and_count_pairs():
    tiny = result(fold=1, confusion=((997, 0), (1, 2)))  # 3 of 1000 pixels are small
    large = with_iou(40, fold=0)
    table = reports.by_size([large, tiny, with_iou(60, fold=1)])
    row = table.loc[("1-way 1-shot", "LA")]
    assert row["large", "mIoU*"] == 50 and row["large", "pairs"] == 2
    assert row["small", "mIoU*"] == pytest.approx(66.7) and row["small", "pairs"] == 1
    assert list(table.columns.unique(0)) == ["small", "large"]  # no query shows a medium object


def test_mistakes_are_shares_of_the_true_pixels():
    row = reports.mistakes([two_way()]).loc[("2-way 1-shot", "LA")]
    assert row["background", "painted"] == round(100 * 30 / 160, 1)
    assert row["foreground", "right"] == 60.0 and row["foreground", "missed"] == 20.0
    assert row["foreground", "another class"] == 20.0
    assert row["absent class", "painted"] == 10.0  # 12 of 120 pixels carry class 11


def test_what_has_no_value_is_shown_empty():
    table = reports.without_nan(pd.DataFrame({"a": [1.5, np.nan]}))
    assert table["a"].tolist() == [1.5, ""]


def test_settings_are_kept_together_in_a_report():
    cells = [with_iou(30, method=m, shots=k) for m in ("la", "floor") for k in (1, 5)]
    settings = reports.mistakes(cells).index.get_level_values(0).tolist()
    assert settings == ["1-way 1-shot"] * 2 + ["1-way 5-shot"] * 2


def test_the_confusion_is_by_class_and_its_rows_sum_to_100():
    table = reports.confusion([two_way(seed=0), two_way(seed=1)], "la", "2-way 1-shot", 0, named)
    assert list(table.index) == ["background", *map(named, CLASSES)]
    assert table.loc["class 7", "class 3"] == pytest.approx(100 * 4 / 40)
    assert table.loc["class 7", "class 11"] == pytest.approx(100 * 2 / 40)
    assert table.drop("class 11").sum(axis=1).tolist() == pytest.approx([100] * 3)
    with pytest.raises(ValueError, match="no result of 'floor'"):
        reports.confusion([two_way()], "floor", "2-way 1-shot", 0, named)


def test_examples_are_the_percentiles_among_episodes_that_show_both_classes():
    def episode(hits):
        return [[100, 0, 0], [40 - hits, hits, 0], [40 - hits, 0, hits]]

    hidden = [[100, 0, 0], [0, 0, 0], [0, 0, 40]]  # perfect, but the first class is not shown
    counts = [hidden] + [episode(h) for h in (30, 0, 20, 40, 10)]
    found = reports.examples(result(confusion=counts, ids=[(3, 7)] * 6), [100, 50, 0])
    assert found["episode"].tolist() == [4, 3, 2]
    assert found["kind"].tolist() == ["success", "average", "failure"]
    assert found["mIoU"].tolist() == [100, 50, 0]


def test_an_episode_that_two_percentiles_choose_is_shown_once():
    found = reports.examples(result(ids=[(3,)] * 2), [100, 99, 0])
    assert found["episode"].is_unique


def test_examples_need_a_query_that_shows_all_classes():
    with pytest.raises(ValueError, match="take more episodes"):
        reports.examples(result(confusion=[[[5, 0], [0, 0]]]), [50])


def test_joined_seeds_equal_one_long_list():
    parts = [two_way(seed=0).scores, result(confusion=TWO_WAYS[:1], ids=((7, 11),)).scores]
    joined = reports._joined(parts)
    whole = Scores.of(
        [((3, 7), np.array(TWO_WAYS[0])), ((11, 7), np.array(TWO_WAYS[1])),
         ((7, 11), np.array(TWO_WAYS[0]))],
        CLASSES,
    )  # fmt: skip
    np.testing.assert_array_equal(joined.intersection_union(), whole.intersection_union())


def test_classes_that_no_query_showed_are_not_among_the_best_and_the_worst():
    table = pd.DataFrame({"LA": [60.0, 50, 40, 30, np.nan]}, index=list("abcde"))
    assert list(reports.best_and_worst(table, 1).index) == ["a", "d"]
    assert list(reports.best_and_worst(table, 3).index) == ["a", "b", "c", "d"]
