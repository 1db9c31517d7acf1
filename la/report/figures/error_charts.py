"""Charts of mistakes: their kinds, which class is taken for which, and what the rule changes."""

from textwrap import fill, shorten

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from la.report.figures.canvas import COLOURS, LABEL, MARKERS, short, stacked, with_legend
from la.report.figures.lettering import literal

NAME = 21  # characters in a line of a method's name beside its row
MANY = 50  # bars; a chart with more of them is hard to read
KINDS = {  # of `analysis.mistakes`: the pixels of true objects, by what happened to them
    "right": ("#555555", ""),
    "another class": ("#bbbbbb", "xxxx"),
    "missed": ("white", "////"),
}


def kinds(mistakes: pd.DataFrame) -> Figure:
    """A panel per setting, a bar per method: the object pixels that are right, confused, missed.

    Where that makes more than `MANY` bars, the first and the last setting are drawn alone.

    Args:
        mistakes: `analysis.mistakes`; rows (setting, method).
    """
    settings = list(mistakes.index.unique(0))
    if len(mistakes) > MANY:
        settings = [settings[0], settings[-1]]
    n_methods = mistakes.index.get_level_values(1).nunique()
    figure, axes = stacked(len(settings), 0.7 + 0.34 * n_methods, shares_x=True)
    for axis, setting in zip(axes, settings, strict=True):
        shares = mistakes.loc[setting]["foreground"]
        names = [fill(short(str(name)), NAME) for name in shares.index]
        start = np.zeros(len(shares))
        for kind, (colour, hatch) in KINDS.items():
            axis.barh(
                range(len(shares)),
                shares[kind],
                left=start,
                color=colour,
                edgecolor="black",
                hatch=hatch,
                linewidth=0.6,
                label=kind,
            )
            start = start + shares[kind].to_numpy()
        axis.set_yticks(range(len(names)), names, fontsize=LABEL)
        axis.invert_yaxis()
        axis.set(title=setting, xlim=(0, 100))
    axes[-1].set_xlabel("% of the true object pixels")
    return with_legend(figure)


def kinds_in_words(mistakes: pd.DataFrame) -> str:
    """What happens to the object pixels of the first method in the first and the last setting."""
    texts = []
    settings = mistakes.index.unique(0)
    for setting in dict.fromkeys((settings[0], settings[-1])):
        shares = mistakes.loc[setting]["foreground"]
        method, first = shares.index[0], shares.iloc[0]
        texts.append(
            f"In {setting} {method} has {first['right']:.0f} % of the object pixels right, misses "
            f"{first['missed']:.0f} % and gives {first['another class']:.0f} % to another class."
        )
    return " ".join(texts)


def confusion_in_words(percent: pd.DataFrame) -> str:
    """The class that is most often painted as another one, of `analysis.confusion`."""
    mixed = percent.drop(index="background", columns="background")
    values = mixed.to_numpy(copy=True)
    np.fill_diagonal(values, 0)
    row, column = divmod(int(np.nanargmax(values)), values.shape[1])
    return (
        f"{mixed.index[row]} is most often confused: {values[row, column]:.0f} % of its pixels are "
        f"painted as {mixed.columns[column]}."
    )


def by_rule(rules: pd.DataFrame) -> Figure:
    """A panel per setting, a row per method and truth, a mark per rule by which papers score.

    Args:
        rules: `analysis.protocols`; rows (setting, method, truth), a column per rule.
    """
    settings = list(rules.index.unique(0))
    n_rows = max(len(rules.loc[setting]) for setting in settings)
    figure, axes = stacked(len(settings), 0.7 + 0.45 * n_rows, shares_x=True)
    for axis, setting in zip(axes, settings, strict=True):
        shown = rules.loc[setting]
        names = [fill(f"{method}, {truth}", NAME) for method, truth in shown.index]
        for number, rule in enumerate(rules.columns):
            # The first rule is a bar, and the other marks are empty: those of equal scores show.
            axis.plot(
                shown[rule],
                range(len(shown)),
                linestyle="none",
                marker=MARKERS[number % len(MARKERS)] if number else "|",
                markersize=6 if number else 16,
                markeredgewidth=1.2 if number else 2,
                markerfacecolor="none",
                color=COLOURS[number % len(COLOURS)] if number else "black",
                label=rule,
            )
        axis.set_yticks(range(len(names)), names, fontsize=LABEL)
        axis.invert_yaxis()
        axis.margins(y=0.12)
        axis.set(title=setting)
    axes[-1].set_xlabel("score of the same predictions (%)")
    return with_legend(figure)


def _ending(name: str) -> str:
    """A long name without its first words: names differ at their end, `greek small letter phi`."""
    return shorten(name[::-1], 24, placeholder=" ...")[::-1]


def confusion(percent: pd.DataFrame) -> Figure:
    """A heat map of `analysis.confusion`: true classes in rows, painted classes in columns.

    Columns are numbered; the numbers are beside the names of the rows.
    """
    figure, (axis,) = stacked(1, 1.4 + 0.2 * len(percent))
    mesh = axis.pcolormesh(percent, cmap="Greys", vmin=0, vmax=100)
    figure.colorbar(mesh, ax=axis, location="bottom", label="% of the true pixels", shrink=0.6)
    names = []
    for number, name in enumerate(percent.index):
        names.append(f"{literal(_ending(str(name)))}  {number}")
    centres = np.arange(len(percent)) + 0.5
    axis.set_xticks(centres, [str(number) for number in range(len(percent))])
    axis.set_yticks(centres, names)
    axis.tick_params(labelsize=8)
    axis.tick_params(axis="x", rotation=90)
    axis.invert_yaxis()
    axis.grid(False)
    axis.set(xlabel="painted as", ylabel="true class")
    return figure
