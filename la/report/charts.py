"""Charts of scores, costs and training runs: tidy tables in, a matplotlib `Figure` out.

A chart is 5.5 inches wide and stacks its panels, so that its letters can be read on a phone.
Methods differ in marker and line as well as in colour, so that they can be distinguished in grey.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from io import BytesIO
from textwrap import shorten

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import PIL.Image
from IPython.display import Image
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from la.colours import OKABE_ITO
from la.experiment.methods import METHODS, label
from la.report.tables import REFERENCES

WIDTH = 5.5  # inches
MIOU = "mIoU* (%)"
AXIS_NAMES = {
    "N": "classes of an episode (N)",
    "K": "examples of each class (K)",
    "steps": "training steps",
}
COLOURS = [c for c in OKABE_ITO if c != "#F0E442"]  # yellow cannot be read on white
MARKERS = "osD^vPX*"
DASHES = ("-", "--", "-.", ":")


@dataclass(frozen=True)
class Style:
    """How a chart draws one method."""

    colour: str
    marker: str
    dashes: str


def by_fold(scores: pd.DataFrame) -> Figure:
    """A panel per setting, a row per method: dots for folds, a mark for their mean, its interval.

    The axis ends where the methods do. The mean of a reference beyond it is written at the edge.

    Args:
        scores: `tables.scores`.
    """
    settings = list(scores["setting"].unique())
    limit = 1.08 * _compared(scores)["value"].max()
    height = 0.8 + 0.32 * scores["method"].nunique()
    figure, axes = _stacked(len(settings), height)
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
                fontsize=8,
            )
        axis.invert_yaxis()
        axis.margins(y=0.09)
        axis.set(xlim=(-0.02 * limit, limit), title=setting)
    axes[-1].set_xlabel(MIOU)
    return figure


def by_prompts(scores: pd.DataFrame) -> Figure:
    """A panel per setting, a row per kind of prompts, a mark with its interval per method.

    Args:
        scores: `tables.scores`.
    """
    means = scores[scores["fold"] == "mean"]
    settings = list(means["setting"].unique())
    kinds = list(means["prompts"].unique())
    styles = _styles(means["method"].unique())
    n_marks = len(kinds) * len(styles)
    figure, axes = _stacked(len(settings), 0.6 + 0.14 * n_marks, shares_x=True)
    for axis, setting in zip(axes, settings, strict=True):
        for number, (method, style) in enumerate(styles.items()):
            is_shown = (means["setting"] == setting) & (means["method"] == method)
            shown = means[is_shown]
            shift = 0.7 * ((number + 0.5) / len(styles) - 0.5)
            rows = [kinds.index(kind) + shift for kind in shown["prompts"]]
            axis.errorbar(
                shown["value"],
                rows,
                xerr=shown["half_width"],
                fmt=style.marker,
                color=style.colour,
                label=method,
                ms=6,
                capsize=2,
            )
        axis.set(yticks=range(len(kinds)), yticklabels=kinds, title=setting)
        axis.invert_yaxis()
    axes[-1].set(xlabel=MIOU, xlim=(0, None))
    return _with_legend(figure)


def lines(frame: pd.DataFrame, x: str, y: Mapping[str, str]) -> Figure:
    """A panel per column of `y` (column: axis label) over column `x`, a line per method.

    A column `half_width` is drawn as error bars on a column `value`. A reference that lies above
    all methods is written at the top instead of drawn.
    """
    compared = _compared(frame)
    figure, axes = _stacked(len(y), 2.4 if len(y) > 1 else 3.2, shares_x=True)
    for axis, (column, name) in zip(axes, y.items(), strict=True):
        limit = 1.1 * compared[column].max()
        for method, style in _styles(frame["method"].unique()).items():
            points = frame[frame["method"] == method].sort_values(x)
            low, high = points[column].min(), points[column].max()
            if low > limit:
                text = f"{method}: {low:.0f} to {high:.0f} \N{UPWARDS ARROW}"
                axis.text(1, 1, text, transform=axis.transAxes, ha="right", va="top", fontsize=8)
                continue
            axis.errorbar(
                points[x],
                points[column],
                yerr=points["half_width"] if column == "value" else None,
                color=style.colour,
                marker=style.marker,
                linestyle=style.dashes,
                label=method,
                ms=5,
                capsize=2,
                elinewidth=0.8,
            )
        axis.set(ylabel=name, ylim=(0, limit), xticks=sorted(frame[x].unique()))
    axes[-1].set_xlabel(AXIS_NAMES.get(x, x))
    return _with_legend(figure)


def confusion(percent: pd.DataFrame) -> Figure:
    """A heat map of `analysis.confusion`: true classes in rows, painted classes in columns.

    Columns are numbered; the numbers are beside the names of the rows.
    """
    figure, (axis,) = _stacked(1, 1.2 + 0.18 * len(percent))
    mesh = axis.pcolormesh(percent, cmap="Greys", vmin=0, vmax=100)
    figure.colorbar(mesh, ax=axis, location="bottom", label="% of the true pixels", shrink=0.6)
    names = []
    for number, name in enumerate(percent.index):
        names.append(f"{shorten(str(name), 28, placeholder=' ...')}  {number}")
    centres = np.arange(len(percent)) + 0.5
    axis.set_xticks(centres, [str(number) for number in range(len(percent))])
    axis.set_yticks(centres, names)
    axis.tick_params(labelsize=8)
    axis.tick_params(axis="x", rotation=90)
    axis.invert_yaxis()
    axis.grid(False)
    axis.set(xlabel="painted as", ylabel="true class")
    return figure


def curves(histories: Mapping[str, pd.DataFrame]) -> Figure:
    """Each run's loss and gradient norm, thin, with running medians, and its learning rate.

    Args:
        histories: by name, columns step, loss, norm and lr.
    """
    figure, axes = _stacked(3, 2, shares_x=True)
    columns = {"loss": "focal loss", "norm": "gradient norm", "lr": "learning rate"}
    for axis, (column, name) in zip(axes, columns.items(), strict=True):
        for run, style in _styles(histories).items():
            history = histories[run]
            window = max(2, len(history) // 40)
            smooth = history[column].rolling(window, min_periods=1).median()
            if column != "lr":
                axis.plot(history["step"], history[column], color=style.colour, lw=0.4, alpha=0.4)
            axis.plot(
                history["step"],
                history[column] if column == "lr" else smooth,
                color=style.colour,
                linestyle=style.dashes,
                label=run,
            )
        axis.set(ylabel=name, ylim=(0, None))
    axes[-1].set_xlabel(AXIS_NAMES["steps"])
    return _with_legend(figure)


def show(figure: Figure, alt: str) -> Image:
    """The figure as a PNG of 256 colours and 200 dots per inch, with an alternative text.

    Args:
        alt: what the figure shows, for readers who cannot see it; kept in the output's metadata.
    """
    with BytesIO() as drawn, BytesIO() as small:
        figure.savefig(drawn, format="png", dpi=200)
        PIL.Image.open(drawn).convert("RGB").quantize(256).save(small, "png", optimize=True)
        return Image(small.getvalue(), alt=alt)


def _compared(scores: pd.DataFrame) -> pd.DataFrame:
    """The rows of methods without references, unless there are only these."""
    references = [label(name) for name in REFERENCES]
    compared = scores[~scores["method"].isin(references)]
    return compared if len(compared) else scores


def _stacked(n_panels: int, height: float, shares_x: bool = False) -> tuple[Figure, Sequence[Axes]]:
    """A figure of panels, each of this height in inches, one below the other."""
    figure, axes = plt.subplots(
        n_panels,
        1,
        figsize=(WIDTH, n_panels * height),
        sharex=shares_x,
        squeeze=False,
        layout="constrained",
    )
    plt.close(figure)  # else a notebook would show it twice
    for axis in axes[:, 0]:
        axis.spines[["top", "right"]].set_visible(False)
        axis.grid(lw=0.3)
    return figure, list(axes[:, 0])


def _with_legend(figure: Figure) -> Figure:
    """One legend for all panels, below them."""
    handles, names = figure.axes[0].get_legend_handles_labels()
    figure.legend(handles, names, loc="outside lower center", frameon=False, ncols=2)
    return figure


def _styles(methods: Iterable[str]) -> dict[str, Style]:
    """The style of each method; those of the tables look the same in every chart."""
    of_tables = [method.label for method in METHODS.values()]
    order = list(dict.fromkeys([*of_tables, *methods]))
    styles = {}
    for name in methods:
        # LA, the first, is blue; names that are in no table begin anew.
        place = order.index(name) - (len(of_tables) if name not in of_tables else 0)
        styles[name] = Style(
            COLOURS[(place + 3) % len(COLOURS)],
            MARKERS[place % len(MARKERS)],
            DASHES[place % len(DASHES)],
        )
    return styles
