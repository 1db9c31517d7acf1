"""A model of a few numbers, batches of noise, and training runs in processes of their own."""

import json
import os
import time
from collections.abc import Iterator
from pathlib import Path

import torch
from torch import Tensor, nn

from la.config import TrainConfig
from la.learn.training import REQUEUE, Stopped, fit
from la.rng import stream
from la.types import Batch, Features, Prompts

CONFIG = TrainConfig(
    steps=24, lr=0.05, warmup_steps=4, checkpoint_every=5, micro_batches=2, target_side=8
)


class TinyModel(nn.Module):
    """Scores by the mean feature of each class; a number of its own for batches with points."""

    def __init__(self) -> None:
        super().__init__()
        self.mix = nn.Conv2d(4, 3, 1)
        self.background = nn.Parameter(torch.zeros(3))
        self.pointed = nn.Parameter(torch.ones(()))
        self.register_buffer("scale", torch.tensor(2.0))
        with torch.no_grad():
            for n, parameter in enumerate(self.parameters()):
                noise = stream(n, "weights").normal(size=parameter.shape)
                parameter.copy_(torch.as_tensor(noise))

    def forward(self, batch: Batch) -> Tensor:
        query, support = self.mix(batch.source.query), self.mix(batch.source.support)
        prompts = batch.prompts
        episode = batch.support_episode[prompts.example_support]
        found = support.mean((2, 3))[prompts.example_support]  # (E, D)
        prototypes = self.background.expand(*batch.class_valid.shape, 3).clone()
        prototypes = prototypes.index_put(
            (episode, prompts.example_row), found.float()
        )  # (B, C, D)
        logits = torch.einsum("bdhw,bcd->bchw", query, prototypes) * self.scale
        if prompts.points.shape[1]:
            logits = logits * self.pointed
        return logits.masked_fill(~batch.class_valid[..., None, None], -torch.inf)


def noise_batch(number: int) -> Batch:
    """Batch `number`: 2 episodes of 2 ways and 1 shot, the second with only one class."""
    rng = stream(0, "noise", number)

    def normal(*shape):
        return torch.as_tensor(rng.normal(size=shape), dtype=torch.float32)

    row, target = torch.tensor([1, 2, 1]), torch.as_tensor(rng.integers(2, size=(2, 8, 8)))
    n_points = int(number % 3 == 0)
    return Batch(
        source=Features(normal(2, 4, 4, 4), normal(3, 4, 4, 4)),
        support_episode=torch.tensor([0, 0, 1]),
        prompts=Prompts(
            masks=torch.ones(3, 8, 8), mask_example=torch.arange(3),
            points=normal(3, n_points, 2),
            point_labels=torch.ones(3, n_points, dtype=torch.int64),
            boxes=torch.zeros(3, 0, 4), boxes_valid=torch.zeros(3, 0, dtype=torch.bool),
            example_support=torch.arange(3), example_row=row,
        ),
        token_rows=torch.zeros(2, 3, dtype=torch.int64),
        class_valid=torch.tensor([[True, True, True], [True, True, False]]),
        target=target,
        query_size=torch.full((2, 2), 8),
    )  # fmt: skip


def noise(numbers: list[int]) -> Iterator[Batch]:
    return map(noise_batch, numbers)


def state(folder: Path) -> tuple[str, bytes]:
    """Name and content of the newest state: equal if two runs are equal to the bit."""
    path = max(folder.glob("state-*.safetensors"))
    return path.name, path.read_bytes()


def history_of(folder: Path) -> list[dict]:
    """The records of the history file."""
    return [json.loads(line) for line in (folder / "history.jsonl").read_text().splitlines()]


def train_alone(folder: Path, config: TrainConfig = CONFIG, pause: float = 0.0) -> None:
    """`fit` in a process of its own; SIGTERM leaves with 75."""
    torch.set_num_threads(1)
    try:
        fit(TinyModel(), noise, config, folder, report=lambda _: time.sleep(pause))
    except Stopped:
        os._exit(REQUEUE)


def train_beside(
    rank: int, world: int, port: int, folder: Path, config: TrainConfig, pause: float = 0.0
) -> None:
    """One of several processes that train together; the numbers it is given go to a file.

    SIGTERM leaves with 75.
    """
    torch.set_num_threads(1)
    os.environ |= {
        "RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": str(world),
        "LOCAL_WORLD_SIZE": str(world), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port),
    }  # fmt: skip

    def numbered(numbers: list[int]) -> Iterator[Batch]:
        (folder.parent / f"numbers-{rank}.json").write_text(json.dumps(numbers))
        return noise(numbers)

    try:
        fit(TinyModel(), numbered, config, folder, report=lambda _: time.sleep(pause))
    except Stopped:
        os._exit(REQUEUE)
