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
from PIL import Image

from la.data.sampling.loader import BatchLoader
from la.data.sampling.prompts import Drawn
from la.experiment.job import Job
from la.experiment.setup.measurements import Measurement
from la.experiment.setup.workbench import Workbench
from la.learn.device import to_device
from la.learn.evaluation import original_scores
from la.predict.prediction import Prediction
from la.predict.prompts.photos import to_drawn
from la.report.figures.lettering import literal
from la.report.figures.marks import draw_labels, draw_prompts
from la.report.figures.picture_blocks import WIDTH, blocks_of_axes
from la.types import IGNORE, Episode

FONT = 9  # points


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
    """A block per episode: supports with prompts, query, and truth and predictions if known.

    Each row has three pictures, which a phone can show. The classes are named below a block.

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
    n_known = len(titles)
    titles += methods
    names = ["\n".join(_numbered(e.class_names)) for e in episodes]
    n_lines = max(text.count("\n") + 2 for text in names)
    figure, blocks = blocks_of_axes(len(episodes), len(titles), _tallest(episodes), n_lines)
    for number, (axes, episode) in enumerate(zip(blocks, episodes, strict=True)):
        *of_pictures, below = axes
        for place, (axis, text) in enumerate(zip(of_pictures, titles, strict=True)):
            if place < len(episode.supports) or place >= n_supports:
                axis.set_title(fill(text, 18), fontsize=FONT)
        for axis, support in zip(of_pictures, episode.supports, strict=False):
            draw_support(axis, support)
        of_pictures[n_supports].imshow(episode.query)
        if episode.target is not None:
            draw_labels(of_pictures[n_supports + 1], episode.query, episode.target)
        for axis, shown in zip(of_pictures[n_known:], methods.values(), strict=True):
            draw_prediction(axis, shown[number])
        heading = "" if episode.number is None else f"episode {episode.number}\n"
        named = below.text(0, 1, heading + names[number], va="top", fontsize=FONT)
        named.set_in_layout(False)  # because it may be wider than its pictures
    return figure


def in_words(
    episodes: Sequence[EpisodePicture],
    title: str,
    others: Mapping[str, Sequence[EpisodePicture]] | None = None,
) -> str:
    """What `episode_strip` shows: a sentence per episode with the IoU of each method."""
    methods = {title: episodes} | dict(others or {})
    texts = []
    for number, episode in enumerate(episodes):
        scores = [f"{name} {shown[number].score}" for name, shown in methods.items()]
        texts.append(f"{', '.join(episode.class_names)}: {'; '.join(scores)}.")
    return " ".join(texts)


def _tallest(episodes: Sequence[EpisodePicture]) -> float:
    """The largest ratio of height to width of the pictures, between 0.5 and 2."""
    ratios = []
    for episode in episodes:
        for image in (episode.query, *(support.image for support in episode.supports)):
            ratios.append(image.height / image.width)
    return min(max(*ratios, 0.5), 2)


def figure3(episodes: Sequence[EpisodePicture], titles: Sequence[str]) -> Figure:
    """The paper's Figure 3, a row per episode: first prompt, second prompt, truth, prediction."""
    figure, axes = plt.subplots(
        len(episodes),
        4,
        figsize=(WIDTH, 1.75 * len(episodes)),
        squeeze=False,
        layout="constrained",
        subplot_kw={"xticks": [], "yticks": [], "frame_on": False},
    )
    plt.close(figure)  # otherwise a notebook would show it twice
    columns = ("first\nprompt", "second\nprompt", "truth", "prediction")
    for axis, name in zip(axes[0], columns, strict=True):
        axis.set_title(name, fontsize=FONT)
    for row, episode, title in zip(axes, episodes, titles, strict=True):
        row[0].set_ylabel(f"{title}\nepisode {episode.number}", fontsize=FONT)
        for n, name in enumerate(episode.class_names[:2]):
            draw_support(row[n], next(s for s in episode.supports if n + 1 in s.prompts))
            row[n].set_xlabel(fill(f"{n + 1}  {literal(name)}", 14), fontsize=FONT)
        if episode.target is not None:
            draw_labels(row[2], episode.query, episode.target)
        draw_prediction(row[3], episode)
    return figure


def _numbered(names: Sequence[str]) -> list[str]:
    """The classes by number, in lines that fit under two pictures."""
    numbered = (f"{number}  {literal(name)}" for number, name in enumerate(names, 1))
    return [fill(text, 40, subsequent_indent="    ") for text in numbered]


def draw_support(axis: Axes, support: SupportPicture) -> None:
    """A support image with its prompts."""
    draw_prompts(axis, support.image, support.prompts)


def draw_prediction(axis: Axes, episode: EpisodePicture) -> None:
    """Draw the prediction over the query, with its IoU below if the truth is known."""
    assert episode.prediction is not None
    draw_labels(axis, episode.query, episode.prediction)
    if episode.target is not None:
        axis.set_xlabel(episode.score, fontsize=8)
