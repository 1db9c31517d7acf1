"""One optimiser step (paper 4.2): its learning rate, its loss and its gradient."""

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
from la.learn.evaluation import at_least_float32, original_scores
from la.learn.losses import class_weights, focal_loss, official_focal_loss
from la.model.prompt_encoder import PADDING, PromptEncoder
from la.types import Batch, to_device


class BatchTooLarge(UserError, torch.OutOfMemoryError):
    """A batch of these (B, N, K) does not fit into the memory of the device."""


def learning_rate(step: int, config: TrainConfig) -> float:
    """Linear warm-up, then a cosine to 0 over the remaining steps, or constant [P 4.2]."""
    if step < config.warmup_steps:
        return config.lr * (step + 1) / config.warmup_steps
    if config.schedule == "constant":
        return config.lr
    done = (step - config.warmup_steps) / max(1, config.steps - config.warmup_steps)
    return config.lr * 0.5 * (1 + math.cos(math.pi * done))


def batch_loss(model: nn.Module, batch: Batch, config: TrainConfig) -> Tensor:
    """The segmentation loss of a batch, and the attention loss where its weight is not 0.

    Returns:
        () in the precision of the logits, at least float32.

    Raises:
        ValueError: the batch lacks the objects that the attention loss needs.
    """
    if config.attention_loss == 0:
        return segmentation_loss(model, batch, config)
    if batch.objects is None:
        raise ValueError(
            "the attention loss needs the masks of the prompted objects; "
            "load the batch with BatchLoader(objects=True)"
        )
    encoder = cast(PromptEncoder, getattr(model, "module", model).prompt_encoder)
    with recorded_reads(encoder) as reads:
        loss = segmentation_loss(model, batch, config)
    valid = encoder.sparse_prompts(batch.prompts)[1] != PADDING  # (E, T)
    return loss + config.attention_loss * attention_loss(reads, batch.objects, valid)


def segmentation_loss(model: nn.Module, batch: Batch, config: TrainConfig) -> Tensor:
    """The loss of a batch (paper Eq. 6), on the grid of its target.

    With `target_side` None that grid is the query's original pixels, and the loss is
    divided by all of them, as in the published code. Pixels that pad a batch count there
    too: up to its largest query here, to its largest image in the published code.

    Returns:
        () in the precision of the logits, at least float32.
    """
    logits = at_least_float32(model(batch))
    official = config.target_side is None
    if official:
        logits = _padded_originals(logits, batch, _model_config(model))
    else:
        logits = _on_target_grid(logits, batch)
    logits = logits.masked_fill(~batch.class_valid[:, :, None, None], -math.inf)
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
    finite = logits.masked_fill(~batch.class_valid[:, :, None, None], 0)
    return F.interpolate(finite, size=batch.target.shape[-2:], mode="bilinear")


def _padded_originals(logits: Tensor, batch: Batch, model: ModelConfig) -> Tensor:
    """Logits (B, C, h, w) at the queries' original sizes, padded to (B, C, H, W)."""
    height, width = batch.target.shape[-2:]
    maps = []
    for rows in original_scores(logits, batch, model):
        padding = (0, width - rows.shape[-1], 0, height - rows.shape[-2])
        maps.append(F.pad(rows, padding))
    return torch.stack(maps)


def _model_config(model: nn.Module) -> ModelConfig:
    """The configuration of a model, which DistributedDataParallel may hide."""
    return cast(ModelConfig, getattr(model, "module", model).config)


def take_step(
    model: nn.Module,
    optimizer: Optimizer,
    micro_batches: Sequence[Batch],
    config: TrainConfig,
    accelerator: Accelerator,
) -> tuple[Tensor, Tensor]:
    """Average the gradient over this process's micro-batches and all processes; step.

    Args:
        model, optimizer: as `accelerator.prepare` returned them.
        micro_batches: those of this process.

    Returns:
        () the mean loss over all processes, and () the gradient's norm before clipping;
        both on the device, so that nothing waits for it.

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
    norm = accelerator.clip_grad_norm_(model.parameters(), config.clip or math.inf)
    optimizer.step()
    mean_loss = accelerator.reduce(torch.stack(losses).sum(), "mean")
    return mean_loss, torch.as_tensor(norm)


def _too_large(batch: Batch, config: TrainConfig) -> str:
    """What did not fit into the device's memory, and what to change."""
    n_episodes, n_supports = len(batch.query_size), len(batch.support_episode)
    n_ways = int(batch.class_valid.sum()) - n_episodes  # of all episodes together
    k_shots = math.ceil(n_supports / max(1, n_ways))
    less = "" if config.precision == "bfloat16" else 'precision="bfloat16", or '
    return (
        f"the device has no memory left for (B, N, K) = "
        f"{(n_episodes, batch.n_rows - 1, k_shots)} with {n_supports} support images "
        f"and {len(batch.prompts.example_row)} examples; use {less}a smaller B in "
        "EpisodeConfig.shapes with as many more micro_batches, which keeps the size of a step"
    )
