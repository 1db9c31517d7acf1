"""Every mean and interval in the stored tables, computed again from the stored confusions.

The arithmetic is written out here and shares no code with the package but the decoding of counts.
"""

import csv
import json
from collections import defaultdict
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from la.experiment.methods import RIVALS, label
from la.experiment.setup.measurements import Result

QUICK = Path(__file__).resolve().parent.parent / "results" / "quick"
TABLES = sorted(path.stem for path in QUICK.glob("table?.csv"))
OF_ALL = {method.label for method in RIVALS.values()}
PLURAL = {"mask": "masks", "box": "boxes", "point": "points"}


def miou(result: Result, confusion: np.ndarray) -> float:
    """mIoU* in percent: summed over episodes, divided once, averaged over the classes."""
    hits = np.diagonal(confusion, axis1=1, axis2=2)  # (episodes, C)
    union = confusion.sum(1) + confusion.sum(2) - hits
    ious = []
    for class_id in np.unique(result.class_ids):
        shown = result.class_ids == class_id  # row 0 of the counts is the background
        if whole := union[:, 1:][shown].sum():
            ious.append(hits[:, 1:][shown].sum() / whole)
    return 100 * float(np.mean(ious))


def stored(table: str) -> dict[tuple[str, str, str], dict[int, dict[int, tuple[float, float]]]]:
    """(prompts, method, setting) -> fold -> seed -> mIoU* with and without the bias."""
    numbers: dict = defaultdict(lambda: defaultdict(dict))
    for line in (QUICK / "measurements" / f"{table}.jsonl").read_text().splitlines():
        result = Result.from_json(json.loads(line))
        m = result.measurement
        prompts = " and ".join(PLURAL[kind] for kind in m.kinds)
        both = miou(result, result.confusion), miou(result, result.raw_confusion)
        numbers[prompts, label(m.method), m.setting][m.fold][m.seed] = both
    return numbers


def test_tables_are_stored():
    assert {"table1", "table2"} <= set(TABLES)


@pytest.mark.parametrize("table", TABLES)
def test_the_stored_means_and_intervals_follow_from_the_stored_confusions(table):
    with (QUICK / f"{table}.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    shown = {row["method"] for row in rows}
    numbers = {}
    for place, folds in stored(table).items():
        if table == "table3" and not place[2].endswith(" 1-shot"):
            continue  # of the page on N and K, which keeps its scores here
        # Pages that were made without METHODS=all leave out the trained comparators.
        if place[1] in shown or place[1] not in OF_ALL:
            numbers[place] = folds
    checked = 0
    for row in rows:
        folds = numbers[row["prompts"], row["method"], row["setting"]]
        seeds = sorted(next(iter(folds.values())))
        if row["fold"] == "mean":
            per_seed = [np.mean([folds[f][s] for f in folds], axis=0) for s in seeds]
        else:
            per_seed = [folds[int(row["fold"])][s] for s in seeds]
        value, raw = np.mean(per_seed, axis=0)
        values = [fitted for fitted, _ in per_seed]
        half = stats.t.ppf(0.975, len(values) - 1) * stats.sem(values)
        assert float(row["value"]) == pytest.approx(value, abs=1e-9)
        assert float(row["raw"]) == pytest.approx(raw, abs=1e-9)
        assert float(row["half_width"]) == pytest.approx(half, abs=1e-9)
        checked += 1
    assert checked == len(numbers) * 5  # four folds and their mean
