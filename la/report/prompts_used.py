"""Two checks that a method uses its prompts, from stored counts.

A method that paints any object, whatever is prompted, can score well where queries show few
objects. It is caught by two questions: how much of the score is left when each query gets the
supports of another episode, with other classes; and how often a painted pixel of some asked
class gets the right one, which by chance happens once in N.
"""

from collections.abc import Iterable

import numpy as np
import pandas as pd

from la.experiment.measurements import Result
from la.experiment.methods import label
from la.learn.metrics import Scores
from la.report.findings import Finding
from la.report.tables import in_order


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
    `kept`, the second in percent of the first; `right class`, see `right_share`, with its
    supports, beside what chance gives. Without exchanged supports in the results their columns
    are NaN, and so is `kept` for a method that scores 0.
    """
    scores: dict[tuple[str, str, int, str], list[float]] = {}
    right: dict[tuple[str, str, int], list[float]] = {}
    for r in in_order(results):
        m = r.measurement
        row = (m.setting, label(m.method), m.n_ways)
        scores.setdefault((*row, m.supports), []).append(100 * r.scores.miou_star)
        if m.supports == "own":
            right.setdefault(row, []).append(100 * right_share(r.scores))
    rows = {}
    for setting, method, n_ways in right:
        supported = np.mean(scores[setting, method, n_ways, "own"])
        exchanged = np.mean(scores.get((setting, method, n_ways, "exchanged"), [np.nan]))
        rows[setting, method] = {
            "mIoU*": supported,
            "exchanged": exchanged,
            "kept": 100 * exchanged / supported if supported else np.nan,
            "right class": np.mean(right[setting, method, n_ways]),
            "by chance": 100 / n_ways,
        }
    index = pd.MultiIndex.from_tuples(rows, names=["setting", None])
    return pd.DataFrame(rows.values(), index).round(1)


def prompts_matter(table: pd.DataFrame) -> Finding:
    """Whether LA uses its prompts, from `prompts_used`."""
    claim = "LA segments the classes that the prompts of the support images show (3.1)."
    la = table[table.index.get_level_values(1).str.startswith("LA")].dropna()
    if la.empty:
        return Finding("LA has not been scored with exchanged supports.", claim, "not run")
    parts = []
    for (setting, _), row in la.iterrows():
        parts.append(f"{row['kept']:.0f} % in {setting}")
    several = la[la["by chance"] < 100]
    right = [
        f"{row['right class']:.0f} % in {setting} (by chance {row['by chance']:.0f} %)"
        for (setting, _), row in several.iterrows()
    ]
    sentence = f"With the supports of other classes LA keeps {', '.join(parts)} of its score"
    if right:
        sentence += f"; of the painted object pixels the right class gets {', '.join(right)}"
    used = bool((la["kept"] <= 20).all() and (several["right class"] > several["by chance"]).all())
    return Finding(sentence + ".", claim, "confirmed" if used else "not confirmed")
