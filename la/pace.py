"""How fast a device is at a profile's true sizes, by a few steps on random values."""

import time
from collections.abc import Callable
from dataclasses import dataclass

import torch

from la.config import Config
from la.model.backbone import empty_backbone
from la.model.label_anything import LabelAnything
from la.training import batch_loss
from la.types import Batch, Features, Prompts, to_device


@dataclass(frozen=True)
class Pace:
    """Seconds on a device."""

    image: float  # the backbone, for one image
    step: float  # one (B, N, K) batch of training, the mean over the profile's
    episode: float  # scoring one query image with its supports, the mean over the profile's


def measure(config: Config, device: torch.device) -> Pace:
    """A GPU runs every (B, N, K) of the profile twice, a CPU (1, 1, 1) once; the rest is scaled.

    Raises:
        ValueError: a (B, N, K) does not fit into the memory of the GPU.
    """
    cuda, model = device.type == "cuda", config.model
    backbone = empty_backbone(model)
    for parameter in backbone.parameters():
        torch.nn.init.normal_(parameter, std=0.02)
    images = torch.randn(16 if cuda else 1, 3, model.image_size, model.image_size, device=device)
    backbone = backbone.to(device)
    image = _seconds(lambda: backbone(images), device) / len(images)
    learner = LabelAnything.from_config(model, torch.Generator().manual_seed(0)).to(device)
    optimizer = torch.optim.AdamW(learner.parameters())
    used = [b * (1 + n * k) for b, n, k in config.episodes.shapes]  # images of a batch
    measured = 0.0  # seconds of all measured batches
    for shape in config.episodes.shapes if cuda else [(1, 1, 1)]:
        batch = to_device(random_batch(config, *shape), device)

        def step(batch: Batch = batch) -> None:
            half = cuda and config.train.precision == "bfloat16"
            with torch.autocast(device.type, torch.bfloat16, enabled=half):
                batch_loss(learner, batch, config.train).backward()
            optimizer.step()
            optimizer.zero_grad()

        try:
            measured += _seconds(step, device)
        except torch.OutOfMemoryError:
            raise ValueError(
                f"(B, N, K) = {shape} does not fit into the memory of "
                f"{torch.cuda.get_device_name()}; halve B in episodes.shapes and double "
                "train.micro_batches"
            ) from None
    per_image = measured / (sum(used) if cuda else 2)
    mean_episode = sum(1 + n * k for _, n, k in config.episodes.shapes) / len(used)
    return Pace(image, per_image * sum(used) / len(used), per_image * mean_episode / 3)


def random_batch(config: Config, n_episodes: int, n_ways: int, k_shots: int) -> Batch:
    """B episodes in the sizes of the profile, each support with one mask, point and box."""
    model, n = config.model, n_ways * k_shots * n_episodes
    map_side = config.train.target_side
    side, size = model.image_size // model.patch_size, model.image_size
    rows = torch.arange(n) % n_ways + 1
    return Batch(
        source=Features(
            torch.randn(n_episodes, model.backbone_dim, side, side),
            torch.randn(n, model.backbone_dim, side, side),
        ),
        support_episode=torch.arange(n_episodes).repeat_interleave(n_ways * k_shots),
        prompts=Prompts(
            masks=torch.rand(n, model.mask_size, model.mask_size).round(),
            mask_example=torch.arange(n),
            points=torch.rand(n, 1, 2) * size,
            point_labels=torch.ones(n, 1, dtype=torch.long),
            boxes=torch.tensor([0.2, 0.2, 0.8, 0.8]).repeat(n, 1, 1) * size,
            boxes_valid=torch.ones(n, 1, dtype=torch.bool),
            example_support=torch.arange(n),
            example_row=rows,
        ),
        token_rows=torch.arange(n_ways + 1).repeat(n_episodes, 1) % max(1, model.token_pool),
        class_valid=torch.ones(n_episodes, n_ways + 1, dtype=torch.bool),
        target=torch.randint(0, n_ways + 1, (n_episodes, map_side, map_side)),
        query_size=torch.full((n_episodes, 2), size),
    )


def _seconds(work: Callable[[], object], device: torch.device) -> float:
    """Of one call; on a GPU after one that warms up."""
    cuda = device.type == "cuda"
    if cuda:
        work()
        torch.cuda.synchronize()
    started = time.perf_counter()
    work()
    if cuda:
        torch.cuda.synchronize()
    return time.perf_counter() - started
