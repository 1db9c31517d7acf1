"""The paper's Tables 1-5: its numbers as data, and ours in the same layout, never mixed."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import pandas as pd

from la.config import PROTOCOLS, PUBLISHED, profile
from la.errors import UserError
from la.experiment.measurements import Classes, Measurement, Result, Supports
from la.experiment.methods import CURVES, LADDER, METHODS, VARIANTS, label, method
from la.report.statistics import t_interval
from la.types import PromptKind

PUBLISHED_TABLES = Path(__file__).with_name("published.csv")


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
    """What a notebook compares: methods by settings, prompt kinds, protocols and so on."""

    methods: tuple[str, ...]
    shapes: tuple[tuple[int, int], ...]  # (n_ways, k_shots)
    kinds: tuple[tuple[PromptKind, ...], ...] = ((PromptKind.MASK,),)
    protocols: tuple[str, ...] = ()  # none: that of the profile
    seeds: tuple[int, ...] | None = None  # None takes the profile's
    supports: tuple[Supports, ...] = ("own",)
    classes: tuple[Classes, ...] = ("unseen",)


_MASK, _BOX, _POINT = PromptKind
_WAYS = (1, 2, 3, 4, 5, 10, 15, 20)
_RIVALS = ("threshold_prototype", "prototype", "affinity")
_CURVES = ("la", *_RIVALS)
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
    "table4": Table(tuple(VARIANTS), ((1, 1), (2, 1)), seeds=(0, 1, 2, 3, 4)),
    "table5": Table(
        ("la", "threshold_prototype", "affinity"),
        ((1, 1), (1, 5), (2, 1), (2, 5)),
        ((_MASK,), (_BOX, _POINT), (_BOX,), (_POINT,)),
    ),
    "figure3": Table(("la",), ((2, 1),)),
    "protocol": Table(("la", "threshold_prototype"), ((1, 1), (5, 1)), protocols=tuple(PROTOCOLS)),
    "curves": Table(_CURVES, (*((n, 1) for n in _WAYS), (1, 2), (1, 5), (1, 10))),
    "train": Table(
        ("la", *CURVES, "la complete", *LADDER),
        ((1, 1), (2, 1)),
        seeds=(0, 1, 2),
        classes=("unseen", "seen"),
    ),
    "prompts_used": Table(
        ("la", *_RIVALS, "part_prototypes", "ridge", "class_prior"),
        ((1, 1), (2, 1), (5, 1), (1, 5)),
        seeds=(0,),
        supports=("own", "exchanged"),
    ),
    "own_method": Table(("la", *_RIVALS), ((1, 1), (2, 1))),
}


def measurements(
    name: str,
    profile_name: str,
    *,
    folds: Sequence[int],
    seeds: Sequence[int] | None = None,
    episodes: int | None = None,
    protocol: str | None = None,
    methods: Sequence[str] | None = None,
) -> list[Measurement]:
    """The measurements of a table; equal ones of two tables are computed once.

    What is None is as the table has it, else as the profile has it.

    Raises:
        UserError: there is no such table, profile or method, or no episode is asked for.
    """
    if name not in TABLES:
        raise UserError(f"no table {name!r}; known: {', '.join(TABLES)}")
    if episodes is not None and episodes < 1:
        raise UserError(f"{episodes} episodes cannot be scored; use at least 1")
    table, usual = TABLES[name], profile(profile_name).evaluation
    rows = tuple(methods or table.methods)
    if profile_name == PUBLISHED:
        rows = ("published", "floor")
        if name == "table2":  # one command scores the authors' models, so 1-way is in it too
            table = replace(table, shapes=((1, 1), *table.shapes))
    for row in rows:
        method(row)  # raises for an unknown name, before the work
    return [
        Measurement(
            row,
            fold,
            n_ways,
            k_shots,
            seed,
            episodes or usual.episodes,
            kinds,
            rules,
            supports,
            classes,
        )
        for row in rows
        for n_ways, k_shots in table.shapes
        for kinds in table.kinds
        for rules in ((protocol,) if protocol else table.protocols or (usual.protocol,))
        for supports in table.supports
        for classes in table.classes
        for fold in folds
        for seed in (seeds if seeds is not None else table.seeds or usual.seeds)
    ]


def scores(results: Iterable[Result]) -> pd.DataFrame:
    """mIoU* in percent, a line for each prompts, method, setting and fold ("0" to "3", "mean").

    `value` is with the bias chosen on seen classes, `raw` without it; both are means over seeds.
    `half_width` is half of the 95 % t-interval of `value` over seeds; for "mean" each seed's
    value is its mean over the folds. NaN with one seed.
    """
    keys = ["prompts", "method", "setting", "N", "K"]
    rows = []
    for r in in_order(results):
        m = r.measurement
        what = (prompts_of(m), label(m.method), m.setting, m.n_ways, m.k_shots)
        rows.append((*what, str(m.fold), m.seed, 100 * r.scores.miou_star, 100 * r.raw.miou_star))
    lines = pd.DataFrame(rows, columns=[*keys, "fold", "seed", "value", "raw"])
    means = lines.groupby([*keys, "seed"], sort=False)[["value", "raw"]].mean().reset_index()
    groups = pd.concat([lines, means.assign(fold="mean")]).groupby([*keys, "fold"], sort=False)
    half_width = groups["value"].agg(lambda values: t_interval(values).half_width)
    both = groups[["value", "raw"]].mean()
    return both.assign(half_width=half_width).reset_index()


def ours(results: Iterable[Result]) -> pd.DataFrame:
    """`scores` as the paper prints them: a row per method.

    Columns are (setting, fold-i | mean | ± | raw); `raw` is the mean without the bias.
    """
    tidy = scores(results)
    means = tidy[tidy["fold"] == "mean"]
    interval = means.assign(fold="±", value=means["half_width"])
    tidy = pd.concat([tidy, interval, means.assign(fold="raw", value=means["raw"])])
    return _one_kind(_as_printed(tidy, ["prompts", "method"])).round(1)


def means(results: Iterable[Result]) -> pd.DataFrame:
    """Means over folds with their intervals, as text: a row a method, a column a setting."""
    return _one_kind(_texts(results, ["prompts", "method"], "setting"))


def raw_means(results: Iterable[Result]) -> pd.DataFrame:
    """Means over folds without the background scalar: a row per method, a column per setting."""
    tidy = scores(results).query("fold == 'mean'")
    wide = tidy.pivot_table("raw", ["prompts", "method"], "setting", sort=False)
    return _one_kind(wide.rename_axis(columns=None)).round(1)


def summary(results: Iterable[Result]) -> pd.DataFrame:
    """Every setting once: ours with intervals; beside it, under its own header, the paper's.

    Only protocol `clean` on unseen classes, with the query's own supports; a setting that is
    printed in several of the paper's tables takes the first.

    Raises:
        ValueError: there is no result to show.
    """
    kept = [r for r in results if _is_summarised(r.measurement)]
    if not kept:
        raise UserError("nothing has been computed yet; `make reproduce` computes all tables")
    kept.sort(key=_summary_place)
    ours = _texts(kept, ["prompts", "setting"], "method")
    paper = published().query("fold == 'mean'")
    paper = paper.assign(prompts=paper["row"].map(_PAPER_PROMPTS)).dropna()
    paper["system"] = paper["row"].where(paper["row"] == "LA (MAE)", "LA (SAM)")
    paper = paper.pivot_table(
        "value", ["prompts", "setting"], "system", aggfunc="first", sort=False
    ).reindex(index=ours.index, columns=["LA (SAM)", "LA (MAE)"])
    frame = pd.concat({"ours": ours, "the paper (COCO-20i)": paper}, axis=1).fillna("")
    return frame.rename_axis(index=(None, None), columns=(None, None))


def _is_summarised(m: Measurement) -> bool:
    usual = m.protocol == "clean" and m.supports == "own" and m.classes == "unseen"
    return usual and m.method in _SUMMARISED


def _summary_place(result: Result) -> tuple[int, int, int]:
    m = result.measurement
    return m.n_ways, m.k_shots, _SUMMARISED.index(m.method)


def beside(name: str) -> pd.DataFrame:
    """The paper's own table in the same layout, to be shown apart from ours."""
    return _as_printed(published().query(f"table == {name[-1]}"), "row").rename_axis(None)


def in_order(results: Iterable[Result]) -> list[Result]:
    """Those of one kind of prompts together, then those of one setting, else as they come."""
    results = list(results)
    kinds = list(dict.fromkeys(r.measurement.kinds for r in results))
    settings = list(dict.fromkeys(r.measurement.setting for r in results))
    return sorted(
        results,
        key=lambda r: (kinds.index(r.measurement.kinds), settings.index(r.measurement.setting)),
    )


def prompts_of(cell: Measurement) -> str:
    """The kinds of prompts in a table's words, such as `boxes and points`."""
    plural = {_MASK: "masks", _BOX: "boxes", _POINT: "points"}
    return " and ".join(plural[kind] for kind in cell.kinds)


def _texts(results: Iterable[Result], rows: list[str], columns: str) -> pd.DataFrame:
    """Means over folds, with half of their interval if they have one."""
    tidy = scores(results).query("fold == 'mean'")
    numbers = zip(tidy["value"], tidy["half_width"], strict=True)
    text = [f"{value:.1f}" + (f" ± {half:.1f}" if half == half else "") for value, half in numbers]
    wide = tidy.assign(text=text).pivot_table("text", rows, columns, aggfunc="first", sort=False)
    return wide.rename_axis(columns=None)


def _as_printed(tidy: pd.DataFrame, rows: str | list[str]) -> pd.DataFrame:
    """Columns (setting, fold), the folds of a setting together; rows and settings as they come."""
    fold = tidy["fold"].where(tidy["fold"].isin(["mean", "±", "raw"]), "fold-" + tidy["fold"])
    wide = tidy.assign(fold=fold).pivot_table("value", rows, ["setting", "fold"], sort=False)
    columns = {setting: wide[setting] for setting in tidy["setting"].unique()}
    return pd.concat(columns, axis=1).rename_axis(columns=(None, None))


def _one_kind(frame: pd.DataFrame) -> pd.DataFrame:
    """Rows name their prompts only where there are several kinds of them."""
    same = frame.index.get_level_values(0).nunique() < 2
    frame = frame.droplevel(0) if same else frame
    return frame.rename_axis([None if n in ("method", "prompts") else n for n in frame.index.names])
