"""What stored counts tell beyond one number: classes, sizes, mistakes, protocols, ablations.

Nothing here runs a model: a new question to old results is a new sum over their counts.
"""

from collections.abc import Callable, Sequence
from dataclasses import asdict

import numpy as np
import pandas as pd

from la.config import Config
from la.methods import Variant, label
from la.metrics import Scores, miou_hsnet, miou_of_episodes, miou_renamed_in_place
from la.results import CellResult
from la.statistics import t_interval

RULES: dict[str, Callable[[Scores], float]] = {  # of one number from the same predictions
    "mIoU* (the paper's)": lambda s: s.miou_star,
    "only if shown (PANet)": lambda s: s.miou_present,
    "all classes of the fold (HSNet)": miou_hsnet,
    "with background": lambda s: s.miou_bg,
    "FB-IoU": lambda s: s.fb_iou,
    "mean of episodes (fault)": miou_of_episodes,
    "renamed in place (fault)": miou_renamed_in_place,
}


def protocols(results: Sequence[CellResult]) -> pd.DataFrame:
    """One prediction by every rule of `RULES`, in percent, means over folds and seeds.

    A row a setting, method and protocol; protocols other than `clean` change what counts as truth.
    """
    rows: dict[tuple[str, str, str], list[list[float]]] = {}
    for r in results:
        key = (r.cell.setting, label(r.cell.method), r.cell.protocol)
        rows.setdefault(key, []).append([100 * rule(r.scores) for rule in RULES.values()])
    order = [*dict.fromkeys(setting for setting, _, _ in rows)]
    keys = sorted(rows, key=lambda key: order.index(key[0]))
    index = pd.MultiIndex.from_tuples(keys, names=["setting", "method", "truth"])
    return pd.DataFrame([np.mean(rows[k], axis=0) for k in keys], index, [*RULES]).round(1)


def per_class(results: Sequence[CellResult], setting: str, class_name: Callable) -> pd.DataFrame:
    """IoU in percent of every unseen class in one setting, best first for the first method.

    Columns: a method each, then in how many episodes the class was asked for and shown, and how
    many pixels it had. All seeds are summed; a class that no query showed has no IoU.
    """
    columns, counts = {}, []
    for (name, where), folds in _pooled(results).items():
        if where == setting:
            tables = [s.per_class().assign(fold=fold) for fold, s in folds.items()]
            table = pd.concat(tables)
            columns[name] = (100 * table["iou"]).round(1)
            truth = [s.class_confusion()[1:].sum(1) for s in folds.values()]
            counts = [table[["fold", "asked", "shown"]].assign(pixels=np.concatenate(truth))]
    if not columns:
        known = ", ".join(dict.fromkeys(r.cell.setting for r in results))
        raise ValueError(f"no result in the setting {setting!r}; there are {known}")
    frame = pd.concat([pd.DataFrame(columns), *counts], axis=1)
    frame.index = pd.Index([class_name(c) for c in frame.index], name="class")
    return frame.sort_values(next(iter(columns)), ascending=False)


def by_size(results: Sequence[CellResult]) -> pd.DataFrame:
    """mIoU* in percent by the share of the query that a class covers, as small as COCO's small.

    Seeds are summed, folds averaged; `pairs` counts the (episode, class) pairs of a size.
    """
    rows = {}
    for (name, setting), folds in _pooled(results).items():
        tables = [s.by_size() for s in folds.values()]
        miou = 100 * pd.concat([t["miou_star"] for t in tables], axis=1).mean(axis=1)
        pairs = sum(t["pairs"] for t in tables)
        row = {(size, "mIoU*"): round(value, 1) for size, value in miou.items()}
        rows[setting, name] = row | {(size, "pairs"): n for size, n in pairs.items()}
    frame = pd.DataFrame.from_dict(rows, orient="index")
    return frame[[(size, what) for size in miou.index for what in ("mIoU*", "pairs")]]


def mistakes(results: Sequence[CellResult]) -> pd.DataFrame:
    """The confusion of rows in percent of the true pixels, and false positives on absent classes.

    Of background: painted with a class. Of foreground: right, missed, painted as another class.
    The last column is the share of a query's pixels that a class it does not show is painted on.
    """
    rows = {}
    for (name, setting), folds in _pooled(results).items():
        tables = [s.row_confusion().to_numpy() for s in folds.values()]
        share = [100 * t / t.sum(1, keepdims=True) for t in tables]
        (_, _, painted), (missed, right, other) = np.mean(share, axis=0)
        absent = 100 * pd.Series([s.absent_false_positives for s in folds.values()]).mean()
        rows[setting, name] = [painted, right, missed, other, absent]
    columns = pd.MultiIndex.from_tuples(
        [("background", "painted"), ("foreground", "right"), ("foreground", "missed"),
         ("foreground", "another class"), ("absent class", "painted")]
    )  # fmt: skip
    return pd.DataFrame(rows.values(), pd.MultiIndex.from_tuples(rows), columns).round(1)


def confusion(
    results: Sequence[CellResult], method: str, setting: str, fold: int, class_name: Callable
) -> pd.DataFrame:
    """Share in percent of the pixels of each true class (rows) painted as each class (columns).

    Background and the classes of one fold, all seeds of one method and setting.

    Raises:
        ValueError: there is no such result.
    """
    chosen = [
        r for r in results
        if (r.cell.method, r.cell.setting, r.cell.fold) == (method, setting, fold)
    ]  # fmt: skip
    if not chosen:
        raise ValueError(f"no result of {method!r}, {setting}, fold {fold}")
    total = sum(r.scores.class_confusion() for r in chosen)
    names = ["background", *map(class_name, sorted(chosen[0].classes))]
    with np.errstate(invalid="ignore"):
        return pd.DataFrame(100 * total / total.sum(1, keepdims=True), names, names)


def examples(result: CellResult, percentiles: Sequence[float]) -> pd.DataFrame:
    """Episodes of a cell chosen by rule: the one at each percentile of per-episode mIoU.

    Only episodes whose query shows all their classes are ranked; ties go to the earlier one;
    one that two percentiles choose is shown once.
    Columns: episode (its number in the list), kind (success from 75, failure to 25), mIoU in %.

    Raises:
        ValueError: no query shows all classes of its episode.
    """
    scores = result.scores
    shown = np.flatnonzero((scores.truth > 0).all(1))
    if not len(shown):
        raise ValueError("no query shows all classes of its episode; take more episodes")
    inter, union = scores.intersection_union()[:, shown]
    asked = union > 0  # every class of these episodes has pixels
    miou = (inter / np.where(asked, union, 1)).sum(1) / asked.sum(1)
    order = np.argsort(miou, kind="stable")
    places = [round(p / 100 * (len(order) - 1)) for p in percentiles]
    kinds = ["success" if p >= 75 else "failure" if p <= 25 else "average" for p in percentiles]
    columns = {"episode": shown[order[places]], "kind": kinds, "percentile": list(percentiles)}
    frame = pd.DataFrame(columns | {"mIoU": (100 * miou[order[places]]).round(1)})
    return frame.drop_duplicates("episode")


def ablations(results: Sequence[CellResult]) -> pd.DataFrame:
    """Table 4: mIoU* of each variant over its training seeds, and what its part is worth.

    `minus complete` pairs the trainings of one seed: same batches, same episode lists. `+-` are
    half the 95 % t-intervals over training seeds; "unresolved" where the difference's holds 0.
    """
    found: dict[tuple[str, str, str], dict[int, list[float]]] = {}
    for r in results:
        v = Variant.parse(r.cell.method)
        by_seed = found.setdefault((v.base.upper(), v.ablation, r.cell.setting), {})
        by_seed.setdefault(v.seed, []).append(100 * r.scores.miou_star)
    trained = {key: {s: float(np.mean(v)) for s, v in runs.items()} for key, runs in found.items()}
    columns: dict[tuple[str, str], dict[tuple[str, str], float | str]] = {}
    for (base, ablation, setting), runs in trained.items():
        cell = {"mIoU*": (mean := t_interval([*runs.values()])).value, "+-": mean.half_width}
        whole = trained.get((base, "complete", setting), {})
        changes = [value - whole[seed] for seed, value in runs.items() if seed in whole]
        if ablation != "complete" and changes:
            change = t_interval(changes)
            verdict = "resolved" if change.resolved else "unresolved"
            cell |= {"minus complete": change.value, "+- of that": change.half_width, "": verdict}
        for name, value in cell.items():
            rounded = value if isinstance(value, str) else round(value, 1)
            columns.setdefault((setting, name), {})[base, ablation] = rounded
    order = dict.fromkeys(s for s, _ in columns)
    names = [(s, n) for s in order for n in ("mIoU*", "+-", "minus complete", "+- of that", "")]
    frame = pd.DataFrame({c: pd.Series(columns[c]) for c in names if c in columns})
    return frame.reindex(dict.fromkeys((b, a) for b, a, _ in trained)).fillna("")


def trainings(results: Sequence[CellResult]) -> pd.DataFrame:
    """mIoU* in percent of every training of Table 4: a row a variant, columns (setting, seed)."""
    rows: dict[tuple[str, str], dict[tuple[str, str], list[float]]] = {}
    for r in results:
        v = Variant.parse(r.cell.method)
        row = rows.setdefault((v.base.upper(), v.ablation), {})
        row.setdefault((r.cell.setting, f"seed {v.seed}"), []).append(100 * r.scores.miou_star)
    frame = {key: {c: round(np.mean(v), 1) for c, v in row.items()} for key, row in rows.items()}
    return pd.DataFrame.from_dict(frame, orient="index")


def with_costs(scores: pd.DataFrame, costs: pd.DataFrame) -> pd.DataFrame:
    """The means over folds of `tables.scores` joined with `costs`, by method, N and K."""
    numbers = scores["setting"].str.extract(r"(\d+)-way (\d+)-shot").astype(int)
    joined = scores.assign(N=numbers[0], K=numbers[1])[scores["fold"] == "mean"]
    return joined.merge(costs.rename(columns={"n_ways": "N", "k_shots": "K"}))


def settings(config: Config) -> pd.DataFrame:
    """Every field of a configuration, by its part."""
    parts = asdict(config)
    found = {
        (part, name): str(value)
        for part in ("model", "episodes", "train", "evaluation")
        for name, value in parts[part].items()
    }
    return pd.DataFrame({"value": found})


def _pooled(results: Sequence[CellResult]) -> dict[tuple[str, str], dict[int, Scores]]:
    """By (label, setting), then fold: the scores of all seeds together."""
    parts: dict[tuple[str, str], dict[int, list[Scores]]] = {}
    for r in results:
        folds = parts.setdefault((label(r.cell.method), r.cell.setting), {})
        folds.setdefault(r.cell.fold, []).append(r.scores)
    settings = [*dict.fromkeys(r.cell.setting for r in results)]
    return {
        key: {fold: _joined(parts[key][fold]) for fold in sorted(parts[key])}
        for key in sorted(parts, key=lambda key: settings.index(key[1]))
    }


def _joined(scores: Sequence[Scores]) -> Scores:
    ids = np.concatenate([s.class_ids for s in scores])
    return Scores(scores[0].classes, ids, np.concatenate([s.confusion for s in scores]))
