"""The measured tables of docs/comparators.md, made from the stored results of the quick profile."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd

from la.experiment.measurements import Result, read_lines
from la.experiment.methods import KNOWN, RIVALS
from la.report.shadows import not_above_shadow, shadows

SETTINGS = {(1, 1): "1-way 1-shot", (1, 5): "1-way 5-shot"}
SETTINGS |= {(2, 1): "2-way 1-shot", (5, 1): "5-way 1-shot"}
EXCHANGED = [(1, 1), (2, 1)]  # settings whose cost of exchanged supports is printed
WAYS = {(n, 1): f"{n}-way" for n in (1, 2, 3, 4, 5, 10, 15, 20)}  # as in the paper's Table 3
TABLES = ("table1", "table2", "table3", "prompts_used")
REFERENCES = ("floor", "token_grid")  # not methods, and no prompt is read

Stored = dict[str, list[dict[str, Any]]]  # the stored lines of each of `TABLES`


def stored_lines(results: Path) -> Stored:
    """The lines of the tables that `comparators` and `comparators_by_ways` are made from."""
    folder = results / "measurements"
    return {table: [*read_lines(folder / f"{table}.jsonl").values()] for table in TABLES}


def comparators(stored: Stored) -> str:
    """mIoU* of LA and all comparators on the first list of each fold, as Markdown.

    A method is a row if all four folds are stored in each of `SETTINGS`. A sentence before the
    table names the trained comparators that are not above their training-free shadow.
    """
    scores = _first_lists(stored)
    own = _means(scores[scores["supports"] == "own"])
    exchanged = _means(scores[scores["supports"] == "exchanged"])
    lost = 1 - exchanged / own
    own = own[[*SETTINGS]].dropna()
    title = "share lost with exchanged supports, 1-way / 2-way 1-shot"
    last = {method: _cost(lost, method) for method in own.index}
    table = _markdown(own, [*SETTINGS.values(), title], last)
    of_rows = [result for result in _results(stored) if result.measurement.method in own.index]
    return f"**{not_above_shadow(shadows(of_rows)).sentence}**\n\n{table}"


def comparators_by_ways(stored: Stored) -> str:
    """mIoU* with one shot against the number of classes, as Markdown; rows as in `comparators`.

    The last column is the share of the 1-way score that is left with the most classes.
    """
    scores = _first_lists(stored)
    own = _means(scores[scores["supports"] == "own"])[[*WAYS]].dropna()
    first, *_, most = WAYS
    kept = own[most] / own[first]
    last = {method: f"{100 * share:.0f} %" for method, share in kept.items()}
    return _markdown(own, [*WAYS.values(), f"kept at {most[0]}-way"], last)


def _markdown(means: pd.DataFrame, titles: list[str], last: dict[str, str]) -> str:
    """Rows of percentages from the best in the first column down, the best of each bold."""
    best = means.max()
    lines = [["", *titles], ["---"] * (len(titles) + 1)]
    ordered = means.sort_values(means.columns[0], ascending=False, kind="stable")
    for method, row in ordered.iterrows():
        cells = []
        for setting, score in row.items():
            text = f"{100 * score:.1f}"
            cells.append(f"**{text}**" if score == best[setting] else text)
        lines.append([_name(method), *cells, last[method]])
    return "".join("| " + " | ".join(line) + " |\n" for line in lines)


def _results(stored: Stored) -> Iterator[Result]:
    """The results behind the table of `comparators`."""
    for table in TABLES[:2]:
        for line in stored[table]:
            result = Result.from_json(line)
            shape = (result.measurement.n_ways, result.measurement.k_shots)
            if result.measurement.seed == 0 and shape in SETTINGS:
                yield result


def _first_lists(stored: Stored) -> pd.DataFrame:
    """A row for each stored number with masks on the first list of a fold."""
    rows = {}
    for table in TABLES:
        for line in stored[table]:
            measured = line["measurement"]
            is_first = measured["seed"] == 0 and measured["kinds"] == ["mask"]
            if is_first and measured["method"] not in REFERENCES:
                setting = (measured["n_ways"], measured["k_shots"])
                place = (measured["method"], setting, measured["supports"], measured["fold"])
                rows[place] = line["miou_star"]
    columns = ["method", "setting", "supports", "fold", "score"]
    return pd.DataFrame([(*place, score) for place, score in rows.items()], columns=columns)


def _means(scores: pd.DataFrame) -> pd.DataFrame:
    """The mean of four folds by method and setting; NaN where a fold is missing."""
    groups = scores.groupby(["method", "setting"])["score"]
    means = groups.mean().where(groups.count() == 4)
    return means.unstack()


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
