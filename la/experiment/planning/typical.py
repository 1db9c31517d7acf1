"""Batches of a profile's true sizes with features that are random, to be timed."""

from collections.abc import Callable

import torch
from torch import Tensor

from la.config import Config
from la.data.sampling.batches import drawable_shapes
from la.data.sampling.episodes import EpisodeSampler
from la.data.sampling.loader import BatchLoader
from la.experiment.setup.workbench import Workbench
from la.types import Batch, Features, Prompts

Shape = tuple[int, int, int]  # (B, N, K)
SEED = 3_000  # of the episodes that are timed; far from those of training and evaluation


def images_of(shape: Shape) -> int:
    """The queries and supports of a (B, N, K) batch."""
    n_episodes, n_ways, k_shots = shape
    return n_episodes * (1 + n_ways * k_shots)


def images_a_batch(config: Config) -> float:
    """Images in a training batch: the mean over the (B, N, K) of a profile."""
    shapes = config.episodes.shapes
    return sum(map(images_of, shapes)) / len(shapes)


class TypicalBatches:
    """Batches of the data for a (B, N, K), with random features."""

    def __init__(self, bench: Workbench) -> None:
        config, index = bench.config, bench.data.train
        rules = bench.rules(config.evaluation.protocol)
        classes = bench.classes(0, seen=True)
        self.config = config.episodes
        self.shapes = drawable_shapes(index, classes, rules, config.episodes.shapes)
        self.sampler = EpisodeSampler(index, classes, rules, {shape[1:] for shape in self.shapes})
        self.loader = BatchLoader(
            index,
            config.model,
            config.episodes,
            rules,
            fold_class_ids=bench.classes(0, seen=False),
            read_features=random_features(config),
            target_side=config.train.target_side,
            jitter=True,
            objects=config.train.attention_loss > 0,
        )
        self.n_drawn = 0

    def __call__(self, n_episodes: int, n_ways: int, k_shots: int) -> Batch:
        episodes = []
        for _ in range(n_episodes):
            episode = self.sampler.training_episode(
                self.n_drawn, n_ways=n_ways, k_shots=k_shots, seed=SEED, config=self.config
            )
            episodes.append(episode)
            self.n_drawn += 1
        return self.loader(episodes)


def random_features(config: Config) -> Callable[[list[int]], Tensor]:
    """Random features for any images, without reading a file."""
    model = config.model
    cells = model.image_size // model.patch_size
    features = torch.randn(1, model.backbone_dim, cells, cells).half()
    return lambda image_ids: features.expand(len(image_ids), -1, -1, -1)


def random_batch(
    config: Config, n_episodes: int, n_ways: int, k_shots: int, target_side: int | None = None
) -> Batch:
    """B episodes in the sizes of the profile, each support with one mask, point and box."""
    model, n = config.model, n_ways * k_shots * n_episodes
    cells = model.image_size // model.patch_size
    target = target_side or config.train.target_side or model.image_size
    masks = torch.rand(n, model.mask_size, model.mask_size).round()
    return Batch(
        source=Features(
            torch.randn(n_episodes, model.backbone_dim, cells, cells),
            torch.randn(n, model.backbone_dim, cells, cells),
        ),
        support_episode=torch.arange(n_episodes).repeat_interleave(n_ways * k_shots),
        prompts=Prompts(
            masks=masks,
            mask_example=torch.arange(n),
            points=torch.rand(n, 1, 2) * model.image_size,
            point_labels=torch.ones(n, 1, dtype=torch.long),
            boxes=torch.tensor([0.2, 0.2, 0.8, 0.8]).repeat(n, 1, 1) * model.image_size,
            boxes_valid=torch.ones(n, 1, dtype=torch.bool),
            example_support=torch.arange(n),
            example_row=torch.arange(n) % n_ways + 1,
        ),
        token_rows=torch.arange(n_ways + 1).repeat(n_episodes, 1) % max(1, model.token_pool),
        class_valid=torch.ones(n_episodes, n_ways + 1, dtype=torch.bool),
        target=torch.randint(0, n_ways + 1, (n_episodes, target, target)),
        query_size=torch.full((n_episodes, 2), model.image_size),
        objects=masks.bool() if config.train.attention_loss else None,
    )
