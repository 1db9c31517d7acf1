"""Charts of scores and costs: tidy tables in, a matplotlib `Figure` out."""

from collections.abc import Mapping, Sequence
from textwrap import fill

import pandas as pd
from matplotlib.figure import Figure

from la.experiment.methods import RIVALS, label
from la.report.figures.canvas import (
    COLOURS,
    LABEL,
    short,
    show,
    show_image,
    stacked,
    styles,
    with_legend,
)
from la.report.scores.comparison import Comparison
from la.report.scores.tables import REFERENCES

__all__ = ["AXIS_NAMES", "MIOU", "by_fold", "by_prompts", "lines", "show", "show_image"]

MIOU = "mIoU* (%)"
AXIS_NAMES = {
    "N": "classes of an episode (N)",
    "K": "examples of each class (K)",
    "steps": "training steps",
}
NAME = 21  # characters in a line of a method's name beside its row
MANY = 9  # lines that one panel can show


def by_fold(scores: pd.DataFrame) -> Figure:
    """A panel per setting, a row per method: dots for folds, a mark for their mean, its interval.

    The axis spans the scores of the methods; a reference beyond it is written at its edge.

    Args:
        scores: `tables.scores`.
    """
    settings = list(scores["setting"].unique())
    limit = 1.08 * _reach(_compared(scores), "value")
    height = 0.8 + 0.34 * scores["method"].nunique()
    figure, axes = stacked(len(settings), height)
    for axis, setting in zip(axes, settings, strict=True):
        shown = scores[scores["setting"] == setting]
        folds = shown[shown["fold"] != "mean"]
        means = shown[shown["fold"] == "mean"]
        axis.scatter(folds["value"], folds["method"], s=22, fc="none", ec=COLOURS[1])
        axis.errorbar(
            means["value"],
            means["method"],
            xerr=means["half_width"],
            fmt="kD",
            ms=4,
            capsize=3,
        )
        for value, method in zip(means["value"], means["method"], strict=True):
            text = f"{value:.1f}" if value <= limit else f"{value:.1f} \N{RIGHTWARDS ARROW}"
            axis.annotate(
                text,
                (min(value, limit), method),
                xytext=(0, 4),
                textcoords="offset points",
                ha="center" if value <= limit else "right",
                fontsize=LABEL,
            )
        names = [fill(short(name), NAME) for name in means["method"]]
        axis.set_yticks(range(len(names)), names, fontsize=LABEL)
        axis.invert_yaxis()
        axis.margins(y=0.09)
        axis.set(xlim=(-0.06 * limit, limit), title=setting)
    axes[-1].set_xlabel(MIOU)
    return figure


def leads(comparisons: Sequence[Comparison]) -> Figure:
    """A row per setting and prompts: how far a method is ahead, with its interval over episodes.

    The marks of leads that are not resolved are empty.
    """
    others = {short(label(c.other)) for c in comparisons}
    n_lines = 1 if len(others) == 1 else 2  # of a row's name
    figure, (axis,) = stacked(1, 0.9 + (0.07 + 0.2 * n_lines) * len(comparisons))
    for row, c in enumerate(comparisons):
        axis.errorbar(
            100 * c.difference.value,
            row,
            xerr=100 * c.difference.over_episodes,
            fmt="o",
            color="black",
            markerfacecolor="black" if c.difference.resolved else "white",
            capsize=3,
        )
    axis.axvline(0, color="black", lw=0.8)
    names = []
    for c in comparisons:
        column = f"{c.setting}, {c.prompts}"
        names.append(column if len(others) == 1 else f"{column}\n{short(label(c.other))}")
    axis.set_yticks(range(len(names)), names, fontsize=LABEL)
    axis.invert_yaxis()
    compared = others.pop() if len(others) == 1 else "the\ncomparator of the row"
    first = label(comparisons[0].method)
    axis.set_xlabel(f"{first} minus {compared}\n(points of mIoU*)")
    return figure


def by_prompts(scores: pd.DataFrame) -> Figure:
    """A panel per setting, a row per kind of prompts, a mark with its interval per method.

    Args:
        scores: `tables.scores`.
    """
    means = scores[scores["fold"] == "mean"]
    settings = list(means["setting"].unique())
    kinds = list(means["prompts"].unique())
    looks = styles(means["method"].unique())
    n_marks = len(kinds) * len(looks)  # of the largest panel
    figure, axes = stacked(len(settings), 0.6 + 0.14 * n_marks, shares_x=True)
    for axis, setting in zip(axes, settings, strict=True):
        of_setting = means[means["setting"] == setting]
        kinds = list(of_setting["prompts"].unique())
        for number, (method, style) in enumerate(looks.items()):
            shown = of_setting[of_setting["method"] == method]
            shift = 0.7 * ((number + 0.5) / len(looks) - 0.5)
            rows = [kinds.index(kind) + shift for kind in shown["prompts"]]
            axis.errorbar(
                shown["value"],
                rows,
                xerr=shown["half_width"],
                fmt=style.marker,
                color=style.colour,
                label=short(method),
                ms=6,
                capsize=2,
            )
        axis.set(yticks=range(len(kinds)), yticklabels=kinds, title=setting)
        axis.set_ylim(len(kinds) - 0.5, -0.5)  # the first kind on top, all marks inside
    axes[-1].set(xlabel=MIOU, xlim=(0, None))
    return with_legend(figure)


def lines(frame: pd.DataFrame, x: str, y: Mapping[str, str]) -> Figure:
    """A panel per column of `y` (column: axis label) over column `x`, a line per method.

    Of more than `MANY` methods the trained comparators have a panel of their own, again with LA.
    A column `half_width` is drawn as error bars on a column `value`. A reference that lies above
    all methods is written at the top instead of drawn.
    """
    looks = styles(frame["method"].unique())
    groups = _groups(list(looks))
    panels = [(*column, *group) for column in y.items() for group in groups.items()]
    figure, axes = stacked(len(panels), 2.4 if len(panels) > 1 else 3.2, shares_x=True)
    for axis, (column, name, title, methods) in zip(axes, panels, strict=True):
        limit = 1.1 * _reach(_compared(frame), column)
        for method in methods:
            points = frame[frame["method"] == method].sort_values(x)
            low, high = points[column].min(), points[column].max()
            if low > limit:
                text = f"{method}: {low:.0f} to {high:.0f} \N{UPWARDS ARROW}"
                axis.text(
                    1, 1, text, transform=axis.transAxes, ha="right", va="top", fontsize=LABEL
                )
                continue
            axis.errorbar(
                points[x],
                points[column],
                yerr=points["half_width"] if column == "value" else None,
                color=looks[method].colour,
                marker=looks[method].marker,
                linestyle=looks[method].dashes,
                label=short(method),
                ms=5,
                capsize=2,
                elinewidth=0.8,
            )
        axis.set(ylabel=name, ylim=(0, limit), xticks=sorted(frame[x].unique()), title=title)
    axes[-1].set_xlabel(AXIS_NAMES.get(x, x))
    return with_legend(figure)


def _groups(methods: Sequence[str]) -> dict[str, list[str]]:
    """The methods of each panel of `lines`, by its title."""
    if len(methods) <= MANY:
        return {"": list(methods)}
    trained = [rival.label for rival in RIVALS.values() if rival.network is not None]
    first, *others = methods
    return {
        "training-free": [first, *(name for name in others if name not in trained)],
        "trained comparators": [first, *(name for name in others if name in trained)],
    }


def _reach(points: pd.DataFrame, column: str) -> float:
    """The largest value of a column with its error bar, which only the column `value` has."""
    top = points[column]
    if column == "value":
        top = top + points["half_width"].fillna(0)
    return float(top.max())


def _compared(scores: pd.DataFrame) -> pd.DataFrame:
    """The rows of methods without references, unless there are only these."""
    references = [label(name) for name in REFERENCES]
    compared = scores[~scores["method"].isin(references)]
    return compared if len(compared) else scores
