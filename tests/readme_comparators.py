"""The measured tables of docs/comparators.md, made from the stored results of the quick profile."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from la.experiment.methods import KNOWN, RIVALS
from la.experiment.setup.measurements import Result, read_lines
from la.report.scores.statistics import t_interval
from la.report.verdicts.shadows import not_above_shadow, shadows

SETTINGS = {(1, 1): "1-way 1-shot", (1, 5): "1-way 5-shot"}
SETTINGS |= {(2, 1): "2-way 1-shot", (5, 1): "5-way 1-shot"}
EXCHANGED = [(1, 1), (2, 1)]  # settings whose cost of exchanged supports is printed
WAYS = {(n, 1): f"{n}-way" for n in (1, 2, 3, 4, 5, 10, 15, 20)}  # as in the paper's Table 3
TABLES = ("table1", "table2", "table3", "prompts_used")
FOLDS, LISTS = 4, 3
REFERENCES = ("floor", "token_grid")  # not methods, and no prompt is read

Stored = dict[str, list[dict[str, Any]]]  # the stored lines of each of `TABLES`


def stored_lines(results: Path) -> Stored:
    """The lines of the tables that `comparators` and `comparators_by_ways` are made from."""
    folder = results / "measurements"
    return {table: [*read_lines(folder / f"{table}.jsonl").values()] for table in TABLES}


def comparators(stored: Stored) -> str:
    """mIoU* of LA and all comparators, as Markdown; a method is a row as `_rows` says.

    A sentence before the table names the trained comparators that are not above their
    training-free shadow.
    """
    scores = _scores(stored)
    means, half_widths = _rows(scores, [*SETTINGS])
    # The use of prompts was measured on the first list alone.
    first = scores[scores["seed"] == 0].pivot_table("score", ["method", "setting"], "supports")
    lost = (1 - first["exchanged"] / first["own"]).unstack()
    title = "share lost with exchanged supports, 1-way / 2-way 1-shot"
    last = {method: _cost(lost, method) for method in means.index}
    table = _markdown(means, half_widths, [*SETTINGS.values(), title], last)
    of_rows = [result for result in _results(stored) if result.measurement.method in means.index]
    return f"**{not_above_shadow(shadows(of_rows)).sentence}**\n\n{table}"


def comparators_by_ways(stored: Stored) -> str:
    """mIoU* with one shot against the number of classes, as Markdown; rows as in `comparators`.

    The last column is the share of the 1-way score that is left with the most classes.
    """
    means, half_widths = _rows(_scores(stored), [*WAYS])
    first, *_, most = WAYS
    kept = means[most] / means[first]
    last = {method: f"{100 * share:.0f} %" for method, share in kept.items()}
    titles = [*WAYS.values(), f"kept at {most[0]}-way"]
    return _markdown(means, half_widths, titles, last)


def _markdown(
    means: pd.DataFrame, half_widths: pd.DataFrame, titles: list[str], last: dict[str, str]
) -> str:
    """Rows of percentages from the best in the first column down, the best of each bold."""
    best = means.max()
    lines = [["", *titles], ["---"] * (len(titles) + 1)]
    ordered = means.sort_values(means.columns[0], ascending=False, kind="stable")
    for method, row in ordered.iterrows():
        cells = []
        for setting, score in row.items():
            half_width = half_widths[setting][method]
            interval = "" if np.isnan(half_width) else f" ± {100 * half_width:.1f}"
            text = f"{100 * score:.1f}{interval}"
            cells.append(f"**{text}**" if score == best[setting] else text)
        lines.append([_name(method), *cells, last[method]])
    return "".join("| " + " | ".join(line) + " |\n" for line in lines)


def _results(stored: Stored) -> Iterator[Result]:
    """The results behind the table of `comparators`."""
    for table in TABLES[:2]:
        for line in stored[table]:
            result = Result.from_json(line)
            if (result.measurement.n_ways, result.measurement.k_shots) in SETTINGS:
                yield result


def _scores(stored: Stored) -> pd.DataFrame:
    """The mean of the four folds for each method, setting and list, with masks."""
    rows = {}
    for table in TABLES:
        for line in stored[table]:
            measured = line["measurement"]
            if measured["kinds"] == ["mask"] and measured["method"] not in REFERENCES:
                setting = (measured["n_ways"], measured["k_shots"])
                place = (measured["method"], setting, measured["supports"], measured["seed"])
                rows[*place, measured["fold"]] = line["miou_star"]
    columns = ["method", "setting", "supports", "seed", "fold", "score"]
    of_folds = pd.DataFrame([(*place, score) for place, score in rows.items()], columns=columns)
    groups = of_folds.groupby(columns[:4])["score"]
    return groups.mean()[groups.count() == FOLDS].reset_index()


def _rows(
    scores: pd.DataFrame, settings: Sequence[tuple[int, int]]
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Means over lists, and half of their 95 % t-intervals, by method and setting.

    A method is a row if it has a list with all settings, and the other lists do not count. The
    interval is NaN where one of the `LISTS` is missing.
    """
    own = scores[scores["supports"] == "own"]
    complete = own.pivot_table("score", ["method", "seed"], "setting")[[*settings]].dropna()
    lists = complete.groupby("method")
    half_widths = lists.agg(lambda values: t_interval(values).half_width)
    return lists.mean(), half_widths[lists.size() == LISTS].reindex(lists.groups)


def _name(method: str) -> str:
    name = KNOWN[method].label.removesuffix(", in this harness")
    is_trained = method == "la" or KNOWN[method].network is not None
    return name if is_trained or method == "class_prior" else f"{name}, not trained"


def _cost(lost: pd.DataFrame, method: str) -> str:
    """What exchanged supports cost a row of `RIVALS`, "" where it was not measured."""
    if method not in RIVALS or method not in lost.index:
        return ""
    shares = lost.loc[method, EXCHANGED]
    return "" if shares.isna().any() else " / ".join(f"{100 * share:.0f} %" for share in shares)
