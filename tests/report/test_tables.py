"""Tables from results made by hand."""

from dataclasses import replace

import pytest
from hand_made import with_iou

from la.experiment.methods import method
from la.experiment.setup.measurements import Measurement
from la.profiles import profile
from la.report.scores.statistics import t_interval
from la.report.scores.tables import (
    TABLES,
    best_in_bold,
    means,
    measurements,
    ours,
    raw_means,
    scores,
)
from la.types import PromptKind


def test_a_measurement_of_two_tables_is_the_same():
    asked = {"folds": [0, 1], "seeds": [0], "episodes": 5}
    tables = {name: set(measurements(name, "quick", **asked)) for name in TABLES}
    one_way = Measurement("la", 0, 1, 1, 0, 5)
    assert one_way in tables["table1"] & tables["table3"] & tables["table5"]
    new = tables["table3"] - tables["table1"] - tables["table2"]
    assert {c.n_ways for c in new} == {3, 4, 10, 15, 20}


def test_over_examples_a_trained_comparator_is_scored_on_one_list_where_no_table_shows_it():
    asked = measurements("curves", "quick", folds=[0], methods=["la", "panet"])
    seeds = profile("quick").evaluation.seeds
    for k_shots, of_panet in ((1, seeds), (2, seeds[:1]), (5, seeds), (10, seeds[:1])):
        at_k = [m for m in asked if (m.n_ways, m.k_shots) == (1, k_shots)]
        assert [m.seed for m in at_k if m.method == "la"] == list(seeds)
        assert [m.seed for m in at_k if m.method == "panet"] == list(of_panet)


def test_what_a_notebook_leaves_open_is_as_the_profile_has_it():
    asked = measurements("table1", "quick", folds=[2])
    usual = profile("quick").evaluation
    assert {c.seed for c in asked} == set(usual.seeds)
    assert {c.episodes for c in asked} == {usual.episodes}
    assert {c.protocol for c in measurements("table1", "quick", folds=[0], protocol="paper")} == {
        "paper"
    }


def test_every_table_has_every_baseline_that_belongs_there_and_methods_that_exist():
    rivals = {"floor", "class_prior", "token_grid", "prototype", "threshold_prototype"}
    rivals |= {"part_prototypes", "affinity", "ridge"}
    assert rivals <= set(TABLES["table1"].methods) and rivals <= set(TABLES["table2"].methods)
    for table in TABLES.values():
        assert all(method(name).label for name in table.methods)


def test_an_unknown_table_is_reported_with_the_known_ones():
    with pytest.raises(ValueError, match="no table 'table9'; known: table1"):
        measurements("table9", "quick", folds=[0])


FOUR = [
    with_iou(iou, fold=fold, seed=seed)
    for fold, seed, iou in ((0, 0, 10), (1, 0, 30), (0, 1, 20), (1, 1, 60))
]


def test_scores_are_means_over_seeds_and_the_interval_is_of_the_fold_means():
    tidy = scores(FOUR).set_index("fold")
    assert tidy["value"].to_dict() == pytest.approx({"0": 15, "1": 45, "mean": 30})
    fold_means = [(10 + 30) / 2, (20 + 60) / 2]
    assert tidy.loc["mean", "half_width"] == pytest.approx(t_interval(fold_means).half_width)


def test_our_table_has_the_papers_layout():
    wide = ours(
        [*FOUR, *(with_iou(5, method="floor", fold=f, seed=s) for f in (0, 1) for s in (0, 1))]
    )
    assert list(wide.columns) == [
        ("1-way 1-shot", name) for name in ("fold-0", "fold-1", "mean", "±", "raw")
    ]
    assert list(wide.index) == ["LA", "All background"]
    assert wide.loc["All background"].tolist() == [5, 5, 5, 0, 5]


def test_settings_and_methods_stay_in_their_order_and_prompts_together():
    results = [
        with_iou(10 * shots + i, method=name, shots=shots, seed=0, kinds=kinds)
        for i, name in enumerate(("la", "floor"))
        for shots in (5, 1)
        for kinds in ((PromptKind.MASK,), (PromptKind.BOX, PromptKind.POINT))
    ]
    table = means(results)
    assert list(table.columns) == ["1-way 5-shot", "1-way 1-shot"]
    assert list(table.index) == [
        ("masks", "LA"), ("masks", "All background"),
        ("boxes and points", "LA"), ("boxes and points", "All background"),
    ]  # fmt: skip
    assert table.loc[("masks", "All background"), "1-way 5-shot"] == "51.0"  # one seed: no interval


def test_intervals_are_printed_beside_means():
    assert means(FOUR).iloc[0, 0] == f"30.0 ± {t_interval([20, 40]).half_width:.1f}"


def test_raw_means_are_those_without_the_scalar():
    raw = with_iou(20).confusion
    results = [replace(with_iou(40), raw_confusion=raw), with_iou(40, fold=1)]
    assert raw_means(results).loc["LA", "1-way 1-shot"] == 30.0
    assert means(results).loc["LA", "1-way 1-shot"] == "40.0"


def test_the_best_method_of_a_setting_is_bold_and_references_are_set_apart():
    results = [with_iou(40), with_iou(50, method="affinity"), with_iou(90, method="token_grid")]
    marked = best_in_bold(means(results))["1-way 1-shot"]
    assert marked.to_dict() == {
        "LA": "40.0",
        "Affinity": "**50.0**",
        "*Token grid reference*": "90.0",
    }


def test_the_best_is_marked_for_each_kind_of_prompts():
    boxes = (PromptKind.BOX,)
    results = [with_iou(40), with_iou(30, method="affinity")]
    results += [with_iou(10, kinds=boxes), with_iou(20, method="affinity", kinds=boxes)]
    marked = best_in_bold(means(results))["1-way 1-shot"]
    assert marked.tolist() == ["**40.0**", "30.0", "10.0", "**20.0**"]
