"""Two checks that a method uses its prompts, from stored counts.

A method that paints any object, whatever is prompted, can score well where queries show few
objects. Two questions reveal it: how much of the score is left when each query gets the supports
of another episode, with other classes; and how often a painted pixel of some asked class gets
the right one, which by chance happens once in N.
"""

from collections.abc import Iterable

import numpy as np
import pandas as pd

from la.experiment.methods import label
from la.experiment.setup.measurements import Result
from la.learn.metrics import Scores
from la.report.scores.tables import in_order
from la.report.verdicts.finding import PROMPTS_USED, Finding, Verdict

LITTLE = 20  # percent of its score that LA may keep with the supports of other classes


def right_share(scores: Scores) -> float:
    """Share of the right class among pixels of asked classes that are painted with any of them.

    By chance it is 1 / N; NaN where no such pixel is painted.
    """
    foreground = scores.row_confusion().loc["foreground"]
    painted = foreground["right"] + foreground["other"]
    return float(foreground["right"] / painted) if painted else float("nan")


def prompts_used(results: Iterable[Result]) -> pd.DataFrame:
    """A row per setting and method, in percent; means over folds and seeds.

    Columns: `mIoU*` with the query's own supports and `exchanged` with another episode's;
    `kept`, the second in percent of the first; `right class`, the `right_share` with the query's
    own supports, beside what chance gives. Without exchanged supports in the results
    their columns are NaN; `kept` is also NaN for a method that scores 0.
    """
    scores: dict[tuple[str, str, int, str], list[float]] = {}
    right: dict[tuple[str, str, int], list[float]] = {}
    for r in in_order(results):
        m = r.measurement
        row = (m.setting, label(m.method), m.n_ways)
        of_row = scores.setdefault((*row, m.supports), [])
        of_row.append(100 * r.scores.miou_star)
        if m.supports == "own":
            shares = right.setdefault(row, [])
            shares.append(100 * right_share(r.scores))
    rows = {}
    for setting, method, n_ways in right:
        supported = np.mean(scores[setting, method, n_ways, "own"])
        of_others = scores.get((setting, method, n_ways, "exchanged"), [np.nan])
        exchanged = np.mean(of_others)
        rows[setting, method] = {
            "mIoU*": supported,
            "exchanged": exchanged,
            "kept": 100 * exchanged / supported if supported else np.nan,
            "right class": np.mean(right[setting, method, n_ways]),
            "by chance": 100 / n_ways,
        }
    index = pd.MultiIndex.from_tuples(list(rows), names=["setting", None])
    return pd.DataFrame(list(rows.values()), index).round(1)


def prompts_matter(table: pd.DataFrame) -> Finding:
    """Whether LA uses its prompts, from `prompts_used`."""
    la = table[table.index.get_level_values(1).str.startswith("LA")].dropna()
    if la.empty:
        return Finding("LA has not been scored with exchanged supports.", PROMPTS_USED, "not run")
    several = la[la["by chance"] < 100]
    kept = []
    for _, row in la.reset_index("setting").iterrows():
        kept.append(f"{row['kept']:.0f} % in {row['setting']}")
    right = []
    for _, row in several.reset_index("setting").iterrows():
        chance = f"by chance {row['by chance']:.0f} %"
        right.append(f"{row['right class']:.0f} % in {row['setting']} ({chance})")
    sentence = (
        f"With the supports of other classes LA keeps this share of its score: {', '.join(kept)}"
        f" ({LITTLE} % or less is taken as little)"
    )
    if right:
        sentence += (
            f". The right class gets this share of the painted object pixels: {', '.join(right)}"
        )
    little_kept = (la["kept"] <= LITTLE).all()
    tells_apart = (several["right class"] > several["by chance"]).all()
    verdict: Verdict = "confirmed" if little_kept and tells_apart else "not confirmed"
    return Finding(sentence + ".", PROMPTS_USED, verdict)
