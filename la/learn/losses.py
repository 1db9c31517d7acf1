"""The training loss (paper Eq. 6): class-weighted focal loss, and the class weights w_n."""

import torch
import torch.nn.functional as F
from torch import Tensor

from la.types import IGNORE, check_shapes


def focal_loss(
    logits: Tensor, target: Tensor, class_weights: Tensor | None = None, gamma: float = 2.0
) -> Tensor:
    """Focal loss () of logits (B, C, H, W), -inf in padded rows; 0 when all is IGNORE (Eq. 6).

    The paper sums over the N + 1 classes; a pixel belongs to one, so each pixel of target (B, H, W)
    weighs the w_n of its class, class_weights (B, C), ones when omitted. We divide by the pixels
    that count, so padding weakens no episode; `official_focal_loss` divides by all.
    """
    named = {"logits": (logits, "B C H W"), "target": (target, "B H W")}
    if class_weights is not None:
        named["class_weights"] = (class_weights, "B C")
    check_shapes("focal_loss", **named)
    kept = target != IGNORE
    ce = F.cross_entropy(logits, target, reduction="none", ignore_index=IGNORE)  # 0 where ignored
    loss = (1 - torch.exp(-ce)) ** gamma * ce
    if class_weights is not None:
        rows = target.masked_fill(~kept, 0).flatten(1)  # (B, H*W)
        loss = loss * class_weights.gather(1, rows).view_as(loss)
    return loss.sum() / kept.sum().clamp(min=1)


def official_focal_loss(
    logits: Tensor, target: Tensor, class_weights: Tensor | None = None, gamma: float = 2.0
) -> Tensor:
    """`focal_loss` as the published code divides it: by all B * H * W pixels."""
    counted = (target != IGNORE).sum() / target.numel()
    return focal_loss(logits, target, class_weights, gamma) * counted


def class_weights(target: Tensor, n_rows: int, rule: str = "log", power: float = 0.5) -> Tensor:
    """The w_n of Eq. 6 (B, C), one per row over the whole batch; 1 for a row that does not occur.

    `log` is the published code's 1 / log(1.1 + f), f the share among all B * H * W pixels;
    `power` is f ** -power, f the share among those that count, scaled to a mean of 1 over them.
    Another rule is refused with a ValueError.
    """
    if rule not in ("log", "power"):
        raise ValueError(f"no class weight rule {rule!r}; known: log, power")
    rows = torch.where(target == IGNORE, n_rows, target).flatten()
    counts = torch.bincount(rows, minlength=n_rows + 1)[:n_rows].float()
    weights = 1 / torch.log(1.1 + counts / target.numel())
    if rule == "power":
        share = counts / counts.sum().clamp(min=1)
        weights = share.clamp(min=1e-12) ** -power
        weights = weights / (share * weights).sum().clamp(min=1e-12)
    return torch.where(counts > 0, weights, 1.0).expand(target.shape[0], -1)
