"""The columns in which LA is not ahead of the threshold prototype: a page names them first."""

from collections.abc import Iterable, Sequence

import numpy as np

from la.experiment.measurements import Result
from la.report.comparison import Comparison
from la.report.tables import prompts_of

RIVAL = "threshold_prototype"  # the strongest rival that is not trained


def not_ahead(comparisons: Iterable[Comparison]) -> list[Comparison]:
    """LA against the threshold prototype where its lead is negative or unresolved, worst first."""
    behind = []
    for c in comparisons:
        is_ahead = c.difference.value > 0 and c.difference.resolved
        if c.method == "la" and c.other == RIVAL and not is_ahead:
            behind.append(c)
    return sorted(behind, key=lambda c: c.difference.value)


def named_first(results: Iterable[Result], comparisons: Sequence[Comparison]) -> str:
    """The sentence that names the columns of `not_ahead`, with both scores; "" if there is none.

    Columns in which LA scores less come before those in which its lead is unresolved.
    """
    results = list(results)
    shows_prompts = len({r.measurement.kinds for r in results}) > 1
    scores = _means(results)
    below = []
    unclear = []
    for c in not_ahead(comparisons):
        la = scores[c.method, c.prompts, c.setting]
        rival = scores[c.other, c.prompts, c.setting]
        prompts = f" with {c.prompts}" if shows_prompts else ""
        unresolved = "" if c.difference.resolved else ", unresolved"
        text = f"{c.setting}{prompts} ({la:.1f} against {rival:.1f} %{unresolved})"
        if c.difference.value < 0:
            below.append(text)
        else:
            unclear.append(text)
    texts = []
    if below:
        texts.append(f"below the threshold prototype in {_listed(below)}")
    if unclear:
        rival_name = "it" if below else "the threshold prototype"
        texts.append(f"not clearly above {rival_name} in {_listed(unclear)}")
    return f"LA is {', and '.join(texts)}." if texts else ""


def _means(results: Iterable[Result]) -> dict[tuple[str, str, str], float]:
    """mIoU* in percent by method, prompts and setting: the mean over folds and lists."""
    values: dict[tuple[str, str, str], list[float]] = {}
    for r in results:
        m = r.measurement
        key = (m.method, prompts_of(m), m.setting)
        values.setdefault(key, []).append(100 * r.scores.miou_star)
    return {key: float(np.mean(of_column)) for key, of_column in values.items()}


def _listed(texts: Sequence[str]) -> str:
    """`a`, `a and b`, or `a, b and c`."""
    *head, last = texts
    return f"{', '.join(head)} and {last}" if head else last
