"""What stored counts tell beyond one number: classes, sizes, mistakes, protocols, ablations.

Nothing here runs a model: a new question to old results is a new sum over their counts.
"""

from collections.abc import Callable, Iterable, Sequence

import numpy as np
import pandas as pd

from la.errors import UserError
from la.experiment.measurements import Result
from la.experiment.methods import LADDER, VARIANTS, label
from la.learn.metrics import Scores, miou_hsnet, miou_of_episodes, miou_renamed_in_place
from la.report.statistics import t_interval
from la.report.tables import in_order

RULES: dict[str, Callable[[Scores], float]] = {  # of one number from the same predictions
    "mIoU* (the paper's)": lambda s: s.miou_star,
    "only if shown (PANet)": lambda s: s.miou_present,
    "all classes of the fold (HSNet)": miou_hsnet,
    "with background": lambda s: s.miou_bg,
    "FB-IoU": lambda s: s.fb_iou,
    "mean of episodes (fault)": miou_of_episodes,
    "renamed in place (fault)": miou_renamed_in_place,
}


def protocols(results: Iterable[Result]) -> pd.DataFrame:
    """One prediction by every rule of `RULES`, in percent, means over folds and seeds.

    A row a setting, method and protocol; protocols other than `clean` change what counts as truth.
    """
    rows = []
    for r in in_order(results):
        m = r.measurement
        what = {"setting": m.setting, "method": label(m.method), "truth": m.protocol}
        rows.append(what | {name: 100 * rule(r.scores) for name, rule in RULES.items()})
    return pd.DataFrame(rows).groupby(["setting", "method", "truth"], sort=False).mean().round(1)


def per_class(results: Sequence[Result], setting: str, class_name: Callable) -> pd.DataFrame:
    """IoU in percent of every unseen class in one setting, best first for the first method.

    Columns: a method each, then in how many episodes the class was asked for and shown, and how
    many pixels it had. All seeds are summed; a class that no query showed has no IoU.

    Raises:
        ValueError: there is no result in that setting.
    """
    tables = {
        name: pd.concat([s.per_class().assign(fold=fold) for fold, s in folds.items()])
        for (where, name), folds in _pooled(results).items()
        if where == setting
    }
    if not tables:
        known = ", ".join(dict.fromkeys(r.measurement.setting for r in results))
        raise UserError(f"no result in the setting {setting!r}; there are {known}")
    iou = pd.DataFrame({name: (100 * table["iou"]).round(1) for name, table in tables.items()})
    first, *_ = tables.values()
    frame = iou.join(first[["fold", "asked", "shown", "pixels"]])
    frame.index = pd.Index(map(class_name, frame.index), name="class")
    return frame.sort_values(frame.columns[0], ascending=False)


def by_size(results: Iterable[Result]) -> pd.DataFrame:
    """mIoU* in percent by the share of the query that a class covers, as small as COCO's small.

    Seeds are summed, folds averaged; `pairs` counts the (episode, class) pairs of a size.
    """
    rows = {}
    for key, folds in _pooled(results).items():
        sizes = pd.concat([s.by_size() for s in folds.values()]).groupby(level=0, sort=False)
        miou, pairs = (100 * sizes["miou_star"].mean()).round(1), sizes["pairs"].sum()
        rows[key] = pd.DataFrame({"mIoU*": miou, "pairs": pairs.astype(object)}).stack()
    return pd.DataFrame(rows).T.rename_axis(columns=(None, None))


def mistakes(results: Iterable[Result]) -> pd.DataFrame:
    """The confusion of rows in percent of the true pixels, and false positives on absent classes.

    Of background: painted with a class. Of foreground: right, missed, painted as another class.
    The last column is the share of a query's pixels that a class it does not show is painted on.
    """
    rows = {}
    for key, folds in _pooled(results).items():
        tables = [s.row_confusion().to_numpy() for s in folds.values()]
        share = np.mean([100 * t / t.sum(1, keepdims=True) for t in tables], axis=0)
        absent = 100 * pd.Series([s.absent_false_positives for s in folds.values()]).mean()
        rows[key] = {
            ("background", "painted"): share[0, 2],
            ("foreground", "right"): share[1, 1],
            ("foreground", "missed"): share[1, 0],
            ("foreground", "another class"): share[1, 2],
            ("absent class", "painted"): absent,
        }
    return pd.DataFrame(rows).T.round(1)


def confusion(
    results: Iterable[Result], method: str, setting: str, fold: int, class_name: Callable
) -> pd.DataFrame:
    """Share in percent of the pixels of each true class (rows) painted as each class (columns).

    Background and the classes of one fold, all seeds of one method and setting.

    Raises:
        ValueError: there is no such result.
    """
    scores = _pooled(results).get((setting, label(method)), {}).get(fold)
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
    shown = np.flatnonzero((result.scores.truth > 0).all(1))
    if not len(shown):
        raise UserError("no query shows all classes of its episode; take more episodes")
    inter, union = result.scores.intersection_union()[:, shown]
    miou = np.nanmean(inter / np.where(union > 0, union, np.nan), axis=1)
    return pd.Series(100 * miou, shown, name="mIoU").sort_values(kind="stable")


def examples(result: Result, percentiles: Sequence[float]) -> pd.DataFrame:
    """Episodes chosen by rule: the one at each percentile of `ranked_episodes`.

    One that two percentiles choose is shown once. Columns: episode (its number in the list),
    kind (success from 75, failure to 25, else average), percentile, mIoU in percent.

    Raises:
        UserError: no query shows all classes of its episode.
    """
    ranked = ranked_episodes(result)
    rows = []
    for percentile in percentiles:
        place = round(percentile / 100 * (len(ranked) - 1))
        kind = "success" if percentile >= 75 else "failure" if percentile <= 25 else "average"
        rows.append((ranked.index[place], kind, percentile, round(ranked.iloc[place], 1)))
    frame = pd.DataFrame(rows, columns=["episode", "kind", "percentile", "mIoU"])
    return frame.drop_duplicates("episode")


def trainings(results: Iterable[Result]) -> pd.DataFrame:
    """mIoU* in percent of every training of Table 4 or of the ladder of the start of weights.

    A row per variant, columns (setting, seed).
    """
    rows = []
    for r in results:
        m = r.measurement
        if m.method in VARIANTS or m.method in LADDER:
            variant = label(m.method).removeprefix("LA ")
            rows.append((variant, m.setting, f"seed {m.seed}", 100 * r.scores.miou_star))
    frame = pd.DataFrame(rows, columns=["variant", "setting", "seed", "miou"])
    wide = frame.pivot_table("miou", "variant", ["setting", "seed"], sort=False)
    return wide.rename_axis(index=None, columns=(None, None))


def ablations(results: Iterable[Result]) -> pd.DataFrame:
    """Table 4: mIoU* of each variant over its training seeds, and what its part is worth.

    `minus complete` pairs the trainings of one seed: same batches, same episode lists. `±` is
    half the 95 % t-interval over training seeds; "unresolved" where that of the difference
    contains 0.
    """
    wide, columns = trainings(results), {}
    for setting in wide.columns.unique(0):
        runs = wide[setting]
        change = (runs - runs.loc["complete"]).drop("complete")
        for names, values in ((("mIoU*", "±"), runs), (("minus complete", "± of that"), change)):
            intervals = [t_interval(row.dropna()) for _, row in values.iterrows()]
            numbers = [[i.value for i in intervals], [i.half_width for i in intervals]]
            for name, column in zip(names, numbers, strict=True):
                columns[setting, name] = pd.Series(column, values.index).round(1)
        verdicts = ["resolved" if i.resolved else "unresolved" for i in intervals]
        columns[setting, ""] = pd.Series(verdicts, change.index, dtype=object)
    return pd.DataFrame(columns).reindex(wide.index).astype(object).fillna("")


def _pooled(results: Iterable[Result]) -> dict[tuple[str, str], dict[int, Scores]]:
    """By (setting, label), then fold: the scores of all seeds together."""
    parts: dict[tuple[str, str], dict[int, list[Scores]]] = {}
    for r in in_order(results):
        folds = parts.setdefault((r.measurement.setting, label(r.measurement.method)), {})
        folds.setdefault(r.measurement.fold, []).append(r.scores)
    return {key: {f: _joined(found) for f, found in folds.items()} for key, folds in parts.items()}


def _joined(scores: Sequence[Scores]) -> Scores:
    ids = np.concatenate([s.class_ids for s in scores])
    return Scores(scores[0].classes, ids, np.concatenate([s.confusion for s in scores]))
