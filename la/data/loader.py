"""Episodes become batches: targets painted, prompts drawn, features read, everything laid flat."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property, lru_cache

import numpy as np
import torch
from torch import Tensor

from la.config import EpisodeConfig, ModelConfig, Protocol
from la.data.cutouts import Cutout, Cutouts
from la.data.geometry import Frame
from la.data.index import CocoIndex
from la.data.prompts import Drawn, draw_prompts
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
    truth: Protocol | None = None

    def __call__(self, episodes: list[Episode]) -> Batch:
        """B episodes, padded to a common C, H and W; supports and examples lie flat."""
        n_rows = 1 + max(e.n_ways for e in episodes)
        support_ids = [i for e in episodes for i in e.support_ids]
        query_ids = [e.query_id for e in episodes]
        frames = [self._frame(i) for i in query_ids]
        ways = torch.tensor([e.n_ways for e in episodes])
        return Batch(
            source=self._source(query_ids, support_ids),
            support_episode=torch.repeat_interleave(
                torch.arange(len(episodes)), torch.tensor([len(e.support_ids) for e in episodes])
            ),
            prompts=self._prompts(episodes),
            token_rows=self._token_rows(episodes, n_rows),
            class_valid=torch.arange(n_rows) <= ways[:, None],
            target=self._targets(episodes, frames),
            query_size=torch.tensor([frame.size for frame in frames]),
        )

    def _targets(self, episodes: list[Episode], frames: list[Frame]) -> Tensor:
        if self.target_side is not None:
            painted = [
                frame.sample(self.target(episode), self.target_side, IGNORE)
                for frame, episode in zip(frames, episodes, strict=True)
            ]
            return torch.from_numpy(np.stack(painted)).long()
        height, width = np.max([frame.size for frame in frames], axis=0)
        targets = np.zeros((len(episodes), height, width), dtype=np.int64)
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
        row_of = dict(zip(episode.class_ids, range(1, episode.n_ways + 1), strict=True))
        if protocol.extra_unseen == "exclude":
            row_of = {c: IGNORE for c in self.fold_class_ids} | row_of
        annotations = index.annotations_of(episode.query_id)
        found = slice(annotations.start, annotations.stop)
        columns = np.searchsorted(index.category_ids, list(row_of))
        rows = np.zeros(len(index.category_ids), dtype=np.int64)
        rows[columns] = list(row_of.values())
        rows = rows[index.annotation_category[found]]
        crowd = index.annotation_crowd[found]
        if protocol.crowd != "foreground":
            rows[crowd & (rows != 0)] = {"ignore": IGNORE, "background": 0}[protocol.crowd]
        if protocol.small_instances != "keep":
            small = ~crowd & (rows != 0) & (index.annotation_area[found] < protocol.small_area)
            rows[small] = {"ignore": IGNORE, "drop": 0}[protocol.small_instances]
        for part in (crowd, ~crowd):
            for a in np.flatnonzero(part & (rows != 0)).tolist():
                self._cutouts[annotations[a]].paint(canvas, rows[a])

    @cached_property
    def _cutouts(self) -> Cutouts:
        return Cutouts(self.index)

    def _source(self, query_ids: list[int], support_ids: list[int]) -> Pixels | Features:
        n_queries = len(query_ids)
        if self.read_features is not None:
            features = self.read_features(query_ids + support_ids)
            return Features(features[:n_queries], features[n_queries:])
        ids = query_ids + support_ids
        pixels = {i: self._frame(i).image(self.index.read_image(i)) for i in dict.fromkeys(ids)}
        images = torch.stack([pixels[i] for i in ids])  # (B + S, 3, H, W)
        return Pixels(images[:n_queries], images[n_queries:])

    def _frame(self, image_id: int) -> Frame:
        height, width = self.index.sizes[self.index.image_ids.searchsorted(image_id)].tolist()
        return _frame((height, width), self.model.image_size, self.model.resize)

    def instances(self, image_id: int, class_id: int) -> list[Cutout]:
        """The instances of a class that count, in file order."""
        index = self.index
        least = 0 if self.protocol.small_instances == "keep" else self.protocol.small_area
        annotations = index.annotations_of(image_id)
        found = slice(annotations.start, annotations.stop)
        counts = index.annotation_category[found] == index.category_ids.searchsorted(class_id)
        counts &= ~index.annotation_crowd[found] & (index.annotation_area[found] >= least)
        return [self._cutouts[annotations[a]] for a in np.flatnonzero(counts).tolist()]

    def draw(self, episode: Episode) -> list[Drawn]:
        """The prompts of each of the episode's examples, in original pixels."""
        rng = stream(episode.seed, "prompts")
        drawn = []
        for example in episode.examples:
            image_id = episode.support_ids[example.support]
            instances = self.instances(image_id, episode.class_ids[example.row - 1])
            size = self._frame(image_id).size
            drawn.append(
                draw_prompts(instances, size, example.kinds, rng, self.episodes, jitter=self.jitter)
            )
        return drawn

    def _prompts(self, episodes: list[Episode]) -> Prompts:
        drawn, frames, supports, rows, first_support = [], [], [], [], 0
        for episode in episodes:
            drawn += self.draw(episode)
            for example in episode.examples:
                frames.append(self._frame(episode.support_ids[example.support]))
                supports.append(first_support + example.support)
                rows.append(example.row)
            first_support += len(episode.support_ids)
        pairs = list(zip(frames, drawn, strict=True))
        return collate_prompts(pairs, supports, rows, self.model.mask_size)

    def _token_rows(self, episodes: list[Episode], n_rows: int) -> Tensor:
        """Distinct rows of the token pool for each episode's classes; row 0 is background's [O]."""
        rows = torch.zeros(len(episodes), n_rows, dtype=torch.int64)
        if self.model.token_pool:
            for b, episode in enumerate(episodes):
                shuffled = stream(episode.seed, "token rows").permutation(self.model.token_pool - 1)
                rows[b, 1 : episode.n_ways + 1] = torch.from_numpy(shuffled[: episode.n_ways] + 1)
        return rows


_frame = lru_cache(maxsize=4096)(Frame)  # a data set has few sizes


def collate_prompts(
    drawn: list[tuple[Frame, Drawn]], supports: list[int], rows: list[int], mask_size: int
) -> Prompts:
    """E examples in original pixels -> `Prompts` in input pixels, padded to a common P and Q."""
    points = [
        frame.points(np.concatenate(d.points)) if d.points else np.zeros((0, 2))
        for frame, d in drawn
    ]
    boxes = [frame.boxes(np.stack(d.boxes)) if d.boxes else np.zeros((0, 4)) for frame, d in drawn]
    masked = [e for e, (_, d) in enumerate(drawn) if d.mask is not None]
    masks = np.empty((len(masked), mask_size, mask_size), dtype=np.float32)
    for m, e in enumerate(masked):
        masks[m] = drawn[e][0].mask(drawn[e][1].mask, mask_size)
    labels = [np.concatenate(d.labels) if d.labels else np.zeros(0) for _, d in drawn]
    return Prompts(
        masks=torch.from_numpy(masks),
        mask_example=torch.tensor(masked, dtype=torch.int64),
        points=_padded(points, (2,)),
        point_labels=_padded(labels, ()).long(),
        boxes=_padded(boxes, (4,)),
        boxes_valid=_padded([np.ones(len(b)) for b in boxes], ()) > 0,
        example_support=torch.tensor(supports, dtype=torch.int64),
        example_row=torch.tensor(rows, dtype=torch.int64),
    )


def _padded(rows: list[np.ndarray], tail: tuple[int, ...]) -> Tensor:
    """Ragged (n_e, *tail) arrays -> (E, max n_e, *tail) float32, zeros behind."""
    padded = np.zeros((len(rows), max(map(len, rows), default=0), *tail), dtype=np.float32)
    for e, row in enumerate(rows):
        padded[e, : len(row)] = row
    return torch.from_numpy(padded)
