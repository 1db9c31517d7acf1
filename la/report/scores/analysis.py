"""Reports from stored counts: by rule, class, size, kind of mistake, and single episode.

Nothing here runs a model: a new question about stored results is a new sum over their counts.
"""

from collections.abc import Callable, Iterable, Sequence

import numpy as np
import pandas as pd

from la.errors import UserError
from la.experiment.methods import label
from la.experiment.setup.measurements import Result
from la.learn.metrics import Scores, miou_hsnet, miou_of_episodes, miou_renamed_in_place
from la.report.scores.tables import in_order

RULES: dict[str, Callable[[Scores], float]] = {  # by which papers score
    "mIoU* (the paper's)": lambda s: s.miou_star,
    "only if shown (PANet)": lambda s: s.miou_present,
    "all classes of the fold (HSNet)": miou_hsnet,
    "with background": lambda s: s.miou_bg,
    "FB-IoU": lambda s: s.fb_iou,
    "mean of episodes (fault)": miou_of_episodes,
    "renamed in place (fault)": miou_renamed_in_place,
}


def protocols(results: Iterable[Result]) -> pd.DataFrame:
    """The same predictions scored by every rule of `RULES`, in percent, means over folds and seeds.

    A row per setting, method and protocol. Protocols other than `clean` change what counts as
    truth.
    """
    keys = ["setting", "method", "truth"]
    rows = []
    for r in in_order(results):
        m = r.measurement
        values = [100 * rule(r.scores) for rule in RULES.values()]
        rows.append((m.setting, label(m.method), m.protocol, *values))
    frame = pd.DataFrame(rows, columns=[*keys, *RULES])
    return frame.groupby(keys, sort=False).mean().round(1)


def per_class(
    results: Sequence[Result],
    setting: str,
    class_name: Callable[[int], str],
) -> pd.DataFrame:
    """IoU in percent of every unseen class in one setting, best first for the first method.

    A column per method, then in how many episodes the class was asked for and shown, and how
    many pixels it had. All seeds are summed; a class that no query showed has no IoU.

    Raises:
        UserError: there is no result in that setting.
    """
    tables = {}
    for (its_setting, method_label), folds in _pooled(results).items():
        if its_setting != setting:
            continue
        parts = []
        for fold, scores in folds.items():
            parts.append(scores.per_class().assign(fold=fold))
        tables[method_label] = pd.concat(parts)
    if not tables:
        settings = ", ".join(dict.fromkeys(r.measurement.setting for r in results))
        raise UserError(f"no result in the setting {setting!r}; there are {settings}")
    iou = {name: table["iou"] for name, table in tables.items()}
    percent = (100 * pd.DataFrame(iou)).round(1)
    first_table = next(iter(tables.values()))
    frame = percent.join(first_table[["fold", "asked", "shown", "pixels"]])
    frame.index = pd.Index([class_name(c) for c in frame.index], name="class")
    return frame.sort_values(frame.columns[0], ascending=False)


def best_and_worst(per_class: pd.DataFrame, n_each: int = 8) -> pd.DataFrame:
    """The first and the last `n_each` rows of `per_class`, or all rows if there are fewer.

    Classes that no query showed are left out.
    """
    per_class = per_class.dropna()
    if len(per_class) <= 2 * n_each:
        return per_class
    return pd.concat([per_class.head(n_each), per_class.tail(n_each)])


def by_size(results: Iterable[Result]) -> pd.DataFrame:
    """mIoU* in percent by the share of the query that a class covers, in COCO's three sizes.

    Seeds are summed, folds averaged; `pairs` counts the (episode, class) pairs of a size. A size
    that no query shows has no column.
    """
    rows = {}
    for key, folds in _pooled(results).items():
        sizes = pd.concat([scores.by_size() for scores in folds.values()])
        groups = sizes.groupby(level=0, sort=False)
        miou = (100 * groups["miou_star"].mean()).round(1)
        pairs = groups["pairs"].sum().astype(object)  # shown without decimals
        rows[key] = pd.DataFrame({"mIoU*": miou, "pairs": pairs}).stack()
    frame = pd.DataFrame(rows).T
    frame.columns.names = [None, None]
    shown = [size for size in frame.columns.unique(0) if frame[size]["pairs"].sum()]
    return frame[shown]


def mistakes(results: Iterable[Result]) -> pd.DataFrame:
    """The confusion of rows in percent of the true pixels, and false positives on absent classes.

    Of background: painted with a class. Of foreground: right, missed, painted as another class.
    The last column is the share of a query's pixels that is painted with a class that the query
    does not show; it is left out where each query shows all classes of its episode.
    """
    rows = {}
    for key, folds in _pooled(results).items():
        shares = []
        absent = []
        for scores in folds.values():
            pixels = scores.row_confusion().to_numpy()
            shares.append(100 * pixels / pixels.sum(1, keepdims=True))
            absent.append(100 * scores.absent_false_positives)
        background, foreground = np.mean(shares, axis=0)
        rows[key] = {
            ("background", "painted"): background[2],
            ("foreground", "right"): foreground[1],
            ("foreground", "missed"): foreground[0],
            ("foreground", "another class"): foreground[2],
            ("absent class", "painted"): pd.Series(absent).mean(),  # without NaN
        }
    return pd.DataFrame(rows).T.round(1).dropna(axis=1, how="all")


def without_nan(frame: pd.DataFrame) -> pd.DataFrame:
    """The frame with empty cells in place of NaN, for display."""
    return frame.astype(object).where(frame.notna(), "")


def confusion(
    results: Iterable[Result],
    method: str,
    setting: str,
    fold: int,
    class_name: Callable[[int], str],
) -> pd.DataFrame:
    """Share in percent of the pixels of each true class (rows) painted as each class (columns).

    Background and the classes of one fold, all seeds of one method and setting.

    Raises:
        UserError: there is no such result.
    """
    folds = _pooled(results).get((setting, label(method)), {})
    scores = folds.get(fold)
    if scores is None:
        raise UserError(f"no result of {method!r}, {setting}, fold {fold}")
    names = ["background", *map(class_name, scores.classes)]
    pixels = pd.DataFrame(scores.class_confusion(), names, names)
    return 100 * pixels.div(pixels.sum(axis=1), axis=0)


def ranked_episodes(result: Result) -> pd.Series:
    """mIoU in percent of single episodes, by their number in the list, lowest first.

    Only episodes whose query shows all their classes are ranked; ties go to the earlier one.

    Raises:
        UserError: no query shows all classes of its episode.
    """
    numbers = np.flatnonzero((result.scores.truth > 0).all(1))
    if not len(numbers):
        raise UserError("no query shows all classes of its episode; take more episodes")
    intersection, union = result.scores.intersection_union()[:, numbers]
    iou = intersection / np.where(union > 0, union, np.nan)
    percent = 100 * np.nanmean(iou, axis=1)
    miou = pd.Series(percent, numbers, name="mIoU")
    return miou.sort_values(kind="stable")


def examples(result: Result, percentiles: Sequence[float]) -> pd.DataFrame:
    """Episodes chosen by rule: the one at each percentile of `ranked_episodes`.

    One that two percentiles choose is listed once. Columns: episode (its number in the list),
    kind (success from 75, failure to 25, else average), percentile, mIoU in percent.

    Raises:
        UserError: no query shows all classes of its episode.
    """
    ranked = ranked_episodes(result)
    rows = []
    for percentile in percentiles:
        place = round(percentile / 100 * (len(ranked) - 1))
        kind = "average"
        if percentile >= 75:
            kind = "success"
        elif percentile <= 25:
            kind = "failure"
        row = {
            "episode": ranked.index[place],
            "kind": kind,
            "percentile": percentile,
            "mIoU": round(ranked.iloc[place], 1),
        }
        rows.append(row)
    return pd.DataFrame(rows).drop_duplicates("episode")


def _pooled(results: Iterable[Result]) -> dict[tuple[str, str], dict[int, Scores]]:
    """By (setting, label), then fold: the scores of all seeds together."""
    parts: dict[tuple[str, str], dict[int, list[Scores]]] = {}
    for r in in_order(results):
        m = r.measurement
        folds = parts.setdefault((m.setting, label(m.method)), {})
        folds.setdefault(m.fold, []).append(r.scores)
    pooled = {}
    for key, folds in parts.items():
        pooled[key] = {fold: _joined(scores) for fold, scores in folds.items()}
    return pooled


def _joined(scores: Sequence[Scores]) -> Scores:
    """The scores of several lists with the same classes and N as those of a single list."""
    class_ids = np.concatenate([s.class_ids for s in scores])
    confusion = np.concatenate([s.confusion for s in scores])
    return Scores(scores[0].classes, class_ids, confusion)
