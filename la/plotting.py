"""Figures: values in, a matplotlib `Figure` out."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.figure import Figure
from PIL import Image

from la.colours import OKABE_ITO, colour, overlay
from la.data.prompts import Drawn


@dataclass(frozen=True)
class SupportPicture:
    """One support image with what is prompted on it, in original pixels."""

    image: Image.Image
    prompts: dict[int, Drawn]  # by row of C


@dataclass(frozen=True)
class EpisodePicture:
    """One scored episode, ready to be looked at; maps are (H, W) rows of C, original pixels."""

    number: int
    class_names: tuple[str, ...]
    supports: tuple[SupportPicture, ...]
    query: Image.Image
    target: np.ndarray
    prediction: np.ndarray
    iou: dict[str, float] = field(default_factory=dict)  # by class name; only where it is defined


def episode_strip(episodes: Sequence[EpisodePicture]) -> Figure:
    """A row an episode: supports with their prompts, query, truth, prediction."""
    n_supports = max(len(e.supports) for e in episodes)
    columns = n_supports + 3
    figure, axes = plt.subplots(
        len(episodes), columns, figsize=(1.9 * columns, 2.05 * len(episodes)),
        layout="constrained", squeeze=False,
    )  # fmt: skip
    for row, episode in zip(axes, episodes, strict=True):
        for axis in row:
            axis.set_axis_off()
        for axis, support in zip(row, episode.supports, strict=False):
            draw_support(axis, support)
        row[-3].imshow(episode.query)
        row[-2].imshow(overlay(episode.query, episode.target))
        row[-1].imshow(overlay(episode.query, episode.prediction))
        names = "\n".join(f"{n + 1} {name}" for n, name in enumerate(episode.class_names))
        row[0].text(
            -0.06, 0.5, f"episode {episode.number}\n{names}", transform=row[0].transAxes,
            rotation=90, va="center", ha="right", fontsize=7,
        )  # fmt: skip
        scored = ", ".join(f"{100 * v:.0f}" for v in episode.iou.values())
        row[-1].set_title(f"IoU {scored} %" if scored else "no class shown", fontsize=8)
    titles = [f"support {i + 1}" for i in range(n_supports)] + ["query", "truth"]
    for axis, title in zip(axes[0], titles, strict=False):
        axis.set_title(title, fontsize=8)
    axes[0, -1].set_title("prediction: " + axes[0, -1].get_title(), fontsize=8)
    return figure


def draw_support(axis, support: SupportPicture) -> None:
    """Image, masks, boxes and points on a matplotlib axis."""
    labels = np.zeros((support.image.height, support.image.width), dtype=int)
    for row, drawn in support.prompts.items():
        if drawn.mask is not None:
            labels[drawn.mask] = row
    axis.imshow(overlay(support.image, labels))
    for row, drawn in support.prompts.items():
        for x0, y0, x1, y1 in drawn.boxes:
            axis.add_patch(plt.Rectangle((x0, y0), x1 - x0, y1 - y0, fill=False, ec=colour(row), lw=2))
        for points in drawn.points:
            axis.scatter(*points.T, s=22, color=[colour(row)], edgecolors="white", linewidths=0.8)


def by_fold(ours: pd.DataFrame) -> Figure:
    """Bars of mIoU* a fold, one panel a setting, from `tables.ours`; lines are the 95 % intervals."""
    settings = list(dict.fromkeys(ours.columns.get_level_values(0)))
    figure, axes = plt.subplots(
        1, len(settings), figsize=(5.2 * len(settings), 3.6), sharey=True, layout="constrained",
        squeeze=False,
    )  # fmt: skip
    for axis, setting in zip(axes[0], settings, strict=True):
        table = ours[setting]
        long = table.drop(columns="+-").rename_axis("method").reset_index()
        long = long.melt("method", var_name="fold", value_name="mIoU* (%)")
        sns.barplot(
            long, x="fold", y="mIoU* (%)", hue="method", palette=OKABE_ITO[: len(table)], ax=axis
        )
        width = 0.8 / len(table)
        middle = list(table.columns).index("mean")
        for i, (mean, half) in enumerate(zip(table["mean"], table["+-"], strict=True)):
            at = middle - 0.4 + (i + 0.5) * width
            axis.errorbar(at, mean, yerr=half, color="black", capsize=2, lw=1)
        axis.set(title=setting, xlabel="")
        axis.legend().set_visible(axis is axes[0, 0])
        sns.despine(ax=axis)
    sns.move_legend(axes[0, 0], "upper left", fontsize=7, title=None, frameon=False)
    axes[0, 0].set_ylim(top=1.25 * float(ours.drop(columns="+-", level=1).max().max()))
    return figure


def curves(history: Sequence[dict]) -> Figure:
    """Loss of each step, thin, and its running median; the learning rate below."""
    frame = pd.DataFrame(history)
    figure, (loss, rate) = plt.subplots(
        2, 1, figsize=(7, 4), sharex=True, height_ratios=(3, 1), layout="constrained"
    )
    loss.plot(frame["step"], frame["loss"], color=OKABE_ITO[1], lw=0.5)
    smooth = frame["loss"].rolling(max(2, len(frame) // 40), min_periods=1).median()
    loss.plot(frame["step"], smooth, color=OKABE_ITO[4])
    loss.set(ylabel="focal loss", yscale="log")
    rate.plot(frame["step"], frame["lr"], color=OKABE_ITO[7])
    rate.set(xlabel="step", ylabel="learning rate")
    sns.despine()
    return figure
