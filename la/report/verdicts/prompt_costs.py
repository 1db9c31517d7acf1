"""What boxes and points cost LA against masks, over its trainings, and whether that is little."""

from collections.abc import Iterable

import numpy as np
import pandas as pd

from la.experiment.setup.measurements import Result
from la.report.scores.statistics import Interval, t_interval
from la.report.scores.tables import prompts_of
from la.report.verdicts.finding import Verdict

LITTLE = 6  # points of mIoU*, for the paper's "a little less well"


def costs_over_trainings(la: Iterable[Result], setting: str) -> dict[str, Interval]:
    """Points of mIoU* that other prompts than masks cost LA in a setting, by their name.

    A training's cost is the mean over its folds, and the interval is over the trainings.
    """
    rows = []
    for r in la:
        m = r.measurement
        if m.setting == setting:
            rows.append({"kind": prompts_of(m), "seed": m.seed, "value": 100 * r.scores.miou_star})
    by_training = pd.DataFrame(rows).pivot_table("value", "seed", "kind", sort=False)
    others = by_training.columns.drop("masks")
    return {kind: t_interval(by_training["masks"] - by_training[kind]) for kind in others}


def is_little(costs: Iterable[Interval]) -> Verdict:
    """Whether all costs are above 0 and below `LITTLE`; without an interval the value counts."""
    lows, highs = [], []
    for cost in costs:
        has_interval = not np.isnan(cost.low)
        lows.append(cost.low if has_interval else cost.value)
        highs.append(cost.high if has_interval else cost.value)
    if min(lows) > 0 and max(highs) < LITTLE:
        return "confirmed"
    if min(highs) < 0 or max(lows) > LITTLE:
        return "not confirmed"
    return "unresolved"
