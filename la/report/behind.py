"""The columns in which LA is not ahead of the threshold prototype: a page names them first."""

from collections.abc import Iterable, Sequence

import numpy as np

from la.experiment.measurements import Result
from la.report.comparison import Comparison
from la.report.tables import prompts_of
from la.wording import counted

RIVAL = "threshold_prototype"  # the strongest rival that is not trained


def against_rival(comparisons: Iterable[Comparison]) -> list[Comparison]:
    """LA minus the threshold prototype, a comparison per setting and kind of prompts."""
    return [c for c in comparisons if c.method == "la" and c.other == RIVAL]


def not_ahead(comparisons: Iterable[Comparison]) -> list[Comparison]:
    """LA against the threshold prototype where its lead is negative or unresolved, worst first."""
    behind = [c for c in against_rival(comparisons) if not _is_ahead(c)]
    return sorted(behind, key=lambda c: c.difference.value)


def settings_below(comparisons: Iterable[Comparison]) -> str:
    """In how many settings LA is below the threshold prototype, which, and by how much.

    Then in how many it is ahead and in how many the difference is unresolved; "" where the two
    have not been compared.
    """
    columns = against_rival(comparisons)
    if not columns:
        return ""
    below = [c for c in not_ahead(columns) if c.difference.resolved]
    n_ahead = sum(_is_ahead(c) for c in columns)
    n_unresolved = len(columns) - n_ahead - len(below)
    n_settings = counted(len(columns), "setting")
    rest = f"ahead in {n_ahead}"
    if n_unresolved:
        rest += (
            f", and {n_unresolved} are unresolved" if n_unresolved > 1 else ", and 1 is unresolved"
        )
    if not below:
        sentence = f"Of {n_settings} LA is below the threshold prototype in none; it is {rest}."
        return f"{sentence}{_over_folds(columns)}"
    settings: dict[str, list[str]] = {}
    for c in below:
        settings.setdefault(c.prompts, []).append(c.setting)
    named = [f"{_listed(names)} with {prompts}" for prompts, names in settings.items()]
    points = [-100 * c.difference.value for c in below]
    distance = f"by up to {max(points):.1f} points"
    return (
        f"LA is below the threshold prototype in {len(below)} of {n_settings}, "
        f"{distance}: {'; '.join(named)}. It is {rest}.{_over_folds(columns)}"
    )


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


def _over_folds(comparisons: Sequence[Comparison]) -> str:
    """How many leads and losses the interval over folds, i.e. other classes, leaves resolved.

    "" where there is one fold alone.
    """
    differences = [c.difference for c in comparisons if not np.isnan(c.difference.over_folds)]
    if not differences:
        return ""
    left = [d.value for d in differences if abs(d.value) > d.over_folds]
    n_leads = sum(value > 0 for value in left)
    n_losses = len(left) - n_leads
    return (
        " These intervals are over episodes; by those over folds, and so for other classes, "
        f"{counted(n_leads, 'lead')} and {counted(n_losses, 'loss')} remain."
    )


def _is_ahead(c: Comparison) -> bool:
    return c.difference.value > 0 and c.difference.resolved


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
