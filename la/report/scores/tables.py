"""Which measurements make a table, and their scores in the layout of the paper's tables."""

import itertools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from la.config import PROTOCOLS
from la.errors import UserError
from la.experiment.methods import CURVES, LADDER, METHODS, RIVALS, VARIANTS, label, method
from la.experiment.setup.measurements import Classes, Measurement, Result, Supports
from la.profiles import PUBLISHED, profile
from la.report.scores.statistics import t_interval
from la.types import PromptKind
from la.wording import counted

# Rows that set the scale of a table: every method beats them, or none is expected to.
REFERENCES = ("floor", "class_prior", "token_grid")


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
_TRAINING_FREE = ("threshold_prototype", "prototype", "affinity")
_CURVES = ("la", *_TRAINING_FREE)
WITH_RIVALS = ("table1", "table2", "table3", "curves", "prompts_used")  # of METHODS=all
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
        ("la", *_TRAINING_FREE, "part_prototypes", "ridge", "class_prior"),
        ((1, 1), (2, 1), (5, 1), (1, 5)),
        seeds=(0,),
        supports=("own", "exchanged"),
    ),
    "own_method": Table(("la", *_TRAINING_FREE), ((1, 1), (2, 1))),
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
    """The measurements of a table; those that two tables share are equal.

    Arguments that are None take the values of the table or, where it has none, of the profile.

    Raises:
        UserError: there is no such table, profile or method, or no episode is asked for.
    """
    if name not in TABLES:
        raise UserError(f"no table {name!r}; known: {', '.join(TABLES)}")
    if episodes is not None and episodes < 1:
        raise UserError(f"{counted(episodes, 'episode')} cannot be scored; use at least 1")
    table, usual = TABLES[name], profile(profile_name).evaluation
    rows = tuple(methods or table.methods)
    if rows == ("all",):
        rows = (*table.methods, *(RIVALS if name in WITH_RIVALS else ()))
    if profile_name == PUBLISHED:
        rows = ("published", "floor")
        if name == "table2":  # one command scores the authors' models, so 1-way is in it too
            table = replace(table, shapes=((1, 1), *table.shapes))
    for row in rows:
        method(row)  # raises for an unknown name, before the work
    protocols = (protocol,) if protocol else table.protocols or (usual.protocol,)
    if seeds is None:
        seeds = table.seeds or usual.seeds
    factors = itertools.product(
        rows,
        table.shapes,
        table.kinds,
        protocols,
        table.supports,
        table.classes,
        folds,
        seeds,
    )
    n_episodes = episodes or usual.episodes
    found = [
        Measurement(row, fold, n, k, seed, n_episodes, kinds, rules, supports, classes)
        for row, (n, k), kinds, rules, supports, classes, fold, seed in factors
    ]
    if name != "curves":
        return found
    # Only lines, which have no intervals, show 2 and 10 examples: one list is enough for them.
    return [m for m in found if m.method not in RIVALS or m.k_shots in (1, 5) or m.seed == seeds[0]]


def scores(results: Iterable[Result]) -> pd.DataFrame:
    """mIoU* in percent, a row for each prompts, method, setting and fold ("0" to "3", "mean").

    `value` is with the bias chosen on seen classes, `raw` without it; both are means over seeds.
    `half_width` is half of the 95 % t-interval of `value` over seeds; for "mean" each seed's
    value is its mean over the folds. With one seed it is NaN.
    """
    keys = ["prompts", "method", "setting", "N", "K"]
    rows = []
    for r in in_order(results):
        m = r.measurement
        row = {
            "prompts": prompts_of(m),
            "method": label(m.method),
            "setting": m.setting,
            "N": m.n_ways,
            "K": m.k_shots,
            "fold": str(m.fold),
            "seed": m.seed,
            "value": 100 * r.scores.miou_star,
            "raw": 100 * r.raw.miou_star,
        }
        rows.append(row)
    of_folds = pd.DataFrame(rows, columns=[*keys, "fold", "seed", "value", "raw"])
    by_seed = of_folds.groupby([*keys, "seed"], sort=False)
    means = by_seed[["value", "raw"]].mean().reset_index().assign(fold="mean")
    groups = pd.concat([of_folds, means]).groupby([*keys, "fold"], sort=False)
    table = groups[["value", "raw"]].mean()
    table["half_width"] = groups["value"].agg(_half_width)
    return table.reset_index()


def mean_scores(results: Iterable[Result]) -> pd.DataFrame:
    """The rows of `scores` that are means over folds."""
    table = scores(results)
    return table[table["fold"] == "mean"]


def ours(results: Iterable[Result]) -> pd.DataFrame:
    """`scores` as the paper prints them: a row per method.

    Columns are (setting, fold-i | mean | ± | raw); `raw` is the mean without the bias.
    """
    table = scores(results)
    means = table[table["fold"] == "mean"]
    interval = means.assign(fold="±", value=means["half_width"])
    raw = means.assign(fold="raw", value=means["raw"])
    wide = as_printed(pd.concat([table, interval, raw]), ["prompts", "method"])
    return _without_single_prompts(wide).round(1)


def means(results: Iterable[Result]) -> pd.DataFrame:
    """Means over folds with their intervals, as text: a row per method, a column per setting."""
    return _without_single_prompts(mean_texts(results, ["prompts", "method"], "setting"))


def raw_means(results: Iterable[Result]) -> pd.DataFrame:
    """Means over folds without the background scalar: a row per method, a column per setting."""
    table = mean_scores(results)
    wide = table.pivot_table("raw", ["prompts", "method"], "setting", sort=False)
    return _without_single_prompts(wide.rename_axis(columns=None)).round(1)


def best_in_bold(means: pd.DataFrame) -> pd.DataFrame:
    """`means` with Markdown marks: the best method of each column bold, references in italics.

    With several kinds of prompts the best is marked for each kind.
    """
    references = {label(name): f"*{label(name)}*" for name in REFERENCES}
    is_reference = means.index.get_level_values(-1).isin(list(references))
    kinds = means.index.get_level_values(0).to_numpy()
    if means.index.nlevels == 1:
        kinds = np.zeros(len(means))
    marked = means.copy()
    for column in means.columns:
        texts = means[column]
        numbers = texts.str.split().str[0].astype(float)
        compared = numbers.mask(is_reference)
        best = compared.groupby(kinds).transform("max")
        marked[column] = texts.mask(compared == best, "**" + texts + "**")
    return marked.rename(index=references)


def in_order(results: Iterable[Result]) -> list[Result]:
    """The results by kind of prompts, then by setting, both in the order of appearance."""
    results = list(results)
    kinds = list(dict.fromkeys(r.measurement.kinds for r in results))
    settings = list(dict.fromkeys(r.measurement.setting for r in results))

    def place(result: Result) -> tuple[int, int]:
        m = result.measurement
        return kinds.index(m.kinds), settings.index(m.setting)

    return sorted(results, key=place)


def prompts_of(measurement: Measurement) -> str:
    """The kinds of prompts in a table's words, such as `boxes and points`."""
    plural = {_MASK: "masks", _BOX: "boxes", _POINT: "points"}
    return " and ".join(plural[kind] for kind in measurement.kinds)


def mean_texts(results: Iterable[Result], rows: list[str], columns: str) -> pd.DataFrame:
    """Means over folds as text, with half of their interval if they have one.

    Args:
        rows, columns: columns of `scores` that become the index and the header.
    """
    table = mean_scores(results)
    texts = []
    for value, half_width in zip(table["value"], table["half_width"], strict=True):
        interval = "" if np.isnan(half_width) else f" ± {half_width:.1f}"
        texts.append(f"{value:.1f}{interval}")
    table = table.assign(text=texts)
    wide = table.pivot_table("text", rows, columns, aggfunc="first", sort=False)
    return wide.rename_axis(columns=None)


def as_printed(scores: pd.DataFrame, rows: list[str]) -> pd.DataFrame:
    """A row per value of the columns `rows`; columns (setting, fold), in order of appearance."""
    is_named = scores["fold"].isin(["mean", "±", "raw"])
    fold = scores["fold"].where(is_named, "fold-" + scores["fold"])
    wide = scores.assign(fold=fold).pivot_table("value", rows, ["setting", "fold"], sort=False)
    by_setting = {setting: wide[setting] for setting in scores["setting"].unique()}
    return pd.concat(by_setting, axis=1).rename_axis(columns=(None, None))


def _half_width(values: pd.Series) -> float:
    return t_interval(values).half_width


def _without_single_prompts(frame: pd.DataFrame) -> pd.DataFrame:
    """Drops the index level of the prompts if there is one kind only, and the levels' names."""
    if frame.index.get_level_values(0).nunique() < 2:
        return frame.droplevel(0).rename_axis(None)
    return frame.rename_axis([None, None])
