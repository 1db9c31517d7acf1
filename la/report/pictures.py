"""Figures of episodes and predictions: pictures in, a matplotlib `Figure` out."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from textwrap import fill

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
import torch
from matplotlib.figure import Figure
from PIL import Image

from la.colours import colour, overlay
from la.data import folds
from la.data.index import CocoIndex
from la.data.loader import BatchLoader
from la.data.prompts import Drawn
from la.experiment.job import Job
from la.experiment.measurements import Measurement
from la.experiment.workbench import Workbench
from la.learn.evaluation import original_scores
from la.predict.photos import to_drawn
from la.predict.prediction import Prediction
from la.types import IGNORE, Episode, to_device

_POINTS = {1: {"marker": "o", "edgecolors": "white"}, -1: {"marker": "X", "edgecolors": "black"}}


@dataclass(frozen=True)
class SupportPicture:
    """One support image with what is prompted on it, in original pixels."""

    image: Image.Image
    prompts: dict[int, Drawn]  # by row of C


@dataclass(frozen=True)
class EpisodePicture:
    """An episode ready to be looked at; maps are (H, W) rows of C, original pixels."""

    number: int | None  # None outside of a list of episodes
    class_names: tuple[str, ...]
    supports: tuple[SupportPicture, ...]
    query: Image.Image
    target: np.ndarray | None  # None where it is not known
    prediction: np.ndarray | None  # None where nothing was predicted

    @cached_property
    def iou(self) -> list[float]:
        """Of each class in the order of its rows; NaN where truth and prediction lack it."""
        rows = np.arange(1, len(self.class_names) + 1)[:, None]
        kept = self.target != IGNORE
        truth, painted = self.target[kept] == rows, self.prediction[kept] == rows  # (N, pixels)
        union = (truth | painted).sum(1)
        return list((truth & painted).sum(1) / np.where(union, union, np.nan))

    @property
    def score(self) -> str:
        """The IoU of each class in words, a dash where there is none."""
        found = ["–" if value != value else f"{100 * value:.0f}" for value in self.iou]
        return f"IoU {', '.join(found)} %" if {*found} != {"–"} else "no class shown"


def picture(
    loader: BatchLoader, episode: Episode, number: int = 0, prediction: np.ndarray | None = None
) -> EpisodePicture:
    """An episode with the prompts drawn for it, its truth, and (H, W) rows predicted for it."""
    index = loader.index
    drawn: list[dict[int, Drawn]] = [{} for _ in episode.support_ids]
    for example, prompts in zip(episode.examples, loader.draw(episode), strict=True):
        drawn[example.support][example.row] = prompts
    names = tuple(index.class_name(c) for c in episode.class_ids)
    images = [index.read_image(i) for i in episode.support_ids]
    supports = tuple(map(SupportPicture, images, drawn))
    query = index.read_image(episode.query_id)
    return EpisodePicture(number, names, supports, query, loader.target(episode), prediction)


def pictures(
    bench: Workbench, measurement: Measurement, numbers: Iterable[int]
) -> list[EpisodePicture]:
    """These episodes of a measurement, each with the method's prediction."""
    chosen = Job(bench, measurement).fitted()
    numbers = list(numbers)
    episodes = bench.episodes(measurement)
    images = bench.images_of(episodes[number] for number in numbers)
    loader = bench.loader(bench.data.test, measurement.fold, measurement.protocol, images=images)
    shown = []
    for number in numbers:
        batch = to_device(loader([episodes[number]]), bench.device)
        with torch.inference_mode():
            scores = chosen.segmenter(batch)
        logits = original_scores(scores, batch, bench.config.model)[0]
        logits[0] += chosen.fit.bias
        prediction = logits.argmax(0).cpu().numpy()
        shown.append(picture(loader, episodes[number], number, prediction))
    return shown


def served(loader: BatchLoader, episodes: Sequence[Episode]) -> list[EpisodePicture]:
    """Episodes with the prompts drawn for them and their truth, before any model has seen them."""
    return [picture(loader, episode, number) for number, episode in enumerate(episodes)]


def explained(
    examples: Sequence[tuple[Image.Image, dict]], prediction: Prediction, target: np.ndarray | None
) -> Figure:
    """A prediction beside the examples that it was made from, as given to `Predictor.support`."""
    row = {name: n for n, name in enumerate(prediction.class_names, 1)}
    supports = []
    for image, found in examples:
        size = image.height, image.width
        prompts = {row[name]: to_drawn(prompts, size, name) for name, prompts in found.items()}
        supports.append(SupportPicture(image, prompts))
    shown = (prediction.class_names, tuple(supports), prediction.image, target, prediction.labels)
    return episode_strip([EpisodePicture(None, *shown)])


def episode_strip(episodes: Sequence[EpisodePicture]) -> Figure:
    """A row an episode: supports with their prompts, query, and truth and prediction if known."""
    n_supports = max(len(e.supports) for e in episodes)
    maps = {"truth": "target", "prediction": "prediction"}
    known = {title: name for title, name in maps.items() if getattr(episodes[0], name) is not None}
    titles = [*(f"support {i + 1}" for i in range(n_supports)), "query", *known]
    names = ["\n".join(_numbered(e.class_names)) for e in episodes]
    height = 2.11 + 0.11 * max(text.count("\n") + 1 for text in names)
    figure, axes = _subplots(len(episodes), len(titles), 1.9, height)
    for axis, title in zip(axes[0], titles, strict=True):
        axis.set_title(title, fontsize=8)
    for row, episode, text in zip(axes, episodes, names, strict=True):
        for axis, support in zip(row, episode.supports, strict=False):
            draw_support(axis, support)
        row[n_supports].imshow(episode.query)
        for axis, name in zip(row[n_supports + 1 :], known.values(), strict=True):
            draw_labels(axis, episode.query, getattr(episode, name))
        below = {"transform": row[0].transAxes, "va": "top", "fontsize": 6}
        heading = "" if episode.number is None else f"episode {episode.number}\n"
        row[0].text(0, -0.03, heading + text, **below)
        if len(known) == 2:
            row[-1].set_xlabel(episode.score, fontsize=8)
    return figure


def figure3(episodes: Sequence[EpisodePicture], titles: Sequence[str]) -> Figure:
    """The paper's Figure 3, a row an episode: first prompt, second prompt, truth, prediction."""
    figure, axes = _subplots(len(episodes), 4, 1.8, 1.95)
    columns = ("first prompt", "second prompt", "truth", "prediction")
    for axis, name in zip(axes[0], columns, strict=True):
        axis.set_title(name, fontsize=10)
    for row, episode, title in zip(axes, episodes, titles, strict=True):
        row[0].set_ylabel(f"{title}\nepisode {episode.number}", fontsize=8)
        for n, name in enumerate(episode.class_names[:2]):
            draw_support(row[n], next(s for s in episode.supports if n + 1 in s.prompts))
            box = {"fc": (*colour(n + 1), 0.45), "ec": "none", "pad": 1.5}
            row[n].set_xlabel(fill(name, 26), fontsize=7, bbox=box)
        draw_labels(row[2], episode.query, episode.target)
        draw_labels(row[3], episode.query, episode.prediction)
        row[3].set_xlabel(episode.score, fontsize=8)
    return figure


def draw_labels(axis, image: Image.Image, labels: np.ndarray) -> None:
    """The image, darker where nothing is labelled, each row of C in its colour and outline."""
    axis.imshow(overlay(image, labels, opacity=0.5))
    y, x = (np.arange(-1, side + 1) for side in labels.shape)
    for row in np.unique(labels[labels > 0]):
        outline = np.pad(labels == row, 1).astype(float)
        axis.contour(x, y, outline, [0.5], colors=[colour(row)], linewidths=1.2)
    axis.set(xlim=(-0.5, labels.shape[1] - 0.5), ylim=(labels.shape[0] - 0.5, -0.5))


def draw_support(axis, support: SupportPicture) -> None:
    """Image, masks, boxes and points on a matplotlib axis; a negative point is a crossed X."""
    labels = np.zeros((support.image.height, support.image.width), dtype=int)
    for row, drawn in support.prompts.items():
        if drawn.mask is not None:
            labels[drawn.mask] = row
    draw_labels(axis, support.image, labels)
    for row, drawn in support.prompts.items():
        tint = colour(row)
        # Matplotlib puts the centre of pixel (0, 0) at (0, 0), not at (0.5, 0.5).
        for x0, y0, x1, y1 in [box - 0.5 for box in drawn.boxes]:
            axis.add_patch(plt.Rectangle((x0, y0), x1 - x0, y1 - y0, fill=False, ec=tint, lw=2))
        for points, signs in zip(drawn.points, drawn.labels, strict=True):
            for sign in np.unique(signs):
                x, y = points[signs == sign].T - 0.5
                axis.scatter(x, y, s=26, color=[tint], linewidths=0.8, **_POINTS[sign])


def fold_classes(index: CocoIndex, rule: str = "interleaved") -> pd.DataFrame:
    """The classes that each fold keeps for the test; a column a fold."""
    names = {
        f"fold {fold}": [*map(index.class_name, folds.unseen(index.category_ids, fold, rule))]
        for fold in range(folds.N_FOLDS)
    }
    return pd.DataFrame.from_dict(names, orient="index").T.fillna("")


def episode_histograms(loader: BatchLoader, episodes: Sequence[Episode]) -> Figure:
    """What a list of episodes is made of: classes, what queries show, prompts and their number."""
    targets = [loader.target(e) for e in episodes]
    drawn = [d for e in episodes for d in loader.draw(e)]
    classes = pd.Series([loader.index.class_name(c) for e in episodes for c in e.class_ids])
    shown = pd.Series([len(np.unique(t[t > 0])) for t in targets])
    prompts = pd.Series(
        {
            "mask": sum(d.mask is not None for d in drawn),
            "box": sum(len(d.boxes) for d in drawn),
            "point": sum(len(p) for d in drawn for p in d.points),
        }
    )
    figure, axes = plt.subplots(1, 4, figsize=(14, 4), layout="constrained")
    plt.close(figure)
    bars = classes.value_counts(ascending=True), shown.value_counts().sort_index(), prompts
    bars[0].plot.barh(ax=axes[0], fontsize=7, xlabel="episodes that ask for the class", ylabel="")
    bars[1].plot.bar(ax=axes[1], rot=0, xlabel="classes that the query shows", ylabel="episodes")
    axes[2].hist([100 * (t > 0).mean() for t in targets], bins=20)
    axes[2].set(xlabel="% of the query's pixels that they cover", ylabel="episodes")
    bars[2].plot.bar(ax=axes[3], rot=0, xlabel="prompts of the supports", ylabel="number")
    sns.despine(figure)
    return figure


def _subplots(n_rows: int, n_columns: int, width: float, height: float):
    """Axes without ticks; pyplot lets go of the figure: a notebook shows it once, not twice."""
    figure, axes = plt.subplots(
        n_rows, n_columns, figsize=(n_columns * width, n_rows * height), squeeze=False,
        layout="constrained", subplot_kw={"xticks": [], "yticks": [], "frame_on": False},
    )  # fmt: skip
    plt.close(figure)
    return figure, axes


def _numbered(names: Sequence[str]) -> list[str]:
    """The classes by number, in lines that fit under a picture."""
    return [fill(f"{n}  {name}", 36, subsequent_indent="    ") for n, name in enumerate(names, 1)]
