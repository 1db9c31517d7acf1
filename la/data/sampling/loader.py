"""Makes batches of episodes: paints targets, draws prompts, reads features, pads and stacks."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any

import numpy as np
import torch
from torch import Tensor

from la.config import EpisodeConfig, ModelConfig, Protocol
from la.data.coco.index import CocoIndex
from la.data.sampling.geometry import Frame
from la.data.sampling.prompts import Cutout, Drawn, collate_prompts, draw_prompts
from la.data.sampling.truth import instances_of, painted_rows
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
        jitter: add noise to box prompts, as only training does.
        objects: add the masks of the prompted objects, for every kind of prompt.
        truth: the protocol of targets if it differs from `protocol`, which prompts follow.
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
        """B episodes, padded to a common C, H and W; supports and examples are flat."""
        n_ways = torch.tensor([episode.n_ways for episode in episodes])
        n_supports = torch.tensor([len(episode.support_ids) for episode in episodes])
        n_rows = 1 + int(n_ways.max())
        query_sizes = [self._frame(episode.query_id).size for episode in episodes]
        return Batch(
            source=self._source(episodes),
            support_episode=torch.arange(len(episodes)).repeat_interleave(n_supports),
            prompts=self._prompts(episodes),
            token_rows=self._token_rows(episodes, n_rows),
            class_valid=torch.arange(n_rows) <= n_ways[:, None],
            target=self._targets(episodes),
            query_size=torch.tensor(query_sizes),
            class_ids=_class_ids(episodes, n_rows),
            objects=self._objects(episodes) if self.objects else None,
        )

    def target(self, episode: Episode) -> np.ndarray:
        """(H, W) int16 rows of C over the query's original pixels; later annotations are on top."""
        canvas = np.zeros(self._frame(episode.query_id).size, dtype=np.int16)
        self._paint(canvas, episode)
        return canvas

    def draw(self, episode: Episode) -> list[Drawn]:
        """The prompts of each of the episode's examples, in original pixels."""
        rng = stream(episode.seed, "prompts")
        drawn = []
        for example in episode.examples:
            image_id = episode.image_of(example)
            prompts = draw_prompts(
                self.instances(image_id, episode.class_of(example)),
                self._frame(image_id).size,
                example.kinds,
                rng,
                self.episodes,
                jitter=self.jitter,
            )
            drawn.append(prompts)
        return drawn

    def instances(self, image_id: int, class_id: int) -> list[Cutout]:
        """The instances of a class that can be prompted, in file order."""
        annotations = instances_of(self.index, self.protocol, image_id, class_id)
        return [self._cutout(annotation) for annotation in annotations]

    def _source(self, episodes: list[Episode]) -> Pixels | Features:
        """What the model encodes: queries first, then the supports of each episode."""
        image_ids = [episode.query_id for episode in episodes]
        for episode in episodes:
            image_ids += episode.support_ids
        if self.read_features is not None:
            features = self.read_features(image_ids)  # (B + S, V, h, w)
            return Features(features[: len(episodes)], features[len(episodes) :])
        pixels = {i: self._frame(i).image(self.index.read_image(i)) for i in set(image_ids)}
        images = torch.stack([pixels[i] for i in image_ids])  # (B + S, 3, H, W)
        return Pixels(images[: len(episodes)], images[len(episodes) :])

    def _targets(self, episodes: list[Episode]) -> Tensor:
        """(B, H, W) int16, which has a quarter of the bytes of int64; `to_device` widens it."""
        frames = [self._frame(episode.query_id) for episode in episodes]
        if self.target_side is not None:
            sampled = []
            for frame, episode in zip(frames, episodes, strict=True):
                sampled.append(frame.sample(self.target(episode), self.target_side, IGNORE))
            return torch.from_numpy(np.stack(sampled))
        height, width = np.max([frame.size for frame in frames], axis=0)
        targets = np.full((len(episodes), height, width), IGNORE, dtype=np.int16)
        for canvas, frame, episode in zip(targets, frames, episodes, strict=True):
            image = canvas[: frame.size[0], : frame.size[1]]
            image[:] = 0
            self._paint(image, episode)
        return torch.from_numpy(targets)

    def _paint(self, canvas: np.ndarray, episode: Episode) -> None:
        """Paint the rows of the query's annotations on an (H, W) canvas of background."""
        painted = painted_rows(
            self.index,
            self.truth or self.protocol,
            episode.query_id,
            episode.class_ids,
            self.fold_class_ids,
        )
        for annotation, row in painted:
            self._cutout(annotation).paint(canvas, row)

    def _prompts(self, episodes: list[Episode]) -> Prompts:
        """The prompts of all examples, in input pixels."""
        drawn: list[tuple[Frame, Drawn]] = []
        supports: list[int] = []
        rows: list[int] = []
        first_support = 0
        for episode in episodes:
            for example, prompts in zip(episode.examples, self.draw(episode), strict=True):
                frame = self._frame(episode.image_of(example))
                drawn.append((frame, prompts))
                supports.append(first_support + example.support)
                rows.append(example.row)
            first_support += len(episode.support_ids)
        return collate_prompts(drawn, supports, rows, self.model.mask_size)

    def _objects(self, episodes: list[Episode]) -> Tensor:
        """(E, Hm, Wm) bool: all instances of each example's class on its support image."""
        masks = []
        for episode in episodes:
            for example in episode.examples:
                image_id = episode.image_of(example)
                frame = self._frame(image_id)
                canvas = np.zeros(frame.size, dtype=bool)
                for instance in self.instances(image_id, episode.class_of(example)):
                    instance.paint(canvas, True)
                masks.append(frame.mask(canvas, self.model.mask_size))
        return torch.from_numpy(np.stack(masks))

    def _token_rows(self, episodes: list[Episode], n_rows: int) -> Tensor:
        """(B, C) distinct rows of the token pool for an episode's classes; background has 0 [O]."""
        rows = torch.zeros(len(episodes), n_rows, dtype=torch.int64)
        if self.model.token_pool:
            for row, episode in zip(rows, episodes, strict=True):
                rng = stream(episode.seed, "token rows")
                shuffled = 1 + rng.permutation(self.model.token_pool - 1)
                row[1 : 1 + episode.n_ways] = torch.from_numpy(shuffled[: episode.n_ways])
        return rows

    def __getstate__(self) -> dict[str, Any]:
        """A pickle for a worker process leaves out the cutouts that this process has decoded."""
        return {name: value for name, value in vars(self).items() if name != "_cutout"}

    @cached_property
    def _cutout(self) -> Callable[[int], Cutout]:
        """An annotation's pixels, decoded on demand; the last 4,096, 70 MB on COCO, are kept."""

        def decode(annotation: int) -> Cutout:
            return Cutout.of(self.index.mask(annotation))

        return lru_cache(4096)(decode)

    def _frame(self, image_id: int) -> Frame:
        size = self.index.size(image_id)
        return _frame(size, self.model.image_size, self.model.resize)


def _class_ids(episodes: list[Episode], n_rows: int) -> Tensor:
    """(B, C) the category id of each row; -1 for background and padded rows."""
    class_ids = torch.full((len(episodes), n_rows), -1)
    for row, episode in zip(class_ids, episodes, strict=True):
        row[1 : 1 + episode.n_ways] = torch.tensor(episode.class_ids)
    return class_ids


_frame = lru_cache(maxsize=4096)(Frame)  # a data set has few image sizes
