"""The paper's Tables 1-5: its numbers as data, and ours in the same layout, never mixed."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd

from la.config import ABLATIONS, PROTOCOLS, PUBLISHED, profile
from la.errors import UserError
from la.experiment.methods import METHODS, Variant, label
from la.experiment.results import Cell, CellResult
from la.report.statistics import Interval, paired_bootstrap, t_interval
from la.types import PromptKind

PUBLISHED_TABLES = Path(__file__).parents[2] / "results" / "published" / "tables.csv"


def published() -> pd.DataFrame:
    """Every number of the paper's Tables 1-5 as printed, one a line, in the paper's order.

    Columns: table (1-5), row (the system or configuration as printed, without its citation number),
    setting (such as "1-way 5-shot"), fold ("0" to "3", or "mean"), value (mIoU in percent), note
    (where the paper contradicts itself, else ""). Tables 3 and 5 are means over folds, Table 4 is
    fold 0; both 4 and 5 are LA (SAM). Other systems were scored under protocols of their own.
    """
    return pd.read_csv(PUBLISHED_TABLES, dtype={"fold": str}, keep_default_na=False)


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
_CURVES = ("la", *_RIVALS)
TRAINING_SEEDS = (0, 1, 2, 3, 4)  # of each model of Table 4
_SUMMARISED = ("la", "threshold_prototype")
_PAPER_PROMPTS = {  # rows of the paper's tables that are a mean of LA: their prompts in our words
    "LA (SAM)": "masks",
    "LA (MAE)": "masks",
    "Only masks": "masks",
    "Boxes and points": "boxes and points",
    "Only boxes": "boxes",
    "Only points": "points",
}

TABLES = {
    "table1": Table(tuple(METHODS), ((1, 1), (1, 5))),
    "table2": Table(tuple(METHODS), ((2, 1), (5, 1))),
    "table3": Table((*_CURVES, "token_grid"), tuple((n, 1) for n in _WAYS)),
    "table4": Table(
        tuple(Variant(a, s).name for a in ABLATIONS for s in TRAINING_SEEDS),
        ((1, 1), (2, 1)),
    ),
    "table5": Table(
        ("la", "threshold_prototype", "affinity"),
        ((1, 1), (1, 5), (2, 1), (2, 5)),
        ((_MASK,), (_BOX, _POINT), (_BOX,), (_POINT,)),
    ),
    "figure3": Table(("la",), ((2, 1),)),
    "protocol": Table(("la", "threshold_prototype"), ((1, 1), (5, 1)), protocols=tuple(PROTOCOLS)),
    "curves": Table(_CURVES, (*((n, 1) for n in _WAYS), (1, 2), (1, 5), (1, 10))),
    "train": Table(("la",), ((1, 1),)),
    "own_method": Table(("la", *_RIVALS), ((1, 1), (2, 1))),
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
        raise UserError(f"no table {name!r}; known: {', '.join(TABLES)}")
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
    keys = ["prompts", "method", "setting", "N", "K"]
    lines = pd.DataFrame(
        [
            (prompts_of(r.cell), label(r.cell.method), r.cell.setting, r.cell.n_ways,
             r.cell.k_shots, str(r.cell.fold), r.cell.seed, 100 * r.scores.miou_star)
            for r in in_order(results)
        ],
        columns=[*keys, "fold", "seed", "value"],
    )  # fmt: skip
    means = lines.groupby([*keys, "seed"], sort=False)["value"].mean().reset_index()
    groups = pd.concat([lines, means.assign(fold="mean")]).groupby([*keys, "fold"], sort=False)
    half_width = groups["value"].agg(lambda values: t_interval(values).half_width)
    return groups["value"].mean().to_frame().assign(half_width=half_width).reset_index()


def ours(results: Iterable[CellResult]) -> pd.DataFrame:
    """`scores` as the paper prints them: a row a method, columns (setting, fold-i | mean | +-)."""
    tidy = scores(results)
    means = tidy[tidy["fold"] == "mean"]
    tidy = pd.concat([tidy, means.assign(fold="+-", value=means["half_width"])])
    return _one_kind(_as_printed(tidy, ["prompts", "method"])).round(1)


def means(results: Iterable[CellResult]) -> pd.DataFrame:
    """Means over folds with their intervals, as text: a row a method, a column a setting."""
    return _one_kind(_texts(results, ["prompts", "method"], "setting"))


def summary(results: Iterable[CellResult]) -> pd.DataFrame:
    """Every setting once: ours with intervals; beside it, under its own header, the paper's.

    Only protocol `clean`; a setting printed in several of the paper's tables takes the first.

    Raises:
        ValueError: there is no result to show.
    """
    kept = [r for r in results if r.cell.protocol == "clean" and r.cell.method in _SUMMARISED]
    if not kept:
        raise UserError("nothing has been computed yet; `make reproduce` computes all tables")
    kept.sort(key=lambda r: (r.cell.n_ways, r.cell.k_shots, _SUMMARISED.index(r.cell.method)))
    ours = _texts(kept, ["prompts", "setting"], "method")
    paper = published().query("fold == 'mean'")
    paper = paper.assign(prompts=paper["row"].map(_PAPER_PROMPTS)).dropna()
    paper["system"] = paper["row"].where(paper["row"] == "LA (MAE)", "LA (SAM)")
    paper = paper.pivot_table(
        "value", ["prompts", "setting"], "system", aggfunc="first", sort=False
    ).reindex(index=ours.index, columns=["LA (SAM)", "LA (MAE)"])
    frame = pd.concat({"ours": ours, "the paper (COCO-20i)": paper}, axis=1).fillna("")
    return frame.rename_axis(index=(None, None), columns=(None, None))


def differences(results: Iterable[CellResult], name: str = "la") -> pd.DataFrame:
    """`name` minus each other method in points of mIoU*, with a paired bootstrap over episodes.

    Episodes of all folds and seeds are resampled within their own list, and lists are averaged.
    """
    results = in_order(results)
    own = {r.cell: r.scores.intersection_union() for r in results if r.cell.method == name}
    found: dict[tuple[str, str, str], list[Interval]] = {}
    for r in results:
        ours = own.get(replace(r.cell, method=name))
        if r.cell.method != name and ours is not None:
            row = found.setdefault((prompts_of(r.cell), r.cell.setting, label(r.cell.method)), [])
            theirs = r.scores.intersection_union()
            row.append(paired_bootstrap(ours, theirs, seed=len(row), resamples=200))
    rows = []
    for key, pairs in found.items():
        value = 100 * np.mean([p.value for p in pairs])
        error = 100 * np.linalg.norm([p.half_width for p in pairs]) / len(pairs)
        verdict = "" if abs(value) > error else "unresolved"
        rows.append((*key, round(value, 1), round(error, 1), verdict))
    names = ["prompts", "setting", f"{label(name)} minus", "points", "+-", ""]
    return _one_kind(pd.DataFrame(rows, columns=names).set_index(names[:3]))


def beside(name: str) -> pd.DataFrame:
    """The paper's own table in the same layout, to be shown apart from ours."""
    return _as_printed(published().query(f"table == {name[-1]}"), "row").rename_axis(None)


def in_order(results: Iterable[CellResult]) -> list[CellResult]:
    """Those of one kind of prompts together, then those of one setting, else as they come."""
    results = list(results)
    kinds = list(dict.fromkeys(r.cell.kinds for r in results))
    settings = list(dict.fromkeys(r.cell.setting for r in results))
    return sorted(
        results, key=lambda r: (kinds.index(r.cell.kinds), settings.index(r.cell.setting))
    )


def prompts_of(cell: Cell) -> str:
    """The kinds of prompts in a table's words, such as `boxes and points`."""
    plural = {_MASK: "masks", _BOX: "boxes", _POINT: "points"}
    return " and ".join(plural[kind] for kind in cell.kinds)


def _texts(results: Iterable[CellResult], rows: list[str], columns: str) -> pd.DataFrame:
    """Means over folds, with half of their interval if they have one."""
    tidy = scores(results).query("fold == 'mean'")
    numbers = zip(tidy["value"], tidy["half_width"], strict=True)
    text = [f"{value:.1f}" + (f" ± {half:.1f}" if half == half else "") for value, half in numbers]
    wide = tidy.assign(text=text).pivot_table("text", rows, columns, aggfunc="first", sort=False)
    return wide.rename_axis(columns=None)


def _as_printed(tidy: pd.DataFrame, rows: str | list[str]) -> pd.DataFrame:
    """Columns (setting, fold), the folds of a setting together; rows and settings as they come."""
    fold = tidy["fold"].where(tidy["fold"].isin(["mean", "+-"]), "fold-" + tidy["fold"])
    wide = tidy.assign(fold=fold).pivot_table("value", rows, ["setting", "fold"], sort=False)
    columns = {setting: wide[setting] for setting in tidy["setting"].unique()}
    return pd.concat(columns, axis=1).rename_axis(columns=(None, None))


def _one_kind(frame: pd.DataFrame) -> pd.DataFrame:
    """Rows name their prompts only where there are several kinds of them."""
    same = frame.index.get_level_values(0).nunique() < 2
    frame = frame.droplevel(0) if same else frame
    return frame.rename_axis([None if n in ("method", "prompts") else n for n in frame.index.names])
