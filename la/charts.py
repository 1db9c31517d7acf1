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

_OWN = {"LA+": "#0072B2", "LA, the paper's model": "#D55E00"}


def by_fold(scores: pd.DataFrame) -> Figure:
    """A panel a setting, a row a method, from `tables.scores`: dots for folds, mean, interval."""
    settings, methods = scores["setting"].unique(), scores["method"].unique()[::-1]
    figure, axes = plt.subplots(
        1, len(settings), figsize=(3 + 3.2 * len(settings), 1 + 0.32 * len(methods)),
        sharex=True, sharey=True, layout="constrained", squeeze=False,
    )  # fmt: skip
    place = {name: y for y, name in enumerate(methods)}
    for axis, setting in zip(axes[0], settings, strict=True):
        table = scores[scores["setting"] == setting]
        mean = table["fold"] == "mean"
        folds = table[~mean]
        axis.scatter(
            folds["value"], folds["method"].map(place), s=22, facecolor="none", edgecolor="#999999"
        )
        for line in table[mean].itertuples():
            axis.errorbar(
                line.value, place[line.method], xerr=_or_0(line.half_width), fmt="o",
                color=_OWN.get(line.method, "#555555"), capsize=3, ms=6, lw=1.5,
            )  # fmt: skip
            axis.annotate(
                f"{line.value:.1f}", (line.value, place[line.method]), (0, 6),
                textcoords="offset points", ha="center", fontsize=7,
            )  # fmt: skip
        axis.set(title=setting, xlabel="mIoU* (%)", yticks=range(len(methods)), yticklabels=methods)
        axis.grid(axis="x", lw=0.4)
        axis.set_axisbelow(True)
        sns.despine(ax=axis, left=True)
        axis.tick_params(axis="y", length=0)
    axes[0, 0].set(xlim=(0, None), ylim=(-0.6, len(methods) - 0.3))
    return figure


def by_prompts(scores: pd.DataFrame) -> Figure:
    """A panel a setting, a group a kind of prompts, a bar a method, from `tables.scores`."""
    means = scores[scores["fold"] == "mean"]
    settings, prompts = means["setting"].unique(), list(means["prompts"].unique())
    methods = means["method"].unique()
    figure, axes = plt.subplots(
        1, len(settings), figsize=(2.9 * len(settings), 3.4), sharey=True, layout="constrained",
        squeeze=False,
    )  # fmt: skip
    width = 0.8 / len(methods)
    for axis, setting in zip(axes[0], settings, strict=True):
        for i, (name, tint) in enumerate(_colours(methods).items()):
            line = means[(means["setting"] == setting) & (means["method"] == name)]
            x = [prompts.index(p) + (i - (len(methods) - 1) / 2) * width for p in line["prompts"]]
            error = line["half_width"].fillna(0)
            axis.bar(x, line["value"], width, yerr=error, color=tint, label=name, capsize=1.5)
        axis.set(title=setting, xticks=range(len(prompts)))
        axis.set_xticklabels([p.replace(" and ", " and\n") for p in prompts], fontsize=7)
        sns.despine(ax=axis)
    axes[0, 0].set_ylabel("mIoU* (%)")
    figure.legend(*axes[0, 0].get_legend_handles_labels(), loc="outside lower center", ncols=4,
                  frameon=False, fontsize=8)  # fmt: skip
    return figure


def lines(frame: pd.DataFrame, x: str, y: dict[str, str]) -> Figure:
    """A panel for each column of `y` (column: axis label) over column `x`, a line a method.

    A column `half_width` is drawn as error bars on a column `value`.
    """
    figure, axes = plt.subplots(
        1, len(y), figsize=(2.6 + 4 * len(y), 3.6), layout="constrained", squeeze=False
    )
    for axis, (column, name) in zip(axes[0], y.items(), strict=True):
        for method, tint in _colours(frame["method"].unique()).items():
            line = frame[frame["method"] == method].sort_values(x)
            error = line["half_width"].fillna(0) if column == "value" else None
            style = {"color": tint, "label": method, "ms": 4, "capsize": 2, "elinewidth": 0.8}
            axis.errorbar(line[x], line[column], error, fmt="o-", **style)
        axis.set(xlabel=x, ylabel=name, ylim=(0, None), xticks=sorted(frame[x].unique()))
        axis.grid(lw=0.3)
        sns.despine(ax=axis)
    shown = axes[0, 0].get_legend_handles_labels()
    figure.legend(*shown, loc="outside right center", frameon=False, fontsize=8)
    return figure


def confusion(percent: pd.DataFrame) -> Figure:
    """A heat map of `reports.confusion`: true classes in rows, painted classes in columns."""
    side = 1.6 + 0.27 * len(percent)
    figure, axis = plt.subplots(figsize=(side + 0.8, side), layout="constrained")
    sns.heatmap(
        percent, ax=axis, cmap="Blues", vmin=0, vmax=100, square=True, xticklabels=True,
        yticklabels=True, cbar_kws={"label": "% of the true pixels", "shrink": 0.6},
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
        for axis, column in zip(axes, ("loss", "norm"), strict=False):
            axis.plot(run["step"], run[column], color=tint, lw=0.4, alpha=0.4)
            smooth = run[column].rolling(max(2, len(run) // 40), min_periods=1).median()
            axis.plot(run["step"], smooth, color=tint, label=name)
        axes[2].plot(run["step"], run["lr"], color=tint)
    axes[0].set(ylabel="focal loss", ylim=(0, None))
    axes[1].set(ylabel="gradient norm", ylim=(0, None))
    axes[2].set(xlabel="step", ylabel="learning rate")
    axes[0].legend(frameon=False)
    sns.despine()
    return figure


def show(figure: Figure, alt: str) -> Image:
    """The figure as a PNG of 256 colours that carries `alt`, read out where it cannot be seen."""
    with BytesIO() as drawn, BytesIO() as small:
        figure.savefig(drawn, format="png", dpi=100)
        plt.close(figure)
        PIL.Image.open(drawn).convert("RGB").quantize(256).save(small, "png", optimize=True)
        return Image(small.getvalue(), alt=alt)


def _colours(methods: Iterable[str]) -> dict[str, str]:
    """LA+ is always blue and LA vermilion; others take what is dark enough to read, then grey."""
    rest = iter(c for c in OKABE_ITO if c not in (*_OWN.values(), "#F0E442", "#999999"))
    return {name: _OWN.get(name) or next(rest, "#999999") for name in methods}


def _or_0(value: float) -> float:
    return 0.0 if value != value else value
