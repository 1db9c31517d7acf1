"""Table 4 and the ladder of the start: what each part is worth, over paired trainings."""

from collections.abc import Iterable

import numpy as np
import pandas as pd

from la.experiment.methods import LADDER, VARIANTS, label
from la.experiment.setup.measurements import Result
from la.report.scores.statistics import Interval, t_interval
from la.report.verdicts.finding import PARTS, Finding, Verdict
from la.wording import counted


def trainings(results: Iterable[Result]) -> pd.DataFrame:
    """mIoU* in percent of every training of Table 4 or of the ladder of the start.

    A row per variant, columns (setting, seed); means over folds.
    """
    rows = []
    for r in results:
        m = r.measurement
        if m.method not in VARIANTS and m.method not in LADDER:
            continue
        row = {
            "variant": label(m.method).removeprefix("LA "),
            "setting": m.setting,
            "seed": f"seed {m.seed}",
            "miou": 100 * r.scores.miou_star,
        }
        rows.append(row)
    frame = pd.DataFrame(rows, columns=["variant", "setting", "seed", "miou"])
    wide = frame.pivot_table("miou", "variant", ["setting", "seed"], sort=False)
    wide.index.name = None
    wide.columns.names = [None, None]
    return wide


def ablations(results: Iterable[Result]) -> pd.DataFrame:
    """mIoU* of each variant over its training seeds, and what its part is worth, as text.

    `minus complete` pairs the trainings of one seed, which use the same batches and the same
    episode lists. `±` is half of the 95 % t-interval over training seeds. A difference whose
    interval contains 0 is followed by "unresolved".
    """
    return _table(trainings(results))


def _table(table: pd.DataFrame) -> pd.DataFrame:
    """`ablations` of the scores of trainings."""
    columns = {}
    for setting in table.columns.unique(0):
        scores = _intervals(table, setting)
        changes = _changes(table, setting)
        columns[setting, "mIoU*"] = _texts(scores, "", "")
        columns[setting, "minus complete"] = _texts(changes, "+", ", unresolved")
    return pd.DataFrame(columns).reindex(table.index).astype(object).fillna("")


def ladder(results: Iterable[Result]) -> pd.DataFrame:
    """The agreeing start with each part switched off, minus the complete one; as `ablations`."""
    return _table(_on_unseen(results))


def worth_of_parts(trainings: pd.DataFrame) -> Finding:
    """Table 4: what the removal of each part costs, over paired trainings.

    Args:
        trainings: `trainings`, a row per variant, columns (setting, seed).
    """
    setting = trainings.columns[0][0]
    changes = _changes(trainings, setting)
    texts = []
    intervals = []
    for name, change in changes.items():
        texts.append(f"{change.value:+.1f} {name.replace('w/o', 'without')}")
        intervals.append(f"{change.points} {name}")
    over = counted(len(trainings.xs(setting, axis=1).columns), "training")
    sentence = f"In {setting} the score changes by these points: {', '.join(texts)} ({over})."
    if not any(change.resolved for change in changes.values()):
        sentence = f"No part is shown to matter. {sentence}"
    verdict: Verdict = "unresolved"
    if all(change.high < 0 for change in changes.values()):
        costliest = min(changes, key=lambda name: changes[name].value)
        is_convolution = costliest == "w/o Spatial Convolutions"
        verdict = "confirmed" if is_convolution else "not confirmed"
    elif any(change.low > 0 for change in changes.values()):
        verdict = "not confirmed"
    return Finding(sentence, PARTS, verdict, "; ".join(intervals))


def worth_of_start(results: Iterable[Result]) -> Finding:
    """The ladder: what the score on unseen classes loses without each part of the start."""
    runs = _on_unseen(results)
    if "complete" not in runs.index or len(runs) < 2:
        return Finding("The ladder of the start has not been trained here.")
    setting = runs.columns[0][0]
    changes = _changes(runs, setting)
    resolved = []
    unresolved = []
    for name, change in sorted(changes.items(), key=lambda item: item[1].value):
        part = name.removeprefix("start without ")
        if change.resolved:
            resolved.append(f"{change.points} points without `{part}`")
        else:
            unresolved.append(f"`{part}`")
    texts = [f"In {setting} the score changes by {', '.join(resolved)}"] if resolved else []
    if unresolved:
        texts.append(f"without {', '.join(unresolved)} the change is unresolved")
    sentence = "; ".join(texts)
    return Finding(f"{sentence[0].upper()}{sentence[1:]}.")


def _on_unseen(results: Iterable[Result]) -> pd.DataFrame:
    """`trainings` on unseen classes."""
    return trainings(r for r in results if r.measurement.classes == "unseen")


def _intervals(trainings: pd.DataFrame, setting: str) -> dict[str, Interval]:
    """By variant, over the trainings that it has."""
    runs = trainings.xs(setting, axis=1)
    return {str(name): t_interval(row.dropna()) for name, row in runs.iterrows()}


def _changes(trainings: pd.DataFrame, setting: str) -> dict[str, Interval]:
    """Each variant minus the complete model, training by training."""
    changes = trainings - trainings.loc["complete"]
    return _intervals(changes.drop("complete"), setting)


def _texts(intervals: dict[str, Interval], sign: str, unresolved: str) -> pd.Series:
    """By variant: the value with its interval, and a word where the interval contains 0.

    Args:
        sign: "+" writes the sign of positive values too, "" only that of negative ones.
        unresolved: what is appended to an interval that contains 0.
    """
    texts = {}
    for name, interval in intervals.items():
        value = round(interval.value, 1) + 0.0  # no -0.0
        half_width = "" if np.isnan(interval.half_width) else f" ± {interval.half_width:.1f}"
        note = "" if interval.resolved else unresolved
        texts[name] = f"{value:{sign}.1f}{half_width}{note}"
    return pd.Series(texts, dtype=object)
