"""How fast a device works at a profile's true sizes, measured in a few steps on random values."""

import time
from collections.abc import Callable
from dataclasses import dataclass

import torch

from la.config import Config
from la.errors import UserError
from la.learn.steps import batch_loss
from la.model.backbone import empty_backbone
from la.model.label_anything import LabelAnything
from la.types import Batch, Features, Prompts, to_device


@dataclass(frozen=True)
class Pace:
    """Seconds on a device."""

    image: float  # the backbone, for one image
    step: float  # one (B, N, K) batch of training, the mean over the profile's shapes
    episode: float  # scoring one query image with its supports, the mean over the shapes


def measure(config: Config, device: torch.device) -> Pace:
    """How fast a device is at a profile's true sizes, by a few steps on random values.

    A GPU runs every (B, N, K) of the profile twice, a CPU (1, 1, 1) once; the rest is scaled.

    Raises:
        UserError: a (B, N, K) does not fit into the memory of the GPU.
    """
    cuda, model = device.type == "cuda", config.model
    backbone = empty_backbone(model)
    for parameter in backbone.parameters():
        torch.nn.init.normal_(parameter, std=0.02)
    n_images = backbone.spec.images_at_once if cuda else 1
    images = torch.randn(
        n_images,
        3,
        model.image_size,
        model.image_size,
        device=device,
    )
    backbone = backbone.to(device)
    image = _seconds(lambda: backbone(images), cuda) / len(images)
    learner = LabelAnything.from_config(model, torch.Generator().manual_seed(0)).to(device)
    optimizer = torch.optim.AdamW(learner.parameters())
    shapes = config.episodes.shapes
    measured = shapes if cuda else ((1, 1, 1),)
    seconds = 0.0
    for shape in measured:
        batch = to_device(random_batch(config, *shape), device)

        def step(batch: Batch = batch) -> None:
            half = cuda and config.train.precision == "bfloat16"
            with torch.autocast(device.type, torch.bfloat16, enabled=half):
                batch_loss(learner, batch, config.train).backward()
            optimizer.step()
            optimizer.zero_grad()

        try:
            seconds += _seconds(step, cuda)
        except torch.OutOfMemoryError:
            raise UserError(
                f"(B, N, K) = {shape} does not fit into the memory of the GPU; halve B in "
                "episodes.shapes and double train.micro_batches"
            ) from None
    per_image = seconds / sum(b * (1 + n * k) for b, n, k in measured)
    of_step = sum(b * (1 + n * k) for b, n, k in shapes) / len(shapes)
    of_episode = sum(1 + n * k for _, n, k in shapes) / len(shapes)
    return Pace(image, per_image * of_step, per_image * of_episode / 3)  # forward: a third


def random_batch(
    config: Config,
    n_episodes: int,
    n_ways: int,
    k_shots: int,
) -> Batch:
    """B episodes in the sizes of the profile, each support with one mask, point and box."""
    model, n = config.model, n_ways * k_shots * n_episodes
    cells = model.image_size // model.patch_size
    target = config.train.target_side or model.image_size
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


def _seconds(work: Callable[[], object], cuda: bool) -> float:
    """Of one call; on a GPU of two, the first of which warms up."""
    for _ in range(2 if cuda else 1):
        started = time.perf_counter()
        work()
        if cuda:
            torch.cuda.synchronize()
    return time.perf_counter() - started
