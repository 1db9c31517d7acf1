"""What each page found: one sentence made from its numbers, and a verdict on the paper's claim."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pandas as pd

from la.experiment.measurements import Result
from la.experiment.methods import label
from la.report.comparison import Comparison
from la.report.statistics import t_interval
from la.report.tables import scores

Verdict = Literal["confirmed", "not confirmed", "unresolved", "not run"]
# Rows that set the scale of a table; a method is not expected to beat them, or trivially does.
REFERENCES = ("floor", "class_prior", "token_grid")


@dataclass(frozen=True)
class Finding:
    """A sentence for the top of a page; notebooks show it in bold."""

    sentence: str
    claim: str = ""  # what the paper says, with its section; "" where it says nothing
    verdict: Verdict = "unresolved"

    @property
    def markdown(self) -> str:
        """The sentence in bold, then the paper's claim with the verdict."""
        text = f"**{self.sentence}**"
        if self.claim:
            text += f"\n\nThe paper's claim: {self.claim} *Here: {self.verdict}.*"
        return text

    def _repr_markdown_(self) -> str:
        return self.markdown


def one_class(results: Iterable[Result], comparisons: Sequence[Comparison]) -> Finding:
    """Table 1: LA against its best rival, and the claim about prototype methods."""
    claim = "LA is the best of the prototype methods for one class (4.3, Table 1)."
    prototypes = [c for c in comparisons if "prototype" in c.other]
    return Finding(_against_best(results, comparisons), claim, _verdict(prototypes))


def several_classes(results: Iterable[Result], comparisons: Sequence[Comparison]) -> Finding:
    """Table 2: LA against its best rival, and the claim to be ahead of all."""
    claim = "LA is the best of all methods for several classes (4.3, Table 2)."
    rivals = [c for c in comparisons if c.other not in REFERENCES]
    return Finding(_against_best(results, comparisons), claim, _verdict(rivals))


def _against_best(results: Iterable[Result], comparisons: Sequence[Comparison]) -> str:
    """LA against the best rival of each setting; settings where it is behind come first."""
    closest: dict[str, Comparison] = {}
    for c in comparisons:
        other = closest.get(c.setting)
        if c.other in REFERENCES:
            continue
        if other is None or c.difference.value < other.difference.value:
            closest[c.setting] = c
    if not closest:
        return "LA has not been compared with any other method here."
    means = _means(results)
    parts = []
    for c in sorted(closest.values(), key=lambda c: c.difference.value >= 0):
        points = 100 * c.difference.value
        side = "more" if points >= 0 else "less"
        parts.append(
            f"{means[c.method, c.setting]:.1f} % in {c.setting},"
            f" {abs(points):.1f} points {side} than the best rival ({label(c.other)})"
        )
    return f"LA scores {'; '.join(parts)}."


def with_more_classes(results: Iterable[Result]) -> Finding:
    """Table 3: how much of its 1-way score LA keeps at the largest N, and its best rival."""
    claim = "With several classes LA is ahead of the other method at every N (4.3, Table 3)."
    table = _means_by(results, "N")
    rivals = [name for name in table.columns if name not in _reference_labels()]
    if "LA" not in rivals or len(rivals) < 2 or len(table) < 2:
        return Finding("LA has not been scored at several N here.", claim, "not run")
    few, many = table.index[0], table.index[-1]
    kept = 100 * table.loc[many] / table.loc[few]
    best = table.loc[many, rivals].drop("LA").idxmax()
    sentence = (
        f"From {few} class to {many} classes LA falls from {table.loc[few, 'LA']:.1f} % to "
        f"{table.loc[many, 'LA']:.1f} % and keeps {kept['LA']:.0f} % of its score; the best rival "
        f"at {many} classes ({best}) has {table.loc[many, best]:.1f} % and keeps "
        f"{kept[best]:.0f} %."
    )
    several = table[table.index > 1]
    ahead = bool((several["LA"] >= several[rivals].max(axis=1)).all())
    return Finding(sentence, claim, "confirmed" if ahead else "not confirmed")


def worth_of_parts(trainings: pd.DataFrame) -> Finding:
    """Table 4: what the removal of each part costs, over paired trainings.

    Args:
        trainings: `analysis.trainings`, a row per variant, columns (setting, seed).
    """
    claim = "Spatial convolutions matter most, and no part can be spared (4.4, Table 4)."
    setting = trainings.columns[0][0]
    runs = trainings[setting]
    changes = (runs - runs.loc["complete"]).drop("complete")
    intervals = {name: t_interval(row.dropna().tolist()) for name, row in changes.iterrows()}
    parts = []
    for name, interval in intervals.items():
        spread = "" if np.isnan(interval.half_width) else f" ± {interval.half_width:.1f}"
        parts.append(f"{interval.value:+.1f}{spread} {name}")
    n_trainings = runs.shape[1]
    sentence = f"In {setting} the score changes by {', '.join(parts)} ({n_trainings} trainings)."
    if all(interval.high < 0 for interval in intervals.values()):
        lowest = min(intervals, key=lambda name: intervals[name].value)
        convolutions = lowest == "w/o Spatial Convolutions"
        return Finding(sentence, claim, "confirmed" if convolutions else "not confirmed")
    harmless = any(interval.low > 0 for interval in intervals.values())
    return Finding(sentence, claim, "not confirmed" if harmless else "unresolved")


def kinds_of_prompts(results: Iterable[Result]) -> Finding:
    """Table 5: masks against other prompts in the first setting, by seeds of the same lists."""
    claim = "Masks work best, and other prompts a little less well (4.4, Table 5)."
    la = [r for r in results if r.measurement.method in ("la", "published")]
    tidy = scores(la).query("fold == 'mean'")
    setting = tidy["setting"].iloc[0]
    means = tidy[tidy["setting"] == setting].set_index("prompts")["value"]
    if "masks" not in means or len(means) < 2:
        return Finding("LA has not been scored with several kinds of prompts.", claim, "not run")
    listed = ", ".join(f"{value:.1f} % with {prompts}" for prompts, value in means.items())
    sentence = f"In {setting} LA scores {listed}."
    others = means.drop("masks")
    best = bool((means["masks"] > others).all())
    near = bool((means["masks"] - others < 6).all())  # points: "a little less well"
    return Finding(sentence, claim, "confirmed" if best and near else "not confirmed")


def spread_of_episodes(result: Result, episode_miou: np.ndarray) -> Finding:
    """Figure 3: single episodes of one list; `episode_miou` in percent, of those ranked."""
    low, middle, high = np.percentile(episode_miou, [10, 50, 90])
    return Finding(
        f"Single episodes differ widely: of {len(episode_miou)} {result.measurement.setting} "
        f"queries that show both classes, a tenth scores below {low:.0f} %, half below "
        f"{middle:.0f} % and a tenth above {high:.0f} % mIoU."
    )


def cost_of_classes(costs: pd.DataFrame) -> Finding:
    """How the time per query grows with N.

    Args:
        costs: columns method, N, K, milliseconds.
    """
    claim = "Affinity methods get costly with many classes, prototype methods less (2.3, 4.3)."
    one_shot = costs[costs["K"] == 1].pivot_table("milliseconds", "N", "method")
    few, many = one_shot.index[0], one_shot.index[-1]
    growth = (one_shot.loc[many] / one_shot.loc[few]).sort_values()
    listed = ", ".join(f"{name} {factor:.1f} times" for name, factor in growth.items())
    sentence = f"From {few} to {many} classes a query takes longer by these factors: {listed}."
    affinity = label("affinity")
    if affinity not in growth or "LA" not in growth:
        return Finding(sentence, claim, "not run")
    steeper = growth[affinity] > growth["LA"]
    return Finding(sentence, claim, "confirmed" if steeper else "not confirmed")


def protocol_range(points: pd.DataFrame) -> Finding:
    """How far one prediction moves by the rule of scoring; `points` has one column, rows named."""
    largest = points["points"].idxmax()
    setting, method, truth = largest
    return Finding(
        f"The same predictions score up to {points['points'].max():.1f} points apart by the rule "
        f"of scoring alone ({method}, {setting}, truth as in protocol {truth})."
    )


def own_method(comparisons: Sequence[Comparison]) -> Finding:
    """A reader's method against LA in each setting."""
    against_la = [c for c in comparisons if c.other == "la"]
    if not against_la:
        return Finding("The method has not been compared with LA.")
    parts = []
    for c in against_la:
        points = 100 * c.difference.value
        side = "more" if points >= 0 else "less"
        parts.append(f"{abs(points):.1f} points {side} than LA in {c.setting}")
    return Finding(f"{label(against_la[0].method)} scores {' and '.join(parts)}.")


def _verdict(comparisons: Sequence[Comparison]) -> Verdict:
    """Confirmed if LA is ahead in all comparisons, each beyond its interval over episodes."""
    if not comparisons:
        return "not run"
    differences = [c.difference for c in comparisons]
    if any(d.value < 0 and d.resolved for d in differences):
        return "not confirmed"
    if all(d.value > 0 and d.resolved for d in differences):
        return "confirmed"
    return "unresolved"


def _means(results: Iterable[Result]) -> dict[tuple[str, str], float]:
    """mIoU* in percent by (method name, setting), means over folds and seeds."""
    values: dict[tuple[str, str], list[float]] = {}
    for r in results:
        key = r.measurement.method, r.measurement.setting
        values.setdefault(key, []).append(100 * r.scores.miou_star)
    return {key: float(np.mean(numbers)) for key, numbers in values.items()}


def _means_by(results: Iterable[Result], column: str) -> pd.DataFrame:
    """Means over folds: a row per value of `column` (ascending), a column per method."""
    tidy = scores(results).query("fold == 'mean'")
    return tidy.pivot_table("value", column, "method", sort=False).sort_index()


def _reference_labels() -> set[str]:
    return {label(name) for name in REFERENCES}
