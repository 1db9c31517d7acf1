"""Figures: values in, a matplotlib `Figure` out."""

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass, field
from textwrap import wrap

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.figure import Figure
from PIL import Image

from la.colours import OKABE_ITO, colour
from la.data import folds
from la.data.index import CocoIndex
from la.data.loader import BatchLoader
from la.data.photos import to_drawn
from la.data.predicted import Prediction
from la.data.prompts import Drawn
from la.types import Episode


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
    target: np.ndarray | None  # None where it is not known
    prediction: np.ndarray | None  # None where nothing was predicted
    iou: dict[str, float] = field(default_factory=dict)  # by class name; only where it is defined


def _subplots(n_rows: int, n_columns: int, **options) -> tuple[Figure, np.ndarray]:
    """pyplot's, but pyplot lets go of the figure: a notebook shows it once, not twice."""
    figure, axes = plt.subplots(n_rows, n_columns, layout="constrained", **options)
    plt.close(figure)
    return figure, axes


def episode_strip(episodes: Sequence[EpisodePicture]) -> Figure:
    """A row an episode: supports with their prompts, query, and truth and prediction if known."""
    n_supports = max(len(e.supports) for e in episodes)
    known = [name for name in ("target", "prediction") if getattr(episodes[0], name) is not None]
    columns = n_supports + 1 + len(known)
    lines = 1 + max(len(_lines(e.class_names)) for e in episodes)
    size = 1.9 * columns, (2 + 0.11 * lines) * len(episodes)
    figure, axes = _subplots(len(episodes), columns, figsize=size, squeeze=False)
    for row, episode in zip(axes, episodes, strict=True):
        for axis in row:
            axis.set_axis_off()
        for axis, support in zip(row, episode.supports, strict=False):
            draw_support(axis, support)
        row[n_supports].imshow(episode.query)
        for axis, name in zip(row[n_supports + 1 :], known, strict=True):
            draw_labels(axis, episode.query, getattr(episode, name))
        text = "\n".join([f"episode {episode.number}", *_lines(episode.class_names)])
        row[0].text(0, -0.03, text, transform=row[0].transAxes, va="top", fontsize=6)
        if known == ["target", "prediction"]:
            scored = ", ".join(f"{100 * v:.0f}" for v in episode.iou.values())
            row[-1].set_title(f"IoU {scored} %" if scored else "no class shown", fontsize=8)
    titles = [f"support {i + 1}" for i in range(n_supports)] + ["query"]
    titles += [{"target": "truth", "prediction": "prediction"}[name] for name in known]
    for axis, title in zip(axes[0], titles, strict=True):
        under = axis.get_title()
        axis.set_title(f"{title}: {under}" if under else title, fontsize=8)
    return figure


def _lines(names: Sequence[str]) -> list[str]:
    """The classes by number, in lines that fit under a picture."""
    numbered = (f"{n}  {name}" for n, name in enumerate(names, 1))
    return [line for name in numbered for line in wrap(name, 36, subsequent_indent="    ")]


def explained(
    examples: Sequence[tuple[Image.Image, dict]], prediction: Prediction, target: np.ndarray | None
) -> Figure:
    """A prediction beside the examples that it was made from, as given to `Predictor.support`."""
    names, iou = prediction.class_names, {}
    supports = [
        SupportPicture(
            image,
            {
                names.index(name) + 1: to_drawn(prompts, (image.height, image.width), name)
                for name, prompts in found.items()
            },
        )
        for image, found in examples
    ]
    for n, name in enumerate(names if target is not None else (), 1):
        truth, guess = target == n, prediction.labels == n
        if (truth | guess).any():
            iou[name] = float((truth & guess).sum() / (truth | guess).sum())
    picture = EpisodePicture(
        1, names, tuple(supports), prediction.image, target, prediction.labels, iou
    )
    return episode_strip([picture])


def fold_classes(index: CocoIndex, rule: str = "interleaved") -> pd.DataFrame:
    """The classes that each fold keeps for the test; a column a fold."""
    columns = {
        f"fold {fold}": pd.Series(
            [index.class_name(c) for c in folds.unseen(index.category_ids, fold, rule)]
        )
        for fold in range(folds.N_FOLDS)
    }
    return pd.DataFrame(columns).fillna("")


def served(loader: BatchLoader, episodes: Sequence[Episode]) -> list[EpisodePicture]:
    """Episodes with the prompts drawn for them and their truth, before any model has seen them."""
    index, pictures = loader.index, []
    for number, episode in enumerate(episodes):
        drawn: list[dict[int, Drawn]] = [{} for _ in episode.support_ids]
        for example, prompts in zip(episode.examples, loader.draw(episode), strict=True):
            drawn[example.support][example.row] = prompts
        images = [index.read_image(i) for i in episode.support_ids]
        pictures.append(
            EpisodePicture(
                number,
                tuple(index.class_name(c) for c in episode.class_ids),
                tuple(map(SupportPicture, images, drawn)),
                index.read_image(episode.query_id),
                loader.target(episode),
                None,
            )
        )
    return pictures


def episode_histograms(loader: BatchLoader, episodes: Sequence[Episode]) -> Figure:
    """What a list of episodes is made of: classes, what queries show, prompts and their number."""
    index, targets = loader.index, [loader.target(e) for e in episodes]
    drawn = [d for e in episodes for d in loader.draw(e)]
    classes = pd.Series([index.class_name(c) for e in episodes for c in e.class_ids])
    counts = classes.value_counts()
    kinds = {
        "mask": sum(d.mask is not None for d in drawn),
        "box": sum(len(d.boxes) for d in drawn),
        "point": sum(len(p) for d in drawn for p in d.points),
    }
    figure, axes = _subplots(1, 4, figsize=(14, 4), width_ratios=(1, 0.8, 1, 0.8))
    sns.barplot(x=counts.values, y=counts.index, color=OKABE_ITO[1], ax=axes[0])
    axes[0].set(xlabel="episodes that ask for the class", ylabel="")
    axes[0].tick_params(axis="y", labelsize=7)
    shown = [len(np.unique(t[t > 0])) for t in targets]
    sns.histplot(x=shown, discrete=True, color=OKABE_ITO[2], ax=axes[1])
    axes[1].set(xlabel="classes that the query shows", ylabel="episodes")
    axes[1].set_xticks(range(1 + max(e.n_ways for e in episodes)))
    sns.histplot(x=[100 * (t > 0).mean() for t in targets], color=OKABE_ITO[4], ax=axes[2])
    axes[2].set(xlabel="% of the query's pixels that they cover", ylabel="episodes")
    sns.barplot(x=list(kinds), y=list(kinds.values()), color=OKABE_ITO[0], ax=axes[3])
    axes[3].set(xlabel="prompts of the supports", ylabel="number")
    sns.despine(figure)
    return figure


def draw_labels(axis, image: Image.Image, labels: np.ndarray) -> None:
    """The image, pale where nothing is labelled, each row of C in its colour and outline."""
    grey = np.asarray(image.convert("L"), float)[..., None] / 255
    pixels = np.where(
        (labels > 0)[..., None], np.asarray(image.convert("RGB")) / 255, 0.6 + 0.4 * grey
    )
    for row in np.unique(labels[labels > 0]):
        inside = (labels == row)[..., None]
        pixels = np.where(inside, 0.5 * pixels + 0.5 * np.array(colour(row)), pixels)
    axis.imshow(pixels)
    for row in np.unique(labels[labels > 0]):
        padded = np.pad(labels == row, 1).astype(float)
        at = [np.arange(-1, side + 1) for side in labels.shape]
        axis.contour(at[1], at[0], padded, levels=[0.5], colors=[colour(row)], linewidths=1.2)
    axis.set(xlim=(-0.5, labels.shape[1] - 0.5), ylim=(labels.shape[0] - 0.5, -0.5))


def draw_support(axis, support: SupportPicture) -> None:
    """Image, masks, boxes and points on a matplotlib axis."""
    labels = np.zeros((support.image.height, support.image.width), dtype=int)
    for row, drawn in support.prompts.items():
        if drawn.mask is not None:
            labels[drawn.mask] = row
    draw_labels(axis, support.image, labels)
    for row, drawn in support.prompts.items():
        for x0, y0, x1, y1 in drawn.boxes:
            corner, edge = (x0, y0), colour(row)
            axis.add_patch(plt.Rectangle(corner, x1 - x0, y1 - y0, fill=False, ec=edge, lw=2))
        for points in drawn.points:
            axis.scatter(*points.T, s=22, color=[colour(row)], edgecolors="white", linewidths=0.8)


def figure3(episodes: Sequence[EpisodePicture], titles: Sequence[str]) -> Figure:
    """The paper's Figure 3, a row an episode: first prompt, second prompt, truth, prediction."""
    columns = ("first prompt", "second prompt", "truth", "prediction")
    figure, axes = _subplots(len(episodes), 4, figsize=(7.2, 1.95 * len(episodes)), squeeze=False)
    for axis, name in zip(axes[0], columns, strict=True):
        axis.set_title(name, fontsize=10)
    for row, episode, title in zip(axes, episodes, titles, strict=True):
        for axis in row:
            axis.set(xticks=[], yticks=[])
            sns.despine(ax=axis, left=True, bottom=True)
        for axis, n in zip(row, (1, 2), strict=False):
            draw_support(axis, next(s for s in episode.supports if n in s.prompts))
        draw_labels(row[2], episode.query, episode.target)
        draw_labels(row[3], episode.query, episode.prediction)
        row[0].set_ylabel(f"{title}\nepisode {episode.number}", fontsize=8)
        for n, name in enumerate(episode.class_names[:2]):
            tint = (*colour(n + 1), 0.45)
            row[n].set_xlabel(
                textwrap.fill(name, 26), fontsize=7, bbox={"fc": tint, "ec": "none", "pad": 1.5}
            )
        scored = ", ".join(f"{100 * v:.0f}" for v in episode.iou.values())
        row[3].set_xlabel(f"IoU {scored} %" if scored else "", fontsize=8)
    return figure
