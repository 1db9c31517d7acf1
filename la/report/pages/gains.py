"""The gains of a study, as a table, a chart and words: means over classes with their intervals."""

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from la.experiment.methods import label
from la.report.figures.canvas import COLOURS, LABEL, stacked
from la.report.pages.studies import Study
from la.report.scores.statistics import Interval, t_interval


def gains(study: Study) -> pd.DataFrame:
    """The mean over classes, and the gain with half of its 95 % interval over classes.

    Returns:
        Indexed by method and k_shots; columns classes, the two ways, gain, and half_width, which
        is NaN for a single class.
    """
    rows = {}
    classes = study.classes.assign(gain=study.gain)
    for key, frame in classes.groupby(["method", "k_shots"], sort=False):
        gain = t_interval(frame["gain"].tolist())
        rows[key] = {
            "classes": len(frame),
            study.way: frame[study.way].mean(),
            study.other: frame[study.other].mean(),
            "gain": gain.value,
            "half_width": gain.half_width,
        }
    table = pd.DataFrame.from_dict(rows, orient="index")
    return table.rename_axis(["method", "k_shots"])


def in_words(table: pd.DataFrame) -> str:
    """The gain of LA for each number of examples.

    Args:
        table: from `gains`.
    """
    parts = []
    for k_shots, row in table.loc[label("la")].iterrows():
        gain = _interval(row)
        text = f"{gain.points} points with K = {k_shots}"
        parts.append(text if gain.resolved else f"{text} (unresolved)")
    return ", ".join(parts)


def chart(study: Study) -> Figure:
    """A panel per method, a row per K: dots for the gains of classes, a mark for their mean."""
    table = gains(study)
    classes = study.classes
    methods = list(table.index.get_level_values("method").unique())
    n_rows = table.index.get_level_values("k_shots").nunique()
    figure, axes = stacked(len(methods), 0.7 + 0.4 * n_rows, shares_x=True)
    for axis, method in zip(axes, methods, strict=True):
        rows = table.loc[method]
        for row, (k_shots, means) in enumerate(rows.iterrows()):
            is_shown = (classes["method"] == method) & (classes["k_shots"] == k_shots)
            dots = study.gain[is_shown]
            axis.scatter(dots, [row] * len(dots), s=18, fc="none", ec=COLOURS[1])
            gain = _interval(means)
            axis.errorbar(
                gain.value,
                row,
                xerr=np.nan_to_num(gain.half_width),
                fmt="kD",
                ms=4,
                capsize=3,
            )
            axis.annotate(
                f"{gain.value:+.1f}",
                (gain.value, row),
                xytext=(0, 6),
                textcoords="offset points",
                ha="center",
                fontsize=LABEL,
            )
        axis.axvline(0, color="black", lw=0.8)
        axis.set(yticks=range(len(rows)), yticklabels=[f"K = {k}" for k in rows.index])
        axis.set(title=method)
        axis.margins(y=0.25)
        axis.invert_yaxis()
    axes[-1].set_xlabel(f"{study.way} minus {study.other}\n(points of IoU)")
    return figure


def printed(study: Study) -> pd.DataFrame:
    """`gains` as a page prints it: rounded, the gain with its interval and a verdict."""
    rows = {}
    for key, row in gains(study).iterrows():
        gain = _interval(row)
        rows[key] = {
            "classes": f"{row['classes']:.0f}",
            f"{study.way}, IoU (%)": f"{row[study.way]:.1f}",
            f"{study.other}, IoU (%)": f"{row[study.other]:.1f}",
            "gain ± (points)": gain.points,
            " ": "" if gain.resolved else "unresolved",
        }
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis(["", "K"])


def _interval(row: pd.Series) -> Interval:
    """The gain in a row of `gains`."""
    gain, half_width = row["gain"], row["half_width"]
    return Interval(gain, gain - half_width, gain + half_width)
