"""Each trained comparator beside its training-free shadow: the same idea without weights."""

from collections.abc import Iterable

import pandas as pd

from la.experiment.methods import label
from la.experiment.setup.measurements import Result
from la.report.scores.tables import mean_scores
from la.report.verdicts.finding import Finding

SHADOWS = {  # trained: training-free
    "panet": "prototype",
    "ppnet": "part_prototypes",
    "ppnet_u": "part_prototypes",
    "denet": "prototype",
    "mfnet": "prototype",
    "dcama": "affinity",
    "fptrans": "prototype",
    "emat": "affinity",
}
PRIOR = "class_prior"
COLUMNS = ["mIoU*", "shadow", "its mIoU*", label(PRIOR)]


def shadows(results: Iterable[Result]) -> pd.DataFrame:
    """mIoU* in percent, a row for each setting and trained comparator that was scored with masks.

    Columns: `mIoU*`, the `shadow`, `its mIoU*`, and that of the class prior; NaN where a method
    was not scored.
    """
    means = mean_scores(results)
    means = means[means["prompts"] == "masks"]
    wide = means.pivot_table("value", "setting", "method", sort=False)
    rows = {}
    for setting, scores in wide.iterrows():
        for trained, shadow in SHADOWS.items():
            if pd.notna(scores.get(label(trained))):
                rows[setting, label(trained)] = {
                    "mIoU*": scores[label(trained)],
                    "shadow": label(shadow),
                    "its mIoU*": scores.get(label(shadow), float("nan")),
                    label(PRIOR): scores.get(label(PRIOR), float("nan")),
                }
    index = pd.MultiIndex.from_tuples(list(rows), names=["setting", None])
    return pd.DataFrame(list(rows.values()), index, columns=COLUMNS)


def not_above_shadow(table: pd.DataFrame) -> Finding:
    """Which trained comparators are not above their shadow or the class prior, from `shadows`."""
    if table.empty:
        return Finding(
            "This page has no trained comparators. METHODS=all adds them, and "
            "docs/comparators.md has their scores."
        )
    behind = []
    for row in table.reset_index(names=["setting", "method"]).to_dict("records"):
        for other, column in ((row["shadow"], "its mIoU*"), (label(PRIOR), label(PRIOR))):
            if row["mIoU*"] <= row[column]:
                scores = f"{row['mIoU*']:.1f} against {row[column]:.1f} %"
                place = f"{row['method']} is not above {other} in {row['setting']}"
                behind.append(f"{place} ({scores})")
    n_methods = table.index.get_level_values(1).nunique()
    if not behind:
        unscored = table[["its mIoU*", label(PRIOR)]].isna().any(axis=None)
        where = "wherever those were scored" if unscored else "in every setting"
        return Finding(
            f"All {n_methods} trained comparators are above their training-free shadow and the "
            f"class prior {where}."
        )
    return Finding(f"{'; '.join(behind)}.")
