"""Charts of scores, costs and training runs: tidy tables in, a matplotlib `Figure` out."""

from collections.abc import Iterable
from io import BytesIO

import matplotlib.pyplot as plt
import pandas as pd
import PIL.Image
import seaborn as sns
from IPython.display import Image
from matplotlib.figure import Figure

from la.colours import OKABE_ITO

_OWN = {"LA": "#0072B2"}


def by_fold(scores: pd.DataFrame) -> Figure:
    """A panel a setting, a row a method, from `tables.scores`: dots for folds, mean, interval."""
    mean, height = scores["fold"] == "mean", 1 + 0.32 * scores["method"].nunique()
    grid = sns.catplot(
        scores[~mean], kind="strip", x="value", y="method", col="setting", color="#56B4E9",
        jitter=False, height=height, aspect=4 / height,
    )  # fmt: skip
    for setting, axis in grid.axes_dict.items():
        table = scores[mean & (scores["setting"] == setting)]
        x, half_width = table["value"], table["half_width"]
        axis.errorbar(x, table["method"], xerr=half_width, fmt="kd", ms=5, capsize=3, zorder=3)
        for value, name in zip(x, table["method"], strict=True):
            axis.annotate(f"{value:.1f}", (value, name), (0, 6), textcoords="offset points",
                          ha="center", fontsize=7)  # fmt: skip
        axis.grid(axis="x", lw=0.4)
    return grid.set(xlim=(0, None), xlabel="mIoU* (%)", ylabel="").set_titles("{col_name}").figure


def by_prompts(scores: pd.DataFrame) -> Figure:
    """A panel a setting, a group a kind of prompts, a bar a method, from `tables.scores`."""
    means = scores[scores["fold"] == "mean"]
    settings = means["setting"].unique()
    figure, axes = _panels(len(settings), (2.9 * len(settings), 3.4), sharey=True)
    for axis, setting in zip(axes, settings, strict=True):
        wide = means[means["setting"] == setting].pivot_table(
            ["value", "half_width"], "prompts", "method", sort=False, dropna=False
        )
        wide.index = wide.index.str.replace(" and ", " and\n")
        wide["value"].plot.bar(
            ax=axis, yerr=wide["half_width"], color=_colours(wide["value"]), width=0.8,
            capsize=1.5, rot=0, fontsize=7, legend=False, title=setting, xlabel="",
        )  # fmt: skip
    axes[0].set_ylabel("mIoU* (%)")
    return _legend(figure, "lower center", ncols=4)


def lines(frame: pd.DataFrame, x: str, y: dict[str, str]) -> Figure:
    """A panel for each column of `y` (column: axis label) over column `x`, a line a method.

    A column `half_width` is drawn as error bars on a column `value`.
    """
    figure, axes = _panels(len(y), (2.6 + 4 * len(y), 3.6))
    for axis, (column, name) in zip(axes, y.items(), strict=True):
        for method, tint in _colours(frame["method"].unique()).items():
            line = frame[frame["method"] == method].sort_values(x)
            error = line["half_width"] if column == "value" else None
            style = {"color": tint, "label": method, "ms": 4, "capsize": 2, "elinewidth": 0.8}
            axis.errorbar(line[x], line[column], error, fmt="o-", **style)
        axis.set(xlabel=x, ylabel=name, ylim=(0, None), xticks=sorted(frame[x].unique()))
        axis.grid(lw=0.3)
    return _legend(figure, "right center")


def confusion(percent: pd.DataFrame) -> Figure:
    """A heat map of `reports.confusion`: true classes in rows, painted classes in columns.

    Columns bear the numbers that stand behind the names of the rows.
    """
    side = 0.6 + 0.22 * len(percent)
    figure, (axis,) = _panels(1, (side + 3.5, side))
    numbers = range(len(percent))
    names = [f"{name}  {n}" for n, name in zip(numbers, percent.index, strict=True)]
    sns.heatmap(
        percent, ax=axis, cmap="Blues", vmin=0, vmax=100, xticklabels=numbers, yticklabels=names,
        cbar_kws={"label": "% of the true pixels", "shrink": 0.6},
    )  # fmt: skip
    axis.tick_params(labelsize=7)
    axis.set(xlabel="painted as", ylabel="true class")
    return figure


def curves(histories: dict[str, pd.DataFrame]) -> Figure:
    """Each run's loss and gradient norm, thin, with running medians, and its learning rate."""
    figure, axes = plt.subplots(
        3, 1, figsize=(7, 6), sharex=True, height_ratios=(3, 2, 1), layout="constrained"
    )
    for (name, run), tint in zip(histories.items(), _colours(histories).values(), strict=True):
        smooth = run.rolling(max(2, len(run) // 40), min_periods=1).median()
        for axis, column in zip(axes, ("loss", "norm"), strict=False):
            axis.plot(run["step"], run[column], color=tint, lw=0.4, alpha=0.4)
            axis.plot(run["step"], smooth[column], color=tint, label=name)
        axes[2].plot(run["step"], run["lr"], color=tint)
    axes[0].set(ylabel="focal loss", ylim=(0, None))
    axes[1].set(ylabel="gradient norm", ylim=(0, None))
    axes[2].set(xlabel="step", ylabel="learning rate")
    axes[0].legend(frameon=False)
    sns.despine(figure)
    return figure


def show(figure: Figure, alt: str) -> Image:
    """The figure as a PNG of 256 colours that carries `alt`, read out where it cannot be seen."""
    with BytesIO() as drawn, BytesIO() as small:
        figure.savefig(drawn, format="png", dpi=100)
        plt.close(figure)
        PIL.Image.open(drawn).convert("RGB").quantize(256).save(small, "png", optimize=True)
        return Image(small.getvalue(), alt=alt)


def _panels(n_columns: int, size: tuple[float, float], **options):
    """A figure and its axes, side by side."""
    figure, axes = plt.subplots(
        1, n_columns, figsize=size, layout="constrained", squeeze=False, **options
    )
    return figure, axes[0]


def _legend(figure: Figure, place: str, **options) -> Figure:
    """One legend for all panels, beside them."""
    shown = figure.axes[0].get_legend_handles_labels()
    figure.legend(*shown, loc=f"outside {place}", frameon=False, fontsize=8, **options)
    sns.despine(figure)
    return figure


def _colours(methods: Iterable[str]) -> dict[str, str]:
    """LA is always blue; others take what is dark enough to read, then grey."""
    rest = iter(c for c in OKABE_ITO if c not in (*_OWN.values(), "#F0E442", "#999999"))
    return {name: _OWN.get(name) or next(rest, "#999999") for name in methods}
