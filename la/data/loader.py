"""Episodes become batches: targets painted, prompts drawn, features read, everything laid flat."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from la.config import SMALL_AREA, EpisodeConfig, ModelConfig, Protocol
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
    """

    index: CocoIndex
    model: ModelConfig
    episodes: EpisodeConfig
    protocol: Protocol
    fold_class_ids: tuple[int, ...] = ()
    read_features: Callable[[list[int]], Tensor] | None = None
    target_side: int | None = None
    jitter: bool = False

    def __call__(self, episodes: list[Episode]) -> Batch:
        """B episodes, padded to a common C, H and W; supports and examples lie flat."""
        n_rows = 1 + max(e.n_ways for e in episodes)
        support_ids = [i for e in episodes for i in e.support_ids]
        query_ids = [e.query_id for e in episodes]
        targets = [self.target(e) for e in episodes]
        query_size = torch.tensor([t.shape for t in targets])
        if self.target_side is not None:
            frames = map(self._frame, query_ids)
            targets = [
                f.sample(t, self.target_side, IGNORE) for f, t in zip(frames, targets, strict=True)
            ]
        size = np.max([t.shape for t in targets], axis=0)
        target = torch.full((len(episodes), *size), IGNORE, dtype=torch.int64)
        for b, painted in enumerate(targets):
            target[b, : painted.shape[0], : painted.shape[1]] = torch.from_numpy(painted)
        ways = torch.tensor([e.n_ways for e in episodes])
        return Batch(
            source=self._source(query_ids, support_ids),
            support_episode=torch.repeat_interleave(
                torch.arange(len(episodes)), torch.tensor([len(e.support_ids) for e in episodes])
            ),
            prompts=self._prompts(episodes),
            token_rows=self._token_rows(episodes, n_rows),
            class_valid=torch.arange(n_rows) <= ways[:, None],
            target=target,
            query_size=query_size,
        )

    def target(self, episode: Episode) -> np.ndarray:
        """(H, W) rows of C over the query's original pixels; later annotations lie on top."""
        index, protocol = self.index, self.protocol
        row_of = {class_id: n + 1 for n, class_id in enumerate(episode.class_ids)}
        if protocol.extra_unseen == "exclude":
            row_of = {c: IGNORE for c in self.fold_class_ids} | row_of
        position = int(np.searchsorted(index.image_ids, episode.query_id))
        painted = np.zeros(index.sizes[position], dtype=np.int64)
        annotations = [
            (a, row_of[class_id])
            for a in index.annotations_of(episode.query_id)
            if (class_id := int(index.category_ids[index.annotation_category[a]])) in row_of
        ]
        for a, row in sorted(annotations, key=lambda pair: not index.annotation_crowd[pair[0]]):
            if index.annotation_crowd[a] and protocol.crowd != "foreground":
                row = {"ignore": IGNORE, "background": 0}[protocol.crowd]
            elif index.annotation_area[a] < SMALL_AREA and protocol.small_instances != "keep":
                if protocol.small_instances == "drop":
                    continue
                row = IGNORE
            painted[index.mask(a)] = row
        return painted

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
        height, width = self.index.sizes[np.searchsorted(self.index.image_ids, image_id)]
        return Frame((int(height), int(width)), self.model.image_size, self.model.resize)

    def instances(self, image_id: int, class_id: int) -> list[np.ndarray]:
        """(H, W) masks of the instances of a class that count, in file order, none empty."""
        index = self.index
        least = 0 if self.protocol.small_instances == "keep" else SMALL_AREA
        column = int(np.searchsorted(index.category_ids, class_id))
        rows = (
            a
            for a in index.annotations_of(image_id)
            if index.annotation_category[a] == column
            and not index.annotation_crowd[a]
            and index.annotation_area[a] >= least
        )
        return [mask for mask in map(index.mask, rows) if mask.any()]

    def draw(self, episode: Episode) -> list[Drawn]:
        """The prompts of each of the episode's examples, in original pixels."""
        rng = stream(episode.seed, "prompts")
        drawn = []
        for example in episode.examples:
            image_id = episode.support_ids[example.support]
            instances = self.instances(image_id, episode.class_ids[example.row - 1])
            drawn.append(
                draw_prompts(instances, example.kinds, rng, self.episodes, jitter=self.jitter)
            )
        return drawn

    def _prompts(self, episodes: list[Episode]) -> Prompts:
        drawn: list[tuple[Frame, Drawn]] = []
        supports, rows, first_support = [], [], 0
        for episode in episodes:
            for example, prompts in zip(episode.examples, self.draw(episode), strict=True):
                drawn.append((self._frame(episode.support_ids[example.support]), prompts))
                supports.append(first_support + example.support)
                rows.append(example.row)
            first_support += len(episode.support_ids)
        return collate_prompts(drawn, supports, rows, self.model.mask_size)

    def _token_rows(self, episodes: list[Episode], n_rows: int) -> Tensor:
        """Distinct rows of the token pool for each episode's classes; row 0 is background's [O]."""
        rows = torch.zeros(len(episodes), n_rows, dtype=torch.int64)
        if self.model.token_pool:
            for b, episode in enumerate(episodes):
                shuffled = stream(episode.seed, "token rows").permutation(self.model.token_pool - 1)
                rows[b, 1 : episode.n_ways + 1] = torch.from_numpy(shuffled[: episode.n_ways] + 1)
        return rows


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
    masks = [drawn[e][0].sample(drawn[e][1].mask, mask_size) for e in masked]
    labels = [np.concatenate(d.labels) if d.labels else np.zeros(0) for _, d in drawn]
    return Prompts(
        masks=torch.from_numpy(np.stack(masks)).float()
        if masks
        else torch.zeros(0, mask_size, mask_size),
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
