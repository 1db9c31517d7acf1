"""Learning curves and the ladder of the start, from results made by hand."""

import re

import pytest
from hand_made import with_iou

from la.config import EpisodeConfig, Protocol
from la.data.sampling.batches import TrainingBatches
from la.data.sampling.episodes import EpisodeSampler
from la.experiment.methods import CURVES, LADDER
from la.profiles import profile
from la.report.figures.charts import lines
from la.report.scores.statistics import t_interval
from la.report.verdicts.starts import (
    batch_shape,
    curve_table,
    differences_from_paper,
    learning_curves,
    two_lengths,
    what_the_start_does,
)

CONFIG = profile("quick")


def test_each_point_is_trained_for_its_multiple_of_the_steps_with_its_start():
    configs = {name: method.configure(CONFIG) for name, method in CURVES.items()}
    longest = configs["la usual x7"]
    assert longest.train.steps == 7 * CONFIG.train.steps and longest.model.start == "usual"
    assert configs["la agreeing x2.5"].train.steps == round(2.5 * CONFIG.train.steps)
    assert configs["la agreeing x1"].model.start == "agreeing"


def test_each_rung_leaves_out_one_part():
    left_out = {m.configure(CONFIG).model.start_without for m in LADDER.values()}
    assert len(left_out) == len(LADDER) == 6 and all(len(parts) == 1 for parts in left_out)


def test_learning_curves_average_folds_and_give_an_interval_over_trainings():
    results = [
        with_iou(iou + 10 * fold, method="la usual x1", seed=seed, fold=fold)
        for seed, iou in enumerate((10, 20, 30))
        for fold in (0, 1)
    ]
    results.append(with_iou(70, method="la agreeing x7", classes="seen"))
    results.append(with_iou(99))
    curves = learning_curves(results, CONFIG)
    usual, agreeing = curves.iloc[0], curves.iloc[1]
    assert (usual["start"], usual["classes"]) == ("usual", "unseen")
    assert usual["steps"] == CONFIG.train.steps
    assert usual["value"] == pytest.approx(25)
    assert usual["half_width"] == pytest.approx(t_interval([15, 25, 35]).half_width)
    assert (agreeing["classes"], agreeing["steps"]) == ("seen", 7 * CONFIG.train.steps)
    assert len(curves) == 2


def test_the_table_of_learning_curves_joins_values_and_intervals():
    results = [with_iou(10 * k, method="la usual x1", seed=k) for k in (1, 2, 3)]
    results.append(with_iou(70, method="la agreeing x7", classes="seen"))
    table = curve_table(learning_curves(results, CONFIG))
    steps = CONFIG.train.steps
    usual = table.loc[("1-way 1-shot", "unseen", "usual")]
    assert usual[f"{steps} steps"] == f"20.0 ± {t_interval([10, 20, 30]).half_width:.1f}"
    assert usual[f"{7 * steps} steps"] == ""
    assert table.loc[("1-way 1-shot", "seen", "agreeing"), f"{7 * steps} steps"] == "70.0"


def test_the_finding_compares_the_first_point_of_one_start_with_the_last_of_the_other():
    results = [with_iou(45, method="la agreeing x1"), with_iou(20, method="la usual x1")]
    results.append(with_iou(22, method="la usual x7"))
    finding = what_the_start_does(learning_curves(results, CONFIG), [0])
    assert "45.0 %" in finding.sentence and "22.0 %" in finding.sentence
    assert f"{7 * CONFIG.train.steps} steps" in finding.sentence
    assert finding.sentence.startswith("On the unseen classes of fold 0 in 1-way 1-shot LA scores")
    alone = what_the_start_does(learning_curves(results[:1], CONFIG), [0])
    assert "have not both been trained" in alone.sentence
    nothing = what_the_start_does(learning_curves([with_iou(45)], CONFIG), [0])
    assert nothing.sentence == alone.sentence


def test_differences_from_the_paper_are_all_fields_that_differ():
    table = differences_from_paper(CONFIG)
    assert table.loc[("model", "embed dim")].tolist() == ["96", "512"]
    assert ("model", "n heads") in table.index and ("train", "gamma") not in table.index
    assert table.loc[("model", "norm first")].tolist() == ["yes", "no"]
    assert table.loc[("train", "clip")].tolist() == ["1.0", "none"]
    assert table.loc[("episodes", "shapes"), "quick"].startswith("16 x 1-way 1-shot, 8 x 1-way 4")
    values = " ".join(table.to_numpy().ravel())
    assert not re.search(r"None|True|False|[()]", values)
    assert len(differences_from_paper(profile("paper-sam"))) == 0


def test_curves_of_both_starts_are_drawn_with_a_line_for_each_start_and_kind_of_classes():
    results = [
        with_iou(20 + seed, method=f"la {start} x{factor}", seed=seed, classes=classes)
        for start in ("usual", "agreeing")
        for factor in ("1", "2.5")
        for classes in ("unseen", "seen")
        for seed in (0, 1)
    ]
    curves = learning_curves(results, CONFIG)
    frame = curves.assign(method=curves["start"] + ", " + curves["classes"])
    figure = lines(frame, "steps", {"value": "mIoU*"})
    labels = figure.axes[0].get_legend_handles_labels()[1]
    assert sorted(labels) == ["agreeing, seen", "agreeing, unseen", "usual, seen", "usual, unseen"]


def test_the_shape_of_a_step_is_the_one_that_its_batches_have(tiny_index):
    shapes = ((3, 1, 1), (2, 2, 1), (1, 1, 2))
    class_ids = tiny_index.category_ids.tolist()
    sampler = EpisodeSampler(tiny_index, class_ids, Protocol(), [(n, k) for _, n, k in shapes])
    config = EpisodeConfig(shapes=shapes)
    batches = TrainingBatches(sampler, lambda episodes: episodes, config, seed=5, per_step=2)
    for step in range(12):
        episodes = batches.episodes(2 * step)
        n_ways = len(episodes[0].class_ids)
        k_shots = {3: 1, 2: 1, 1: 2}[len(episodes)]
        told = f"{len(episodes)} x {n_ways}-way {k_shots}-shot"
        assert batch_shape(shapes, 5, step) == told


def test_the_page_says_why_the_complete_start_has_two_scores():
    results = [with_iou(48, method="la agreeing x1"), with_iou(44, method="la complete")]
    results.append(with_iou(80, method="la complete", classes="seen"))
    results.append(with_iou(90, method="la complete", shots=5))
    text = two_lengths(results, CONFIG)
    assert "scores 44.0 % here and 48.0 % in the learning curves, both in 1-way 1-shot" in text
    few = round(CONFIG.train.steps * CONFIG.evaluation.ablation_share)
    assert f"take {few} steps, those of this point of the curves {CONFIG.train.steps}." in text
    assert two_lengths(results[:1], CONFIG) == ""
