"""Gains are means over classes of paired differences, and the sentence says what is resolved."""

import pandas as pd
import pytest

from la.report.choosing import finding, gains


def classes(differences: dict[int, list[float]]) -> pd.DataFrame:
    rows = [
        {"method": "LA", "k_shots": k, "fold": 0, "class_id": i, "chosen": 40 + d, "random": 40}
        for k, values in differences.items()
        for i, d in enumerate(values)
    ]
    return pd.DataFrame(rows)


def test_the_gain_is_the_mean_difference_with_its_t_interval_over_classes():
    table = gains(classes({1: [1.0, 3.0], 5: [2.0, 2.0]}))
    first = table.loc[("LA", 1)]
    assert first["gain"] == 2 and first["classes"] == 2 and first["chosen"] == 42
    assert first["half_width"] == pytest.approx(12.706, abs=0.001)  # t of one degree times 1
    assert table.loc[("LA", 5), "half_width"] == 0


def test_the_sentence_names_each_number_of_examples_and_what_is_unresolved():
    sentence = finding(gains(classes({1: [1.0, 3.0], 5: [2.0, 2.0]}))).sentence
    assert "+2.0 ± 12.7 points with K = 1 (unresolved)" in sentence
    assert sentence.endswith("+2.0 ± 0.0 points with K = 5.")
