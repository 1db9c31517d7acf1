"""The batches of a training run (paper 3.3), each the same in any worker or process."""

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from la.config import EpisodeConfig, Protocol
from la.data.coco.index import CocoIndex
from la.data.feature_cache.image_features import ImageFeatures
from la.data.sampling.episodes import EpisodeSampler, presence, prompt_subsets
from la.rng import stream
from la.types import Batch, Episode, Features, PromptKind

READERS = 4  # threads of the training process that read features, and batches that they hold


@dataclass(frozen=True)
class TrainingBatches(Dataset[Batch]):
    """A random (B, N, K) for each step, and B episodes of it for each of its batches.

    Args:
        per_step: consecutive batches that make a step. They share (B, N, K), so that processes
            that compute one each do not wait for the one with the largest.
        kinds_per_batch: all examples of a batch draw from one subset of prompt kinds, as the
            official code does; otherwise each example draws from its own subset.
        features: read where the loader gives `ids_alone`, by threads of the process that trains:
            sending a batch from a worker process takes four times as long as reading it.
    """

    sampler: EpisodeSampler
    loader: Callable[[list[Episode]], Batch]
    config: EpisodeConfig
    seed: int
    per_step: int = 1
    kinds_per_batch: bool = False
    features: ImageFeatures | None = None

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
        return self._with_features(self.loader(self.episodes(number)))

    def of(self, numbers: list[int]) -> Iterable[Batch]:
        """The batches of these numbers; workers and threads load ahead if there is a GPU."""
        cuda = torch.cuda.is_available()
        n_workers = min(8, os.cpu_count() or 1) if cuda else 0
        return self.loaded(numbers, n_workers=n_workers, pin_memory=cuda)

    def loaded(
        self,
        numbers: list[int],
        *,
        n_workers: int,
        pin_memory: bool = False,
        start_method: str | None = None,
    ) -> Iterator[Batch]:
        """The batches of these numbers.

        Args:
            n_workers: processes that draw prompts and paint targets ahead; with 0 this process
                loads each batch when it is asked for.
            pin_memory: page-locked, from where a GPU copies while it computes.
            start_method: of the processes; None is the platform's.
        """
        unread: Iterable[Batch] = DataLoader(
            _WithoutFeatures(self),
            sampler=numbers,
            batch_size=None,
            num_workers=n_workers,
            pin_memory=pin_memory,
            multiprocessing_context=start_method if n_workers else None,
        )
        if not n_workers:
            yield from map(self._with_features, unread)
            return
        with ThreadPoolExecutor(READERS) as pool:
            coming: deque[Future[Batch]] = deque()
            for batch in unread:
                coming.append(pool.submit(self._with_features, batch, pin_memory))
                if len(coming) == READERS:
                    yield coming.popleft().result()
            for ready in coming:
                yield ready.result()

    def _with_features(self, batch: Batch, pin_memory: bool = False) -> Batch:
        """The batch with the features of its images, where the loader gave their ids."""
        if self.features is None:
            return batch
        query, support = batch.source.query, batch.source.support
        image_ids = torch.cat([query, support]).tolist()
        features = self.features.read(image_ids, pin_memory=pin_memory)
        source = Features(features[: len(query)], features[len(query) :])
        return replace(batch, source=source)


@dataclass(frozen=True)
class _WithoutFeatures(Dataset[Batch]):
    """Batches as the loader gives them, for worker processes."""

    batches: TrainingBatches

    def __getitem__(self, number: int) -> Batch:
        return self.batches.loader(self.batches.episodes(number))


def ids_alone(image_ids: list[int]) -> Tensor:
    """(n,) int64, in the place of features that `TrainingBatches` reads."""
    return torch.tensor(image_ids)


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
