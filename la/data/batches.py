"""The batches of a training run: one (B, N, K) at random, and B episodes of it (paper 3.3)."""

import os
from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch.utils.data import DataLoader

from la.config import EpisodeConfig
from la.data.episodes import EpisodeSampler
from la.data.loader import BatchLoader
from la.rng import stream
from la.types import Batch, Episode


@dataclass(frozen=True)
class TrainingBatches:
    """Batch number i of a run, the same in any worker or process."""

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
