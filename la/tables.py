"""The paper's Tables 1-5: its numbers as data, and ours in the same layout, never mixed."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

import numpy as np
import pandas as pd

from la.data.atomic import atomic_write
from la.methods import method
from la.results import Cell, CellResult
from la.statistics import paired_bootstrap, t_interval
from la.types import PromptKind


def published() -> pd.DataFrame:
    """Every number of the paper's Tables 1-5 as printed, one a line, in the paper's order.

    Columns: table (1-5), row (the system or configuration as printed, without its citation number),
    setting (such as "1-way 5-shot"), fold ("0" to "3", or "mean"), value (mIoU in percent), note
    (where the paper contradicts itself, else ""). Tables 3 and 5 are means over folds, Table 4 is
    fold 0; both 4 and 5 are LA (SAM). Other systems were scored under protocols of their own.
    """
    path = files("la") / "published" / "tables.csv"
    with path.open(encoding="utf-8") as file:
        return pd.read_csv(file, dtype={"fold": str}, keep_default_na=False)


@dataclass(frozen=True)
class Table:
    """What a table compares: rows (methods) by columns (settings and prompt kinds)."""

    methods: tuple[str, ...]
    shapes: tuple[tuple[int, int], ...]  # (n_ways, k_shots)
    kinds: tuple[tuple[PromptKind, ...], ...] = ((PromptKind.MASK,),)


_ROWS = ("la+", "la+ uncalibrated", "la", "threshold_prototype", "prototype", "floor")
_MASK, _BOX, _POINT = PromptKind

TABLES = {
    "table1": Table(_ROWS, ((1, 1), (1, 5))),
    "table2": Table(_ROWS, ((2, 1), (5, 1))),
    "table3": Table(
        ("la+", "la", "affinity", "threshold_prototype"),
        tuple((n, 1) for n in (1, 2, 3, 4, 5, 10, 15, 20)),
    ),
    "table5": Table(
        ("la+", "la", "threshold_prototype"),
        ((1, 1), (1, 5), (2, 1), (2, 5)),
        ((_MASK,), (_BOX, _POINT), (_BOX,), (_POINT,)),
    ),
}


def cells(
    name: str, *, folds: Sequence[int], seeds: Sequence[int], episodes: int, protocol: str = "clean"
) -> list[Cell]:
    """The cells of a table; equal cells of two tables are one cell, computed once.

    Raises:
        ValueError: there is no such table.
    """
    if name not in TABLES:
        raise ValueError(f"no table {name!r}; known: {', '.join(TABLES)}")
    table = TABLES[name]
    return [
        Cell(method, fold, n_ways, k_shots, seed, episodes, kinds, protocol)
        for method in table.methods
        for n_ways, k_shots in table.shapes
        for kinds in table.kinds
        for fold in folds
        for seed in seeds
    ]


def ours(results: Sequence[CellResult]) -> pd.DataFrame:
    """mIoU* in percent: a row a method, columns (setting, fold-i | mean | +-).

    `mean` is over folds; `+-` is half the 95 % t-interval of that mean over the seeds.
    """
    columns: dict[tuple[str, str], dict[str, float]] = {}
    labels = dict.fromkeys(method(r.cell.method).label for r in results)
    for setting, of_setting in _grouped(results, lambda r: r.cell.setting):
        for name, group in _grouped(of_setting, lambda r: r.cell.method):
            values = pd.DataFrame(
                {(r.cell.fold, r.cell.seed): 100 * r.scores.miou_star for r in group}, index=["x"]
            ).T["x"]
            label = method(name).label
            for fold, by_seed in values.groupby(level=0):
                columns.setdefault((setting, f"fold-{fold}"), {})[label] = by_seed.mean()
            interval = t_interval(values.groupby(level=1).mean().tolist())
            columns.setdefault((setting, "mean"), {})[label] = interval.value
            columns.setdefault((setting, "+-"), {})[label] = interval.half_width
    order = {"mean": "x", "+-": "y"}
    names = sorted(columns, key=lambda c: (_first(results, c[0]), order.get(c[1], c[1])))
    return pd.DataFrame({c: columns[c] for c in names}).reindex(labels).round(1)


def differences(results: Sequence[CellResult], name: str = "la+") -> pd.DataFrame:
    """`name` minus each other method in points of mIoU*, with a paired bootstrap over episodes.

    Episodes of all folds and seeds are resampled within their own list, and lists are averaged.
    """
    rows = []
    for setting, group in _grouped(results, lambda r: r.cell.setting):
        lists = {(r.cell.method, r.cell.fold, r.cell.seed): r.scores for r in group}
        for other in dict.fromkeys(r.cell.method for r in group if r.cell.method != name):
            pairs = [
                (scores.intersection_union(), lists[other, fold, seed].intersection_union())
                for (method_name, fold, seed), scores in lists.items()
                if method_name == name
            ]
            found = [paired_bootstrap(a, b, seed=i, resamples=200) for i, (a, b) in enumerate(pairs)]
            value = 100 * float(np.mean([f.value for f in found]))
            error = 100 * float(np.sqrt(np.sum([(f.half_width) ** 2 for f in found]))) / len(found)
            verdict = "" if abs(value) > error else "unresolved"
            rows.append((setting, method(other).label, round(value, 1), round(error, 1), verdict))
    names = ["setting", f"{method(name).label} minus", "points", "+-", ""]
    return pd.DataFrame(rows, columns=names).set_index(names[:2])


def beside(name: str) -> pd.DataFrame:
    """The paper's own table in the same layout, to be shown apart from ours."""
    table = published().query("table == @number", local_dict={"number": int(name[-1])})
    fold = table["fold"].where(table["fold"] == "mean", "fold-" + table["fold"])
    wide = table.assign(fold=fold).pivot_table(
        index="row", columns=["setting", "fold"], values="value", sort=False
    )
    return wide.rename_axis(index=None, columns=(None, None))


def provenance(results: Sequence[CellResult]) -> pd.DataFrame:
    """What a reader needs to make the numbers again, one line a fact."""
    one = results[0]
    lists = {(r.cell.setting, r.cell.fold, r.cell.seed): r.episodes_sha256 for r in results}
    models = {(r.cell.method, r.cell.fold): r.checkpoint_sha256 for r in results}
    facts = {
        "data": one.data,
        "episodes of a list": one.cell.episodes,
        "seeds": sorted({r.cell.seed for r in results}),
        "protocol": one.cell.protocol,
        "episode lists (SHA-256 of all)": _sha256(lists),
        "checkpoints (SHA-256 of all)": _sha256(models),
        "minutes of evaluation": round(sum(r.seconds for r in results) / 60, 1),
    } | one.provenance
    return pd.DataFrame({"": facts.values()}, index=list(facts))


def markdown(frame: pd.DataFrame) -> str:
    """The frame as a Markdown table; two-row headers are joined."""
    flat = frame.copy()
    flat.columns = [" ".join(c) if isinstance(c, tuple) else str(c) for c in flat.columns]
    flat = flat.reset_index()
    rows = [[str(c) for c in flat.columns], ["---"] * flat.shape[1]]
    rows += [["" if v != v else str(v) for v in row] for row in flat.itertuples(index=False)]
    rows[0] = ["" if name == "index" else name for name in rows[0]]
    return "".join("| " + " | ".join(row) + " |\n" for row in rows)


def write_markdown(folder: Path, name: str, headline: str, results: Sequence[CellResult]) -> Path:
    """`<name>.md` in the results folder: ours, the differences, the paper's numbers apart."""
    text = (
        f"# {name.capitalize()}\n\n{headline}\n\n## Ours: mIoU* in percent\n\n{markdown(ours(results))}\n"
        f"## LA+ minus each other method\n\n{markdown(differences(results))}\n"
        f"## The paper's numbers (COCO-20i, another setting)\n\n{markdown(beside(name))}\n"
        f"## Where the numbers come from\n\n{markdown(provenance(results))}"
    )
    path = folder / f"{name}.md"
    with atomic_write(path) as file:
        file.write(text.encode())
    return path


def _sha256(values: dict) -> str:
    return hashlib.sha256(repr(sorted(values.items())).encode()).hexdigest()[:16]


def _grouped(items, key):
    groups: dict = {}
    for item in items:
        groups.setdefault(key(item), []).append(item)
    return groups.items()


def _first(results: Sequence[CellResult], setting: str) -> int:
    return next(i for i, r in enumerate(results) if r.cell.setting == setting)
