"""Batches and networks for the tests of the trained comparators."""

from dataclasses import replace

import torch
import torch.nn.functional as F
from torch import Tensor

from la.comparators.learned import Learned
from la.config import ModelConfig
from la.types import Batch, Features
from tests.comparators.episodes import GRID, SIDE, make_prompts, two_episodes

WIDE = 32  # V, channels that fall into heads and groups
CONFIG = ModelConfig(
    image_size=SIDE,
    mask_size=SIDE,
    resize="squash",
    backbone_dim=WIDE,
    embed_dim=24,
)


def wide_episodes() -> Batch:
    """`two_episodes` with wider features, and classes 7 and 9, and 9, by id."""
    g = torch.Generator().manual_seed(1)
    source = Features(
        query=torch.randn(2, WIDE, GRID, GRID, generator=g),
        support=torch.randn(4, WIDE, GRID, GRID, generator=g),
    )
    class_ids = torch.tensor([[-1, 7, 9], [-1, 9, -1]])
    return replace(two_episodes(), source=source, class_ids=class_ids)


def shaken(network: type[Learned], seed: int = 0, config: ModelConfig = CONFIG) -> Learned:
    """A network in evaluation mode none of whose weights are those of the start."""
    g = torch.Generator().manual_seed(seed)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = network(config).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += 0.1 * torch.randn(parameter.shape, generator=g)
    return model


def twins(seed: int = 0, n_images: int = 4) -> Batch:
    """Each query twice, once asking for its one object and once for the other.

    No method that ignores the prompts can be right about both.
    """
    g = torch.Generator().manual_seed(seed)
    grid = 8
    left = torch.zeros(2, grid, grid, dtype=torch.bool)
    left[0, 1:6, 0:3] = True
    left[1, 2:7, 4:8] = True
    kinds = F.normalize(torch.randn(3, WIDE, generator=g), dim=1) * 4
    images = []
    for _ in range(2 * n_images):
        features = kinds[2][:, None, None].repeat(1, grid, grid)
        features[:, left[0]] = kinds[0][:, None]
        features[:, left[1]] = kinds[1][:, None]
        images.append(features + 0.3 * torch.randn(WIDE, grid, grid, generator=g))
    queries = torch.stack(images[:n_images]).repeat_interleave(2, dim=0)
    supports = torch.stack(images[n_images:]).repeat_interleave(2, dim=0)
    masks = left.repeat(n_images, 1, 1)
    large = masks.repeat_interleave(SIDE // grid, 1).repeat_interleave(SIDE // grid, 2)
    n_episodes = 2 * n_images
    return Batch(
        source=Features(queries, supports),
        support_episode=torch.arange(n_episodes),
        prompts=make_prompts(large, supports=list(range(n_episodes)), rows=[1] * n_episodes),
        token_rows=torch.zeros(n_episodes, 2, dtype=torch.int64),
        class_valid=torch.ones(n_episodes, 2, dtype=torch.bool),
        target=large.long(),
        query_size=torch.full((n_episodes, 2), SIDE),
        class_ids=torch.tensor([[-1, 3], [-1, 5]] * n_images),
    )


def exchanged(batch: Batch) -> Batch:
    """The twins' supports exchanged: each episode has the prompts of the other object."""
    other = torch.arange(len(batch.target)).view(-1, 2).flip(1).flatten()
    prompts = replace(batch.prompts, masks=batch.prompts.masks[other])
    source = replace(batch.source, support=batch.source.support[other])
    return replace(batch, source=source, prompts=prompts)


def iou(logits: Tensor, batch: Batch) -> float:
    """Intersection over union of row 1, over the whole batch."""
    scores = F.interpolate(logits, batch.target.shape[-2:], mode="bilinear")
    predicted = scores.argmax(1) == 1
    truth = batch.target == 1
    return float((predicted & truth).sum() / (predicted | truth).sum())
