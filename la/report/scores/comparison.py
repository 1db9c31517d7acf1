"""One method against the others on the same episodes: differences and how sure they are."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd

from la.experiment.methods import METHODS, label
from la.experiment.setup.measurements import Measurement, Result
from la.report.scores.statistics import Difference, Interval, mean_difference, paired_bootstrap
from la.report.scores.tables import REFERENCES, in_order, prompts_of


@dataclass(frozen=True)
class Comparison:
    """A method minus another one in one setting, in mIoU* as a share of 1."""

    method: str  # names, as in `la.experiment.methods`
    other: str
    prompts: str  # such as "masks"
    setting: str  # such as "1-way 1-shot"
    difference: Difference


def compare(results: Iterable[Result], name: str = "") -> list[Comparison]:
    """`name`, or else the method of the first result, minus each other method.

    Each episode list is resampled 1,000 times, with the same episodes for both methods, so that
    neither gets the easier ones. Lists that only one of the two was scored on are left out.
    """
    results = in_order(results)
    if results and not name:
        name = results[0].measurement.method
    counts: dict[Measurement, np.ndarray] = {}
    for result in results:
        if result.measurement.method == name:
            counts[result.measurement] = result.scores.intersection_union()
    pairs: dict[tuple[str, str, str], dict[int, list[Interval]]] = {}
    for result in results:
        m = result.measurement
        ours = counts.get(replace(m, method=name))
        if m.method == name or ours is None:
            continue
        folds = pairs.setdefault((m.method, prompts_of(m), m.setting), {})
        theirs = result.scores.intersection_union()
        # Each list gets its own stream, so that equally long lists are resampled independently.
        stream_number = sum(len(lists) for lists in folds.values())
        interval = paired_bootstrap(ours, theirs, seed=stream_number)
        folds.setdefault(m.fold, []).append(interval)
    comparisons = []
    for (other, prompts, setting), folds in pairs.items():
        difference = mean_difference(folds)
        comparisons.append(Comparison(name, other, prompts, setting, difference))
    return comparisons


def among(
    comparisons: Iterable[Comparison], measurements: Iterable[Measurement]
) -> list[Comparison]:
    """The comparisons whose other method and setting are among the measurements of a table."""
    columns = {(m.method, prompts_of(m), m.setting) for m in measurements}
    return [c for c in comparisons if (c.other, c.prompts, c.setting) in columns]


def not_scored(results: Iterable[Result], folder: Path) -> str:
    """Which comparators the results lack, and where they are scored; "" if they lack none.

    Args:
        folder: a profile's results, whose Table 2 has all of them.
    """
    scored = {r.measurement.method for r in results}
    missing = [m for m in METHODS if m not in scored and m not in REFERENCES]
    if not missing:
        return ""
    names = " and ".join(label(name) for name in missing)
    text = f"{names} {'were' if len(missing) > 1 else 'was'} not scored for this page"
    if (folder / "table2.ipynb").exists():
        text += "; [Table 2](table2.ipynb) has them with two and five classes"
    return f"{text}."


def differences(comparisons: Sequence[Comparison]) -> pd.DataFrame:
    """A row per setting and other method: points of mIoU*, and two 95 % intervals.

    `± episodes` is over resampled episodes, `± folds` over folds ("" with one fold); the last
    column says "unresolved" where the interval over episodes contains 0.
    """
    rows = {}
    for c in comparisons:
        d = c.difference
        over_folds = "" if np.isnan(d.over_folds) else round(100 * d.over_folds, 1)
        rows[c.prompts, c.setting, label(c.other)] = {
            "points": round(100 * d.value, 1),
            "± episodes": round(100 * d.over_episodes, 1),
            "± folds": over_folds,
            "": "" if d.resolved else "unresolved",
        }
    title = f"{label(comparisons[0].method)} minus" if comparisons else "minus"
    index = pd.MultiIndex.from_tuples(list(rows), names=[None, "setting", title])
    frame = pd.DataFrame(list(rows.values()), index)
    kinds = {c.prompts for c in comparisons}
    return frame if len(kinds) > 1 else frame.droplevel(0)
