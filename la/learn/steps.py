"""One optimizer step (paper 4.2): its learning rate, its loss and its gradient."""

import math
from collections.abc import Sequence
from contextlib import nullcontext
from typing import cast

import torch
from accelerate import Accelerator
from torch import Tensor, nn
from torch.nn import functional as F
from torch.optim import Optimizer

from la.config import ModelConfig, TrainConfig
from la.errors import UserError
from la.learn.attention_loss import attention_loss, recorded_reads
from la.learn.device import to_device
from la.learn.evaluation import at_least_float32, original_scores, padded_rows
from la.learn.losses import class_weights, focal_loss, official_focal_loss
from la.model.prompt_encoder import PADDING, PromptEncoder
from la.types import Batch


class BatchTooLarge(UserError, torch.OutOfMemoryError):
    """A batch of these (B, N, K) does not fit into the memory of the device."""


def learning_rate(step: int, config: TrainConfig) -> float:
    """A linear warm-up, then a cosine to 0 over the remaining steps, or constant [P 4.2]."""
    if step < config.warmup_steps:
        return config.lr * (step + 1) / config.warmup_steps
    if config.schedule == "constant":
        return config.lr
    after_warmup = max(1, config.steps - config.warmup_steps)
    done = (step - config.warmup_steps) / after_warmup
    return config.lr * 0.5 * (1 + math.cos(math.pi * done))


def batch_loss(
    model: nn.Module,
    batch: Batch,
    config: TrainConfig,
) -> Tensor:
    """The segmentation loss of a batch, and what is added to it.

    Added are the attention loss where its weight is not 0, and the `extra_loss` that a
    comparator sets in its forward pass, see `la.comparators.learned`.

    Returns:
        () in the precision of the logits, at least float32.

    Raises:
        ValueError: the batch lacks the objects that the attention loss needs.
    """
    if config.attention_loss == 0:
        loss = segmentation_loss(model, batch, config)
        extra_loss = getattr(_unwrapped(model), "extra_loss", None)
        return loss if extra_loss is None else loss + cast(Tensor, extra_loss)
    if batch.objects is None:
        raise ValueError(
            "the attention loss needs the masks of the prompted objects; "
            "load the batch with BatchLoader(objects=True)"
        )
    encoder = cast(PromptEncoder, _unwrapped(model).prompt_encoder)
    with recorded_reads(encoder) as reads:
        loss = segmentation_loss(model, batch, config)
    _, kind = encoder.sparse_prompts(batch.prompts)  # (E, T)
    attention = attention_loss(reads, batch.objects, valid=kind != PADDING)
    return loss + config.attention_loss * attention


def segmentation_loss(
    model: nn.Module,
    batch: Batch,
    config: TrainConfig,
) -> Tensor:
    """The loss of a batch (paper Eq. 6), on the grid of its target.

    With `target_side` None that grid is the query's original pixels, and the loss is
    divided by all of them, as in the published code. Pixels that pad a batch count, too:
    we pad to the largest query of the batch, the published code to its largest image.

    Returns:
        () in the precision of the logits, at least float32.
    """
    logits = at_least_float32(model(batch))
    official = config.target_side is None
    if official:
        shape = cast(ModelConfig, _unwrapped(model).config)
        logits = _padded_originals(logits, batch, shape)
    else:
        logits = _on_target_grid(logits, batch)
    logits = logits.masked_fill(padded_rows(batch), -math.inf)
    weights = class_weights(
        batch.target,
        batch.n_rows,
        rule=config.class_weight,
        power=config.weight_power,
        dtype=logits.dtype,
    )
    loss = official_focal_loss if official else focal_loss
    return loss(logits, batch.target, weights, config.gamma)


def _on_target_grid(logits: Tensor, batch: Batch) -> Tensor:
    """Logits (B, C, h, w) interpolated to the target's grid; padded rows are 0."""
    # Interpolating -inf would make NaN.
    finite = logits.masked_fill(padded_rows(batch), 0)
    size = batch.target.shape[-2:]
    return F.interpolate(finite, size=size, mode="bilinear")


def _padded_originals(
    logits: Tensor,
    batch: Batch,
    model: ModelConfig,
) -> Tensor:
    """Logits (B, C, h, w) at the queries' original sizes, padded to (B, C, H, W)."""
    height, width = batch.target.shape[-2:]
    maps = []
    for rows in original_scores(logits, batch, model):
        right = width - rows.shape[-1]
        below = height - rows.shape[-2]
        maps.append(F.pad(rows, (0, right, 0, below)))
    return torch.stack(maps)


def _unwrapped(model: nn.Module) -> nn.Module:
    """The model inside DistributedDataParallel; without that, the model itself."""
    return cast(nn.Module, getattr(model, "module", model))


def take_step(
    model: nn.Module,
    optimizer: Optimizer,
    micro_batches: Sequence[Batch],
    config: TrainConfig,
    accelerator: Accelerator,
) -> tuple[Tensor, Tensor]:
    """Average the gradient over the micro-batches of all processes and update the weights.

    Args:
        model, optimizer: as `accelerator.prepare` returned them.
        micro_batches: those of this process.

    Returns:
        () the mean loss over all processes, and () the gradient's norm before clipping.
        Both are on the device, and nothing has waited for them.

    Raises:
        BatchTooLarge: names the (B, N, K) that did not fit.
    """
    optimizer.zero_grad(set_to_none=True)
    bfloat16 = config.precision == "bfloat16"
    losses = []
    for position, batch in enumerate(micro_batches):
        last = position + 1 == len(micro_batches)
        # Gradients are all-reduced once, with the last micro-batch.
        synchronised = nullcontext() if last else accelerator.no_sync(model)
        try:
            with synchronised:
                with torch.autocast(accelerator.device.type, torch.bfloat16, enabled=bfloat16):
                    batch = to_device(batch, accelerator.device)
                    loss = batch_loss(model, batch, config) / len(micro_batches)
                accelerator.backward(loss)
        except torch.OutOfMemoryError as error:
            raise BatchTooLarge(_too_large(batch, config)) from error
        losses.append(loss.detach())
    max_norm = config.clip or math.inf
    norm = accelerator.clip_grad_norm_(model.parameters(), max_norm)
    optimizer.step()
    loss = torch.stack(losses).sum()
    mean_loss = accelerator.reduce(loss, "mean")
    return mean_loss, torch.as_tensor(norm)


def _too_large(batch: Batch, config: TrainConfig) -> str:
    """The message of `BatchTooLarge`: what did not fit, and what to change."""
    n_episodes = len(batch.query_size)
    n_supports = len(batch.support_episode)
    n_examples = len(batch.prompts.example_row)
    n_classes = int(batch.class_valid.sum()) - n_episodes  # of all episodes together
    k_shots = math.ceil(n_supports / max(1, n_classes))
    shape = (n_episodes, batch.n_rows - 1, k_shots)
    half_precision = "" if config.precision == "bfloat16" else 'precision="bfloat16", or '
    return (
        f"the device has no memory left for (B, N, K) = {shape} with {n_supports} support "
        f"images and {n_examples} examples; use {half_precision}a smaller B in the profile's "
        "EpisodeConfig.shapes (la/profiles.py) with as many more micro_batches, which keeps the "
        "size of a step"
    )
