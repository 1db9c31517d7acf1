"""The training loss (paper Eq. 6): class-weighted focal loss, and the class weights w_n."""

import torch
import torch.nn.functional as F
from torch import Tensor

from la.types import IGNORE, check_shapes


def focal_loss(
    logits: Tensor,
    target: Tensor,
    class_weights: Tensor | None = None,
    gamma: float = 2.0,
) -> Tensor:
    """Class-weighted focal loss (paper Eq. 6).

    The paper writes a sum over the N + 1 classes; a pixel belongs to one class, so it is
    weighted by the w_n of that class. The sum is divided by the number of pixels that
    are not IGNORE, so that padding does not lower the loss; `official_focal_loss` divides by
    the number of all pixels.

    Args:
        logits: (B, C, H, W); row 0 of C is background, padded rows are -inf.
        target: (B, H, W) int64 in [0, C), or IGNORE.
        class_weights: (B, C), the w_n; ones when omitted.
        gamma: focusing parameter; 0 gives weighted cross-entropy.

    Returns:
        () the loss, in the precision of the logits; 0 when every pixel is IGNORE.

    Raises:
        ValueError: the tensors disagree about B, C, H or W.
    """
    losses = _pixel_losses(logits, target, class_weights, gamma)
    n_counted = (target != IGNORE).sum().clamp(min=1)
    return losses.sum() / n_counted


def official_focal_loss(
    logits: Tensor,
    target: Tensor,
    class_weights: Tensor | None = None,
    gamma: float = 2.0,
) -> Tensor:
    """`focal_loss` as the published code averages it: over all B * H * W pixels."""
    losses = _pixel_losses(logits, target, class_weights, gamma)
    return losses.mean()


def _pixel_losses(
    logits: Tensor,
    target: Tensor,
    class_weights: Tensor | None,
    gamma: float,
) -> Tensor:
    """w_n (1 - p)^gamma * -log p for each pixel, (B, H, W); 0 where it is ignored."""
    check_shapes("focal_loss", logits=(logits, "B C H W"), target=(target, "B H W"))
    ce = F.cross_entropy(logits, target, reduction="none", ignore_index=IGNORE)
    p = torch.exp(-ce)
    loss = (1 - p) ** gamma * ce
    if class_weights is None:
        return loss
    check_shapes("focal_loss", logits=(logits, "B C H W"), class_weights=(class_weights, "B C"))
    # An ignored pixel has a loss of 0, so it may look up any row.
    row = target.clamp(min=0).flatten(1)  # (B, H*W)
    weight = class_weights.gather(1, row)
    return loss * weight.view_as(loss)


def class_weights(
    target: Tensor,
    n_rows: int,
    rule: str = "log",
    power: float = 0.5,
    dtype: torch.dtype = torch.float32,
) -> Tensor:
    """The w_n of Eq. 6, one per row over the whole batch; 1 for a row that does not occur.

    Args:
        target: (B, H, W) int64 in [0, C), or IGNORE.
        n_rows: C.
        rule: "log" is the published code's 1 / log(1.1 + f), f the share of the row among
            all B * H * W pixels; "power" is f ** -power, f the share among the pixels that
            are not IGNORE, scaled to a mean of 1 over them.
        power: the exponent of the second rule.
        dtype: of the result and of all arithmetic.

    Returns:
        (B, C), the same weights for every episode of the batch.

    Raises:
        ValueError: there is no such rule.
    """
    if rule not in ("log", "power"):
        raise ValueError(f"no class weight rule {rule!r}; known: log, power")
    # Not bincount: it waits for the GPU to learn the largest value.
    row = torch.arange(n_rows, device=target.device)[:, None]
    counts = (target.flatten() == row).sum(1)  # (C,)
    counts = counts.to(dtype)
    if rule == "log":
        frequency = counts / target.numel()
        weights = 1 / torch.log(1.1 + frequency)
    else:
        frequency = counts / counts.sum().clamp(min=1)
        weights = frequency.clamp(min=1e-12) ** -power
        mean = (frequency * weights).sum()
        weights = weights / mean.clamp(min=1e-12)
    weights = torch.where(counts > 0, weights, 1.0)
    return weights.expand(len(target), -1)
