"""Two checks of prompts: counted by hand."""

import numpy as np
import pytest
from hand_made import result, with_iou

from la.report.verdicts.prompts_used import prompts_used, right_share

TWO_WAY = ((50, 5, 5), (10, 30, 10), (4, 6, 20))  # 50 right, 16 painted as the other class


def two_way(**fields):
    return result(confusion=TWO_WAY, ids=((3, 7),), **fields)


def test_right_share_counts_painted_object_pixels_only():
    assert right_share(two_way().scores) == pytest.approx(50 / (50 + 16))


def test_right_share_of_one_class_is_all_and_of_no_painted_pixel_is_unknown():
    assert right_share(with_iou(40).scores) == 1
    unpainted = result(confusion=((90, 10), (20, 0)))
    assert np.isnan(right_share(unpainted.scores))


def test_the_kept_share_is_the_exchanged_score_over_the_own_one():
    rows = prompts_used(
        [
            with_iou(40, fold=0),
            with_iou(60, fold=1),
            with_iou(5, fold=0, supports="exchanged"),
            with_iou(15, fold=1, supports="exchanged"),
        ]
    )
    row = rows.loc[("1-way 1-shot", "LA")]
    assert row.tolist() == [50.0, 10.0, 20.0, 100.0, 100.0]


def test_exchanged_supports_do_not_enter_the_right_share():
    other = result(confusion=((50, 5, 5), (0, 0, 50), (0, 50, 0)), ids=((3, 7),))
    swapped = result(
        confusion=((50, 5, 5), (0, 0, 50), (0, 50, 0)), ids=((3, 7),), supports="exchanged"
    )
    assert right_share(other.scores) == 0
    row = prompts_used([two_way(), swapped]).loc[("2-way 1-shot", "LA")]
    assert row["right class"] == pytest.approx(100 * 50 / 66, abs=0.05)
    assert row["by chance"] == 50 and row["exchanged"] == 0


def test_without_exchanged_supports_their_columns_are_empty():
    row = prompts_used([two_way()]).loc[("2-way 1-shot", "LA")]
    assert np.isnan(row["exchanged"]) and np.isnan(row["kept"])
