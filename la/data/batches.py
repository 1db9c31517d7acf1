"""The batches of a training run (paper 3.3), each the same in any worker or process."""

import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace

import torch
from torch.utils.data import DataLoader, Dataset

from la.config import EpisodeConfig, Protocol
from la.data.episodes import EpisodeSampler, presence, prompt_subsets
from la.data.index import CocoIndex
from la.rng import stream
from la.types import Batch, Episode, PromptKind


@dataclass(frozen=True)
class TrainingBatches(Dataset[Batch]):
    """A random (B, N, K) for each step, and B episodes of it for each of its batches.

    Args:
        per_step: consecutive batches that make a step. They share (B, N, K), so that processes
            that compute one each do not wait for the one with the largest.
        kinds_per_batch: all examples of a batch draw from one subset of prompt kinds, as the
            official code does; otherwise each example draws from its own subset.
    """

    sampler: EpisodeSampler
    loader: Callable[[list[Episode]], Batch]
    config: EpisodeConfig
    seed: int
    per_step: int = 1
    kinds_per_batch: bool = False

    def episodes(self, number: int) -> list[Episode]:
        """The episodes of batch `number`; they occur in no other batch of the run."""
        shapes = self.config.shapes
        rng = stream(self.seed, "batch shapes", number // self.per_step)
        n_episodes, n_ways, k_shots = shapes[int(rng.integers(len(shapes)))]
        first = number * max(b for b, _, _ in shapes)
        episodes = []
        for i in range(first, first + n_episodes):
            episode = self.sampler.training_episode(
                i, n_ways=n_ways, k_shots=k_shots, seed=self.seed, config=self.config
            )
            episodes.append(episode)
        if not self.kinds_per_batch:
            return episodes
        subsets = prompt_subsets(self.config.kinds)
        rng = stream(self.seed, "batch kinds", number)
        kinds = subsets[int(rng.integers(len(subsets)))]
        return [_with_kinds(episode, kinds) for episode in episodes]

    def __getitem__(self, number: int) -> Batch:
        """Batch `number`."""
        return self.loader(self.episodes(number))

    def of(self, numbers: list[int]) -> Iterable[Batch]:
        """The batches of these numbers; worker processes load ahead if there is a GPU."""
        cuda = torch.cuda.is_available()
        return DataLoader(
            self,
            sampler=numbers,
            batch_size=None,
            num_workers=min(8, os.cpu_count() or 1) if cuda else 0,
            pin_memory=cuda,
        )


def drawable_shapes(
    index: CocoIndex,
    class_ids: tuple[int, ...],
    protocol: Protocol,
    shapes: tuple[tuple[int, int, int], ...],
) -> tuple[tuple[int, int, int], ...]:
    """The (B, N, K) of training, lowered where the classes have too few images for them.

    K becomes the largest with which N classes have K + 1 images; if there is none, K is 1 and N the
    number of classes with 2 images.
    """
    n_images = presence(index, tuple(sorted(class_ids)), protocol).sum(0)
    lowered = []
    for n_episodes, n_ways, k_shots in shapes:
        while k_shots > 1 and (n_images > k_shots).sum() < n_ways:
            k_shots -= 1
        n_drawable = int((n_images > k_shots).sum())
        lowered.append((n_episodes, max(1, min(n_ways, n_drawable)), k_shots))
    return tuple(lowered)


def _with_kinds(episode: Episode, kinds: tuple[PromptKind, ...]) -> Episode:
    """The episode with prompts of these kinds."""
    examples = tuple(replace(example, kinds=kinds) for example in episode.examples)
    return replace(episode, examples=examples)
