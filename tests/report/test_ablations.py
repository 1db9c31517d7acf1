"""Trainings of one seed are paired: what each part is worth, from results made by hand."""

import numpy as np
import pytest
from hand_made import with_iou

from la.report.scores.statistics import t_interval
from la.report.verdicts.ablations import (
    ablations,
    ladder,
    trainings,
    worth_of_parts,
    worth_of_start,
)


def variants(ablation, ious):
    return [with_iou(iou, method=f"la {ablation}", seed=s) for s, iou in enumerate(ious)]


def test_ablations_pair_trainings_of_one_seed_and_say_what_is_unresolved():
    complete, worse, unclear = (40, 50, 60), (30, 41, 49), (45, 40, 61)
    table = ablations(
        [
            *variants("complete", complete),
            *variants("w/o Token Pool", worse),
            *variants("w/o Spatial Convolutions", unclear),
        ]
    )["1-way 1-shot"]
    change = t_interval([b - a for a, b in zip(complete, worse, strict=True)])
    row = table.loc["w/o Token Pool"]
    scores = t_interval(worse)
    assert row["mIoU*"] == f"40.0 ± {scores.half_width:.1f}"
    assert row["minus complete"] == f"-10.0 ± {change.half_width:.1f}"
    unresolved = table.loc["w/o Spatial Convolutions", "minus complete"]
    assert unresolved.startswith("-1.3 ± ") and unresolved.endswith(", unresolved")
    assert table.loc["complete", "minus complete"] == ""


def test_folds_of_one_training_are_averaged_before_the_interval():
    runs = [
        with_iou(iou + shift, method="la complete", seed=seed, fold=fold)
        for seed, iou in enumerate((20, 30, 40))
        for fold, shift in ((0, -5), (1, 5))
    ]
    row = ablations(runs)["1-way 1-shot"].loc[("complete")]
    assert row["mIoU*"] == f"30.0 ± {t_interval([20, 30, 40]).half_width:.1f}"
    assert trainings(runs).iloc[0].tolist() == [20, 30, 40]


@pytest.mark.parametrize(
    ("convolutions", "pool", "verdict"),
    [
        ((30, 41, 49), (38, 48, 58), "confirmed"),
        ((38, 48, 58), (30, 41, 49), "not confirmed"),
        ((45, 40, 61), (30, 41, 49), "unresolved"),
        ((50, 60, 70), (30, 41, 49), "not confirmed"),
    ],
)
def test_the_finding_lists_what_each_part_is_worth(convolutions, pool, verdict):
    runs = [
        *variants("complete", (40, 50, 60)),
        *variants("w/o Spatial Convolutions", convolutions),
        *variants("w/o Token Pool", pool),
    ]
    finding = worth_of_parts(trainings(runs))
    assert finding.verdict == verdict
    changes = np.subtract(convolutions, (40, 50, 60))
    assert f"{changes.mean():+.1f} without Spatial Convolutions" in finding.sentence
    half_width = t_interval(changes).half_width
    assert f"{changes.mean():+.1f} ± {half_width:.1f} w/o Spatial" in finding.interval
    assert finding.sentence.endswith("without Token Pool (3 trainings).")
    assert not finding.sentence.startswith("No part")  # the token pool's change is resolved


def test_the_finding_says_first_that_no_change_is_resolved():
    runs = [*variants("complete", (40, 50, 60)), *variants("w/o Token Pool", (45, 40, 61))]
    finding = worth_of_parts(trainings(runs))
    assert finding.verdict == "unresolved"
    assert finding.sentence.startswith("No part is shown to matter. In 1-way 1-shot")


def test_the_ladder_pairs_trainings_with_the_complete_start():
    results = [with_iou(40 + s, method="la complete", seed=s) for s in (0, 1, 2)]
    results += [with_iou(20 + s, method="la start without read", seed=s) for s in (0, 1, 2)]
    results.append(with_iou(90, method="la start without copy", classes="seen"))
    table = ladder(results)["1-way 1-shot"]
    assert table.loc["start without read", "minus complete"] == "-20.0 ± 0.0"
    assert "start without copy" not in table.index


def test_the_ladder_names_what_each_part_is_worth_and_which_are_unresolved():
    runs = variants("complete", (40, 50, 60))
    runs += variants("start without copy", (20, 31, 39))
    runs += variants("start without mark", (45, 40, 61))
    runs.append(with_iou(99, method="la start without copy", classes="seen"))
    change = t_interval([-20, -19, -21])
    assert worth_of_start(runs).sentence == (
        f"In 1-way 1-shot the score changes by -20.0 ± {change.half_width:.1f} points without "
        "`copy`; without `mark` the change is unresolved."
    )
    unclear = worth_of_start([*runs[:3], *runs[6:9]])
    assert unclear.sentence == "Without `mark` the change is unresolved."
    assert "not been trained" in worth_of_start(runs[3:]).sentence
