"""Episodes become batches: targets painted, prompts drawn, features read, everything laid flat."""

import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cached_property, lru_cache

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from la.config import EpisodeConfig, ModelConfig, Protocol
from la.data.episodes import EpisodeSampler
from la.data.geometry import Frame
from la.data.index import CocoIndex
from la.data.prompts import Cutout, Drawn, draw_prompts
from la.rng import stream
from la.types import IGNORE, Batch, Episode, Features, Pixels, Prompts


@dataclass(frozen=True)
class BatchLoader:
    """Turns a list of episodes into a `Batch`; the same list always gives the same tensors.

    Args:
        read_features: image ids -> (n, V, h, w), a feature cache; None loads pixels instead.
        fold_class_ids: the classes of the fold, for `protocol.extra_unseen`.
        target_side: paint targets (side, side) over the input frame, for the training loss;
            None paints them on original pixels, for scores.
        jitter: draw box prompts with the noise that only training has.
        objects: add the masks of the prompted objects, whatever kind of prompt was drawn.
        truth: what targets follow instead of `protocol`, which prompts follow.
    """

    index: CocoIndex
    model: ModelConfig
    episodes: EpisodeConfig
    protocol: Protocol
    fold_class_ids: tuple[int, ...] = ()
    read_features: Callable[[list[int]], Tensor] | None = None
    target_side: int | None = None
    jitter: bool = False
    objects: bool = False
    truth: Protocol | None = None

    def __call__(self, episodes: list[Episode]) -> Batch:
        """B episodes, padded to a common C, H and W; supports and examples lie flat."""
        n_rows = 1 + max(e.n_ways for e in episodes)
        frames = [self._frame(e.query_id) for e in episodes]
        n_supports = torch.tensor([len(e.support_ids) for e in episodes])
        ways = torch.tensor([e.n_ways for e in episodes])
        return Batch(
            source=self._source(episodes),
            support_episode=torch.arange(len(episodes)).repeat_interleave(n_supports),
            prompts=self._prompts(episodes),
            token_rows=self._token_rows(episodes, n_rows),
            class_valid=torch.arange(n_rows) <= ways[:, None],
            target=self._targets(episodes, frames),
            query_size=torch.tensor([frame.size for frame in frames]),
            objects=self._objects(episodes) if self.objects else None,
        )

    def _objects(self, episodes: list[Episode]) -> Tensor:
        """(E, Hm, Wm) bool: all instances of each example's class on its support image."""
        masks = []
        for episode in episodes:
            for example in episode.examples:
                image_id = episode.support_ids[example.support]
                frame = self._frame(image_id)
                canvas = np.zeros(frame.size, dtype=bool)
                for instance in self.instances(image_id, episode.class_ids[example.row - 1]):
                    instance.paint(canvas, True)
                masks.append(frame.mask(canvas, self.model.mask_size))
        return torch.from_numpy(np.stack(masks)).bool()

    def _source(self, episodes: list[Episode]) -> Pixels | Features:
        ids = [e.query_id for e in episodes] + [i for e in episodes for i in e.support_ids]
        if self.read_features is not None:
            return Features(*self.read_features(ids).tensor_split([len(episodes)]))
        pixels = {i: self._frame(i).image(self.index.read_image(i)) for i in set(ids)}
        images = torch.stack([pixels[i] for i in ids])  # (B + S, 3, H, W)
        return Pixels(*images.tensor_split([len(episodes)]))

    def _targets(self, episodes: list[Episode], frames: list[Frame]) -> Tensor:
        """(B, H, W) int16: a quarter of the bytes of int64, into which `to_device` widens it."""
        if (side := self.target_side) is not None:
            pairs = zip(frames, episodes, strict=True)
            painted = [frame.sample(self.target(e), side, IGNORE) for frame, e in pairs]
            return torch.from_numpy(np.stack(painted))
        height, width = np.max([frame.size for frame in frames], axis=0)
        targets = np.zeros((len(episodes), height, width), dtype=np.int16)
        for canvas, frame, episode in zip(targets, frames, episodes, strict=True):
            canvas[frame.size[0] :] = IGNORE
            canvas[:, frame.size[1] :] = IGNORE
            self._paint(canvas[: frame.size[0], : frame.size[1]], episode)
        return torch.from_numpy(targets)

    def target(self, episode: Episode) -> np.ndarray:
        """(H, W) int16 rows of C over the query's original pixels; later annotations lie on top."""
        painted = np.zeros(self._frame(episode.query_id).size, dtype=np.int16)
        self._paint(painted, episode)
        return painted

    def _paint(self, canvas: np.ndarray, episode: Episode) -> None:
        """Crowds first, so that single instances lie on top; `canvas` starts as background."""
        index, protocol = self.index, self.truth or self.protocol
        row_of = np.zeros(len(index.category_ids), dtype=np.int64)
        if protocol.extra_unseen == "exclude":
            row_of[index.category_ids.searchsorted(self.fold_class_ids)] = IGNORE
        row_of[index.category_ids.searchsorted(episode.class_ids)] = range(1, episode.n_ways + 1)
        annotations = index.annotations_of(episode.query_id)
        found = slice(annotations.start, annotations.stop)
        rows = row_of[index.annotation_category[found]]
        crowd, area = index.annotation_crowd[found], index.annotation_area[found]
        small = ~crowd & (area < protocol.small_area)
        for which, rule in ((crowd, protocol.crowd), (small, protocol.small_instances)):
            if rule in ("ignore", "background", "drop"):
                rows[which & (rows != 0)] = IGNORE if rule == "ignore" else 0
        for part in (crowd, ~crowd):
            for a in np.flatnonzero(part & (rows != 0)).tolist():
                self._cutout(annotations[a]).paint(canvas, rows[a])

    def instances(self, image_id: int, class_id: int) -> list[Cutout]:
        """The instances of a class that count, in file order."""
        index = self.index
        least = 0 if self.protocol.small_instances == "keep" else self.protocol.small_area
        annotations = index.annotations_of(image_id)
        found = slice(annotations.start, annotations.stop)
        counts = index.annotation_category[found] == index.category_ids.searchsorted(class_id)
        counts &= ~index.annotation_crowd[found] & (index.annotation_area[found] >= least)
        return [self._cutout(annotations[a]) for a in np.flatnonzero(counts).tolist()]

    @cached_property
    def _cutout(self) -> Callable[[int], Cutout]:
        """An annotation's pixels, decoded when asked for; the last 4,096, on COCO 70 MB, stay."""
        return lru_cache(4096)(lambda a: Cutout.of(self.index.mask(a)))

    def draw(self, episode: Episode) -> list[Drawn]:
        """The prompts of each of the episode's examples, in original pixels."""
        rng = stream(episode.seed, "prompts")
        drawn = []
        for example in episode.examples:
            image_id = episode.support_ids[example.support]
            instances = self.instances(image_id, episode.class_ids[example.row - 1])
            size, kinds = self._frame(image_id).size, example.kinds
            drawn.append(
                draw_prompts(instances, size, kinds, rng, self.episodes, jitter=self.jitter)
            )
        return drawn

    def _prompts(self, episodes: list[Episode]) -> Prompts:
        pairs, supports, rows, first = [], [], [], 0
        for episode in episodes:
            for example, drawn in zip(episode.examples, self.draw(episode), strict=True):
                pairs.append((self._frame(episode.support_ids[example.support]), drawn))
                supports.append(first + example.support)
                rows.append(example.row)
            first += len(episode.support_ids)
        return collate_prompts(pairs, supports, rows, self.model.mask_size)

    def _token_rows(self, episodes: list[Episode], n_rows: int) -> Tensor:
        """Distinct rows of the token pool for each episode's classes; row 0 is background's [O]."""
        rows = torch.zeros(len(episodes), n_rows, dtype=torch.int64)
        if self.model.token_pool:
            for b, episode in enumerate(episodes):
                shuffled = stream(episode.seed, "token rows").permutation(self.model.token_pool - 1)
                rows[b, 1 : episode.n_ways + 1] = torch.from_numpy(shuffled[: episode.n_ways] + 1)
        return rows

    def _frame(self, image_id: int) -> Frame:
        return _frame(self.index.size(image_id), self.model.image_size, self.model.resize)


_frame = lru_cache(maxsize=4096)(Frame)  # a data set has few sizes


def collate_prompts(
    drawn: list[tuple[Frame, Drawn]], supports: list[int], rows: list[int], mask_size: int
) -> Prompts:
    """E examples in original pixels -> `Prompts` in input pixels, padded to a common P and Q."""
    points = [f.point_prompts(np.concatenate(d.points)) if d.points else () for f, d in drawn]
    labels = [np.concatenate(d.labels) if d.labels else () for _, d in drawn]
    boxes = [f.boxes(np.stack(d.boxes)) if d.boxes else () for f, d in drawn]
    masked = [e for e, (_, d) in enumerate(drawn) if d.mask is not None]
    masks = np.empty((len(masked), mask_size, mask_size), dtype=np.float32)
    for m, e in enumerate(masked):
        frame, prompts = drawn[e]
        assert prompts.mask is not None
        masks[m] = frame.mask(prompts.mask, mask_size)
    return Prompts(
        masks=torch.from_numpy(masks),
        mask_example=torch.tensor(masked, dtype=torch.int64),
        points=_padded(points, 2),
        point_labels=_padded(labels).long(),
        boxes=_padded(boxes, 4),
        boxes_valid=_padded([np.ones(len(b)) for b in boxes]) > 0,
        example_support=torch.tensor(supports, dtype=torch.int64),
        example_row=torch.tensor(rows, dtype=torch.int64),
    )


def _padded(rows: list, *tail: int) -> Tensor:
    """Ragged (n_e, *tail) arrays -> (E, max n_e, *tail) float32, zeros behind."""
    padded = np.zeros((len(rows), max(map(len, rows), default=0), *tail), dtype=np.float32)
    for e, row in enumerate(rows):
        if len(row):
            padded[e, : len(row)] = row
    return torch.from_numpy(padded)


@dataclass(frozen=True)
class TrainingBatches(Dataset[Batch]):
    """The batches of a training run (paper 3.3): one (B, N, K) at random, and B episodes of it.

    Batch number i of a run is the same in any worker or process.
    """

    sampler: EpisodeSampler
    loader: BatchLoader
    config: EpisodeConfig
    seed: int

    def episodes(self, number: int) -> list[Episode]:
        """The episodes of batch `number`; they occur in no other batch of the run."""
        shapes = self.config.shapes
        rng = stream(self.seed, "batch shapes", number)
        n_episodes, n_ways, k_shots = shapes[int(rng.integers(len(shapes)))]
        first = number * max(b for b, _, _ in shapes)
        draw = self.sampler.training_episode
        return [
            draw(i, n_ways=n_ways, k_shots=k_shots, seed=self.seed, config=self.config)
            for i in range(first, first + n_episodes)
        ]

    def __getitem__(self, number: int) -> Batch:
        """Batch `number`."""
        return self.loader(self.episodes(number))

    def of(self, numbers: list[int]) -> Iterable[Batch]:
        """The batches of these numbers, made ahead by worker processes if a GPU waits for them."""
        cuda = torch.cuda.is_available()
        workers = min(8, os.cpu_count() or 1) if cuda else 0
        return DataLoader(
            self, sampler=numbers, batch_size=None, num_workers=workers, pin_memory=cuda
        )
