"""Small hand-made batches for the comparators, and their token weights written with loops."""

import torch
import torch.nn.functional as F
from torch import Tensor

from la.comparators.raster import Raster
from la.types import Batch, Features, Prompts

SIDE, GRID, WIDTH = 32, 4, 6  # input pixels, tokens a side, V
MAPS = Raster(SIDE, SIDE)


def make_prompts(masks: Tensor, supports: list[int], rows: list[int]) -> Prompts:
    """One example for each mask (E, H, W), with its support image and its row."""
    n = len(masks)
    return Prompts(
        masks=masks.float(),
        mask_example=torch.arange(n),
        points=torch.zeros(n, 1, 2),
        point_labels=torch.zeros(n, 1, dtype=torch.int64),
        boxes=torch.zeros(n, 1, 4),
        boxes_valid=torch.zeros(n, 1, dtype=torch.bool),
        example_support=torch.tensor(supports),
        example_row=torch.tensor(rows),
    )


def two_episodes() -> Batch:
    """Episode 0: two classes, three supports, one of them with both; episode 1: one class, one."""
    g = torch.Generator().manual_seed(0)
    masks = torch.zeros(5, SIDE, SIDE)
    for e, (y, x) in enumerate([(2, 3), (10, 8), (8, 15), (0, 20), (11, 9)]):
        masks[e, y : y + 13, x : x + 11] = 1
    target = torch.randint(0, 3, (2, SIDE, SIDE), generator=g)
    target[1].clamp_(max=1)
    return Batch(
        source=Features(
            query=torch.randn(2, WIDTH, GRID, GRID, generator=g),
            support=torch.randn(4, WIDTH, GRID, GRID, generator=g),
        ),
        support_episode=torch.tensor([0, 0, 0, 1]),
        prompts=make_prompts(masks, supports=[0, 0, 1, 2, 3], rows=[1, 2, 1, 2, 1]),
        token_rows=torch.zeros(2, 3, dtype=torch.int64),
        class_valid=torch.tensor([[True, True, True], [True, True, False]]),
        target=target,
        query_size=torch.tensor([[SIDE, SIDE]] * 2),
    )


def weights_in_loops(batch: Batch, b: int) -> dict[int, Tensor]:
    """{support: (C, tokens)} of episode b: the share of each 8 px token under each mask."""
    cell, out = SIDE // GRID, {}
    for s in range(4):
        if batch.support_episode[s] == b:
            v = torch.zeros(3, GRID * GRID)
            for e in range(5):
                if batch.prompts.example_support[e] == s:
                    for y in range(GRID):
                        for x in range(GRID):
                            part = batch.prompts.masks[
                                e, y * cell : (y + 1) * cell, x * cell : (x + 1) * cell
                            ]
                            v[batch.prompts.example_row[e], y * GRID + x] = part.mean()
            v[0] = 1 - v.max(0).values
            out[s] = v
    return out


def cosine(a: Tensor, b: Tensor) -> float:
    """The cosine of two vectors."""
    return float(a @ b / (a.norm() * b.norm()))


def blobs(seed: int, n_episodes: int = 12) -> Batch:
    """One-way episodes on a 64 px input whose features tell the classes well, with some noise."""
    g = torch.Generator().manual_seed(seed)
    side, grid = 64, 16
    y, x = torch.meshgrid(torch.arange(side), torch.arange(side), indexing="ij")
    centres = torch.rand(2 * n_episodes, 2, generator=g) * 40 + 12
    radii = 8 + 8 * torch.rand(2 * n_episodes, generator=g)
    far = (y - centres[:, 0, None, None]) ** 2 + (x - centres[:, 1, None, None]) ** 2
    masks = (far < radii[:, None, None] ** 2).float()
    share = F.adaptive_avg_pool2d(masks, grid)[:, None]
    direction = F.normalize(torch.randn(2, WIDTH, generator=g), dim=1)[:, :, None, None]
    features = share * direction[0] + (1 - share) * direction[1]
    features = features + 0.1 * torch.randn(features.shape, generator=g)
    query, support = features.chunk(2)
    return Batch(
        source=Features(query, support),
        support_episode=torch.arange(n_episodes),
        prompts=make_prompts(masks[n_episodes:], list(range(n_episodes)), [1] * n_episodes),
        token_rows=torch.zeros(n_episodes, 2, dtype=torch.int64),
        class_valid=torch.ones(n_episodes, 2, dtype=torch.bool),
        target=masks[:n_episodes].long(),
        query_size=torch.tensor([[side, side]] * n_episodes),
    )


def second_episode(batch: Batch) -> Batch:
    """The second episode alone: it has one class, and its support is the last image."""
    class_ids = None if batch.class_ids is None else batch.class_ids[1:, :2]
    return Batch(
        source=Features(batch.source.query[1:], batch.source.support[3:]),
        support_episode=torch.tensor([0]),
        prompts=make_prompts(batch.prompts.masks[4:], supports=[0], rows=[1]),
        token_rows=batch.token_rows[1:, :2],
        class_valid=batch.class_valid[1:, :2],
        target=batch.target[1:],
        query_size=batch.query_size[1:],
        class_ids=class_ids,
    )
