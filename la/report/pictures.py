"""Figures of episodes and predictions, as matplotlib `Figure`s."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from textwrap import fill

import matplotlib.pyplot as plt
import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patheffects import withStroke
from PIL import Image

from la.colours import colour, overlay
from la.data.loader import BatchLoader
from la.data.prompts import Drawn
from la.experiment.job import Job
from la.experiment.measurements import Measurement
from la.experiment.workbench import Workbench
from la.learn.evaluation import original_scores
from la.predict.photos import to_drawn
from la.predict.prediction import Prediction
from la.types import IGNORE, Episode, to_device

POINT_MARKS = {1: ("o", "white"), -1: ("X", "black")}  # by sign: marker and edge


@dataclass(frozen=True)
class SupportPicture:
    """One support image with its prompts, in original pixels."""

    image: Image.Image
    prompts: dict[int, Drawn]  # by row of C


@dataclass(frozen=True)
class EpisodePicture:
    """An episode as pictures; maps are (H, W) rows of C, original pixels."""

    number: int | None  # None outside of a list of episodes
    class_names: tuple[str, ...]
    supports: tuple[SupportPicture, ...]
    query: Image.Image
    target: np.ndarray | None  # None if it is not known
    prediction: np.ndarray | None  # None if nothing was predicted

    @cached_property
    def iou(self) -> list[float]:
        """The IoU of each class, in the order of rows; NaN for a class in neither map."""
        assert self.target is not None and self.prediction is not None
        rows = np.arange(1, len(self.class_names) + 1)[:, None]
        counted = self.target != IGNORE
        true = self.target[counted] == rows  # (N, pixels)
        painted = self.prediction[counted] == rows
        union = (true | painted).sum(1)
        return list((true & painted).sum(1) / np.where(union, union, np.nan))

    @property
    def score(self) -> str:
        """The IoU of each class as text, with a dash where it is NaN."""
        if np.isnan(self.iou).all():
            return "no class shown"
        texts = ["–" if np.isnan(value) else f"{100 * value:.0f}" for value in self.iou]
        return f"IoU {', '.join(texts)} %"


def picture(
    loader: BatchLoader, episode: Episode, number: int = 0, prediction: np.ndarray | None = None
) -> EpisodePicture:
    """An episode with the prompts drawn for it, its truth, and (H, W) rows predicted for it."""
    index = loader.index
    prompts: list[dict[int, Drawn]] = [{} for _ in episode.support_ids]
    for example, drawn in zip(episode.examples, loader.draw(episode), strict=True):
        prompts[example.support][example.row] = drawn
    names = tuple(index.class_name(c) for c in episode.class_ids)
    images = [index.read_image(i) for i in episode.support_ids]
    supports = tuple(map(SupportPicture, images, prompts))
    query = index.read_image(episode.query_id)
    return EpisodePicture(number, names, supports, query, loader.target(episode), prediction)


def pictures(
    bench: Workbench, measurement: Measurement, numbers: Iterable[int]
) -> list[EpisodePicture]:
    """Episodes of a measurement by their numbers, each with the method's prediction."""
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


def explained(
    examples: Sequence[tuple[Image.Image, dict]], prediction: Prediction, target: np.ndarray | None
) -> Figure:
    """A prediction beside its examples, which are given as to `Predictor.support`."""
    row = {name: n for n, name in enumerate(prediction.class_names, 1)}
    supports = []
    for image, prompts in examples:
        size = (image.height, image.width)
        drawn = {}
        for name, of_class in prompts.items():
            drawn[row[name]] = to_drawn(of_class, size, name)
        supports.append(SupportPicture(image, drawn))
    shown = EpisodePicture(
        number=None,
        class_names=prediction.class_names,
        supports=tuple(supports),
        query=prediction.image,
        target=target,
        prediction=prediction.labels,
    )
    return episode_strip([shown])


def episode_strip(
    episodes: Sequence[EpisodePicture],
    title: str = "prediction",
    others: Mapping[str, Sequence[EpisodePicture]] | None = None,
) -> Figure:
    """A row per episode: supports with prompts, query, and, if known, truth and predictions.

    Args:
        title: above the predictions of `episodes`.
        others: the same episodes with the predictions of other methods, by title.
    """
    methods = {title: episodes} | dict(others or {})
    if episodes[0].prediction is None:
        methods = {}
    n_supports = max(len(e.supports) for e in episodes)
    titles = [f"support {number}" for number in range(1, n_supports + 1)]
    titles.append("query")
    if episodes[0].target is not None:
        titles.append("truth")
    names = ["\n".join(_numbered(e.class_names)) for e in episodes]
    n_lines = max(text.count("\n") + 2 for text in names)
    figure, axes = _subplots(len(episodes), len(titles) + len(methods), 1.45, 1.5 + 0.15 * n_lines)
    for axis, text in zip(axes[0], [*titles, *methods], strict=True):
        axis.set_title(fill(text, 18), fontsize=9)
    for axis in axes.flat:
        axis.set_anchor("N")  # so that the names fit below it in the row
    for number, (row, episode) in enumerate(zip(axes, episodes, strict=True)):
        for axis, support in zip(row, episode.supports, strict=False):
            draw_support(axis, support)
        row[n_supports].imshow(episode.query)
        if episode.target is not None:
            draw_labels(row[n_supports + 1], episode.query, episode.target)
        for axis, shown in zip(row[len(titles) :], methods.values(), strict=True):
            _draw_prediction(axis, shown[number])
        heading = "" if episode.number is None else f"episode {episode.number}\n"
        place = row[0].transAxes
        text = heading + names[number]
        below = row[0].text(0, -0.04, text, transform=place, va="top", fontsize=8)
        below.set_in_layout(False)  # because it may be wider than its picture
    return figure


def figure3(episodes: Sequence[EpisodePicture], titles: Sequence[str]) -> Figure:
    """The paper's Figure 3, a row per episode: first prompt, second prompt, truth, prediction."""
    figure, axes = _subplots(len(episodes), 4, 1.45, 1.75)
    columns = ("first prompt", "second prompt", "truth", "prediction")
    for axis, name in zip(axes[0], columns, strict=True):
        axis.set_title(name, fontsize=9)
    for row, episode, title in zip(axes, episodes, titles, strict=True):
        row[0].set_ylabel(f"{title}\nepisode {episode.number}", fontsize=8)
        for n, name in enumerate(episode.class_names[:2]):
            draw_support(row[n], next(s for s in episode.supports if n + 1 in s.prompts))
            row[n].set_xlabel(fill(f"{n + 1}  {name}", 24), fontsize=8)
        if episode.target is not None:
            draw_labels(row[2], episode.query, episode.target)
        _draw_prediction(row[3], episode)
    return figure


def draw_labels(axis: Axes, image: Image.Image, labels: np.ndarray) -> None:
    """Draw an image, darker where it is not labelled, with each row of C coloured and numbered."""
    axis.imshow(overlay(image, labels, opacity=0.5))
    axis.set(xlim=(-0.5, labels.shape[1] - 0.5), ylim=(labels.shape[0] - 0.5, -0.5))
    y, x = (np.arange(-1, side + 1) for side in labels.shape)
    for row in np.unique(labels[labels > 0]):
        outline = np.pad(labels == row, 1).astype(float)
        axis.contour(x, y, outline, [0.5], colors=[colour(row)], linewidths=1.2)
        pixels = np.argwhere(labels == row)
        centre = pixels.mean(axis=0)
        nearest = np.linalg.norm(pixels - centre, axis=1).argmin()  # so that it is on the region
        _write_number(axis, pixels[nearest][1], pixels[nearest][0], row)


def draw_support(axis: Axes, support: SupportPicture) -> None:
    """Draw an image with its masks, boxes and points; a negative point is an X."""
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
            _write_number(axis, x0, y0, row)
        for points, signs in zip(drawn.points, drawn.labels, strict=True):
            for sign in np.unique(signs):
                x, y = points[signs == sign].T - 0.5
                marker, edge = POINT_MARKS[sign]
                axis.scatter(
                    x, y, s=26, color=[tint], linewidths=0.8, marker=marker, edgecolors=edge
                )
            _write_number(axis, points[0][0], points[0][1] - 0.08 * support.image.height, row)


def _draw_prediction(axis: Axes, episode: EpisodePicture) -> None:
    """Draw the prediction over the query, with its IoU below if the truth is known."""
    assert episode.prediction is not None
    draw_labels(axis, episode.query, episode.prediction)
    if episode.target is not None:
        axis.set_xlabel(episode.score, fontsize=8)


def _write_number(axis: Axes, x: float, y: float, row: int) -> None:
    """Write the number of a class in black on white, so that it can be read on any image."""
    left, right = sorted(axis.get_xlim())
    margin = 0.03 * (right - left)
    x = np.clip(x, left + margin, right - margin)
    number = axis.text(x, y, str(row), ha="center", va="center", fontsize=8, clip_on=True)
    number.set_path_effects([withStroke(linewidth=2, foreground="white")])


def _subplots(
    n_rows: int, n_columns: int, width: float, height: float
) -> tuple[Figure, np.ndarray]:
    """Axes without ticks. pyplot forgets the figure, or a notebook would show it twice."""
    figure, axes = plt.subplots(
        n_rows,
        n_columns,
        figsize=(n_columns * width, n_rows * height),
        squeeze=False,
        layout="constrained",
        subplot_kw={"xticks": [], "yticks": [], "frame_on": False},
    )
    plt.close(figure)
    return figure, axes


def _numbered(names: Sequence[str]) -> list[str]:
    """The classes by number, in lines that fit under two pictures."""
    numbered = (f"{number}  {name}" for number, name in enumerate(names, 1))
    return [fill(text, 40, subsequent_indent="    ") for text in numbered]
