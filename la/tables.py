"""The paper's Tables 1-5: its numbers as data, and ours in the same layout, never mixed."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from importlib.resources import files

import numpy as np
import pandas as pd

from la.config import ABLATIONS, PROTOCOLS, PUBLISHED, profile
from la.methods import METHODS, Variant, label
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
    """What a notebook compares: methods by settings, prompt kinds and protocols."""

    methods: tuple[str, ...]
    shapes: tuple[tuple[int, int], ...]  # (n_ways, k_shots)
    kinds: tuple[tuple[PromptKind, ...], ...] = ((PromptKind.MASK,),)
    protocols: tuple[str, ...] = ("clean",)


_MASK, _BOX, _POINT = PromptKind
_WAYS = (1, 2, 3, 4, 5, 10, 15, 20)
_RIVALS = ("threshold_prototype", "prototype", "affinity")
_CURVES = ("la+", "la", *_RIVALS)
TRAINING_SEEDS = (0, 1, 2)  # of each model of Table 4

TABLES = {
    "table1": Table(tuple(METHODS), ((1, 1), (1, 5))),
    "table2": Table(tuple(METHODS), ((2, 1), (5, 1))),
    "table3": Table((*_CURVES, "grid_ceiling"), tuple((n, 1) for n in _WAYS)),
    "table4": Table(
        tuple(
            Variant(m, a, s).name for m in ("la+", "la") for a in ABLATIONS for s in TRAINING_SEEDS
        ),
        ((1, 1), (2, 1)),
    ),
    "table5": Table(
        ("la+", "la", "threshold_prototype", "affinity"),
        ((1, 1), (1, 5), (2, 1), (2, 5)),
        ((_MASK,), (_BOX, _POINT), (_BOX,), (_POINT,)),
    ),
    "figure3": Table(("la+",), ((2, 1),)),
    "protocol": Table(("la+", "threshold_prototype"), ((1, 1), (5, 1)), protocols=tuple(PROTOCOLS)),
    "curves": Table(_CURVES, (*((n, 1) for n in _WAYS), (1, 2), (1, 5), (1, 10))),
    "train": Table(("la+", "la"), ((1, 1),)),
    "own_method": Table(("la+", *_RIVALS), ((1, 1), (2, 1))),
}


def cells(
    name: str,
    profile_name: str,
    *,
    folds: Sequence[int],
    seeds: Sequence[int] | None = None,
    episodes: int | None = None,
    protocol: str | None = None,
) -> list[Cell]:
    """The cells of a table; equal cells of two tables are one cell, computed once.

    What is None is as the profile, and for the protocol the table, has it.

    Raises:
        ValueError: there is no such table or profile.
    """
    if name not in TABLES:
        raise ValueError(f"no table {name!r}; known: {', '.join(TABLES)}")
    table, usual = TABLES[name], profile(profile_name).evaluation
    return [
        Cell(method, fold, n_ways, k_shots, seed, episodes or usual.episodes, kinds, rules)
        for method in (("published", "floor") if profile_name == PUBLISHED else table.methods)
        for n_ways, k_shots in table.shapes
        for kinds in table.kinds
        for rules in ((protocol,) if protocol else table.protocols)
        for fold in folds
        for seed in (usual.seeds if seeds is None else seeds)
    ]


def scores(results: Iterable[CellResult]) -> pd.DataFrame:
    """mIoU* in percent, a line for each prompts, method, setting and fold ("0" to "3", "mean").

    `value` is the mean over seeds, `half_width` half of its 95 % t-interval over them; for "mean"
    each seed's value is its mean over the folds. NaN with one seed.
    """
    keys = ["prompts", "method", "setting"]
    lines = pd.DataFrame(
        [
            (prompts_of(r.cell), label(r.cell.method), r.cell.setting, str(r.cell.fold),
             r.cell.seed, 100 * r.scores.miou_star)
            for r in results
        ],
        columns=[*keys, "fold", "seed", "value"],
    )  # fmt: skip
    means = lines.groupby([*keys, "seed"], sort=False)["value"].mean().reset_index()
    both = pd.concat([lines, means.assign(fold="mean")])
    groups = both.groupby([*keys, "fold"], sort=False)["value"]
    found = [(*key, t_interval(values.tolist())) for key, values in groups]
    return pd.DataFrame(
        [(*key, interval.value, interval.half_width) for *key, interval in found],
        columns=[*keys, "fold", "value", "half_width"],
    )


def ours(results: Sequence[CellResult]) -> pd.DataFrame:
    """`scores` as the paper prints them: a row a method, columns (setting, fold-i | mean | +-)."""
    tidy = scores(results)
    means = tidy[tidy["fold"] == "mean"]
    rows = [
        tidy.assign(fold=tidy["fold"].where(tidy["fold"] == "mean", "fold-" + tidy["fold"])),
        means.assign(fold="+-", value=means["half_width"]),
    ]
    index = ["prompts", "method"]
    wide = pd.concat(rows).pivot(index=index, columns=["setting", "fold"], values="value")
    folds = [*sorted({f for _, f in wide} - {"mean", "+-"}), "mean", "+-"]
    wide = wide[[(s, f) for s in dict.fromkeys(tidy["setting"]) for f in folds]]
    return _in_order(wide, tidy, index).rename_axis(columns=(None, None)).round(1)


def means(results: Sequence[CellResult]) -> pd.DataFrame:
    """Means over folds with their intervals, as text: a row a method, a column a setting."""
    tidy = scores(results)
    tidy = tidy[tidy["fold"] == "mean"]
    index = ["prompts", "method"]
    text = tidy.assign(text=[*map(plus_minus, tidy["value"], tidy["half_width"])])
    wide = text.pivot(index=index, columns="setting", values="text")
    wide = wide[list(dict.fromkeys(tidy["setting"]))]
    return _in_order(wide, tidy, index).rename_axis(columns=None)


def differences(results: Sequence[CellResult], name: str = "la+") -> pd.DataFrame:
    """`name` minus each other method in points of mIoU*, with a paired bootstrap over episodes.

    Episodes of all folds and seeds are resampled within their own list, and lists are averaged.
    """
    rows = []
    for (prompts, setting), group in _grouped(
        results, lambda r: (prompts_of(r.cell), r.cell.setting)
    ):
        lists = {(r.cell.method, r.cell.fold, r.cell.seed): r.scores for r in group}
        for other in dict.fromkeys(r.cell.method for r in group if r.cell.method != name):
            pairs = [
                (scores.intersection_union(), lists[other, fold, seed].intersection_union())
                for (method_name, fold, seed), scores in lists.items()
                if method_name == name and (other, fold, seed) in lists
            ]
            if not pairs:
                continue
            found = [
                paired_bootstrap(a, b, seed=i, resamples=200) for i, (a, b) in enumerate(pairs)
            ]
            value = 100 * float(np.mean([f.value for f in found]))
            error = 100 * float(np.sqrt(np.sum([(f.half_width) ** 2 for f in found]))) / len(found)
            verdict = "" if abs(value) > error else "unresolved"
            rows.append((prompts, setting, label(other), round(value, 1), round(error, 1), verdict))
    names = ["prompts", "setting", f"{label(name)} minus", "points", "+-", ""]
    return _without_one_prompt(pd.DataFrame(rows, columns=names).set_index(names[:3]))


def beside(name: str) -> pd.DataFrame:
    """The paper's own table in the same layout, to be shown apart from ours."""
    table = published().query("table == @number", local_dict={"number": int(name[-1])})
    fold = table["fold"].where(table["fold"] == "mean", "fold-" + table["fold"])
    wide = table.assign(fold=fold).pivot_table(
        index="row", columns=["setting", "fold"], values="value", sort=False
    )
    return wide.rename_axis(index=None, columns=(None, None))


def prompts_of(cell: Cell) -> str:
    """The kinds of prompts in a table's words, such as `boxes and points`."""
    plural = {_MASK: "masks", _BOX: "boxes", _POINT: "points"}
    return " and ".join(plural[kind] for kind in cell.kinds)


def plus_minus(value: float, half_width: float) -> str:
    """A value with half of its interval, if it has one."""
    return f"{value:.1f}" if half_width != half_width else f"{value:.1f} ± {half_width:.1f}"


def _in_order(wide: pd.DataFrame, tidy: pd.DataFrame, index: list[str]) -> pd.DataFrame:
    """Rows as they came, those of one kind of prompts together."""
    first, second = (list(dict.fromkeys(tidy[name])) for name in index)
    rows = [(a, b) for a in first for b in second if (a, b) in wide.index]
    return _without_one_prompt(wide.reindex(rows))


def _without_one_prompt(frame: pd.DataFrame) -> pd.DataFrame:
    """Rows name their prompts only where there are several kinds of them."""
    same = frame.index.get_level_values(0).nunique() < 2
    frame = frame.droplevel(0) if same else frame
    return frame.rename_axis([None if n in ("method", "prompts") else n for n in frame.index.names])


def _grouped(items, key):
    groups: dict = {}
    for item in items:
        groups.setdefault(key(item), []).append(item)
    return groups.items()
