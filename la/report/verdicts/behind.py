"""The columns in which LA is not ahead of a training-free method: a page names them first."""

from collections.abc import Iterable, Sequence

import numpy as np

from la.experiment.methods import KNOWN, label
from la.experiment.setup.measurements import Result
from la.report.scores.comparison import Comparison
from la.report.scores.tables import REFERENCES, prompts_of
from la.wording import counted


def against_training_free(comparisons: Iterable[Comparison]) -> list[Comparison]:
    """LA minus the best training-free comparator of each setting and kind of prompts."""
    best: dict[tuple[str, str], Comparison] = {}
    for c in comparisons:
        if c.method != "la" or not _is_training_free(c.other):
            continue
        column = (c.prompts, c.setting)
        if column not in best or c.difference.value < best[column].difference.value:
            best[column] = c
    return list(best.values())


def not_ahead(comparisons: Iterable[Comparison]) -> list[Comparison]:
    """Those of `against_training_free` whose lead is negative or unresolved, worst first."""
    behind = [c for c in against_training_free(comparisons) if not _is_ahead(c)]
    return sorted(behind, key=lambda c: c.difference.value)


def settings_below(comparisons: Iterable[Comparison]) -> str:
    """In how many settings LA is below the best training-free comparator, which, by how much.

    Then in how many it is ahead and in how many the difference is unresolved; "" where LA has not
    been compared with a training-free method.
    """
    columns = against_training_free(comparisons)
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
        sentence = f"Of {n_settings} LA is below {_best(columns)} in none; it is {rest}."
        return f"{sentence}{_over_folds(columns)}"
    settings: dict[str, list[str]] = {}
    for c in below:
        settings.setdefault(c.prompts, []).append(c.setting)
    named = [f"{_listed(names)} with {prompts}" for prompts, names in settings.items()]
    points = [-100 * c.difference.value for c in below]
    distance = f"by up to {max(points):.1f} points"
    return (
        f"LA is below {_best(below)} in {len(below)} of {n_settings}, "
        f"{distance}: {'; '.join(named)}. It is {rest}.{_over_folds(columns)}"
    )


def named_first(results: Iterable[Result], comparisons: Sequence[Comparison]) -> str:
    """The sentence that names the columns of `not_ahead`, with both scores; "" if there is none.

    Columns in which LA scores less come before those in which its lead is unresolved.
    """
    results = list(results)
    columns = not_ahead(comparisons)
    shows_prompts = len({r.measurement.kinds for r in results}) > 1
    scores = _means(results)
    below = []
    unclear = []
    for c in columns:
        la = scores[c.method, c.prompts, c.setting]
        best = scores[c.other, c.prompts, c.setting]
        prompts = f" with {c.prompts}" if shows_prompts else ""
        unresolved = "" if c.difference.resolved else ", unresolved"
        text = f"{c.setting}{prompts} ({la:.1f} against {best:.1f} %{unresolved})"
        if c.difference.value < 0:
            below.append(text)
        else:
            unclear.append(text)
    texts = []
    if below:
        texts.append(f"below {_best(columns)} in {_listed(below)}")
    if unclear:
        name = "it" if below else _best(columns)
        texts.append(f"not clearly above {name} in {_listed(unclear)}")
    return f"LA is {', and '.join(texts)}." if texts else ""


def _over_folds(comparisons: Sequence[Comparison]) -> str:
    """How many leads and losses the interval over folds, i.e. other classes, leaves resolved.

    "" where there is only one fold.
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


def _best(columns: Sequence[Comparison]) -> str:
    """The best training-free comparator with its name; of several, in how many columns each is."""
    names = [label(c.other) for c in columns]
    counts = [f"{name} in {counted(names.count(name), 'setting')}" for name in dict.fromkeys(names)]
    named = names[0] if len(counts) == 1 else _listed(counts)
    return f"the best training-free comparator ({named})"


def _is_training_free(name: str) -> bool:
    """Whether a method is compared without training; references are no comparators."""
    return name in KNOWN and KNOWN[name].build is not None and name not in REFERENCES


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
