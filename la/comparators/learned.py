"""The common part of the trained comparators.

A trained comparator is a module that reads a batch and returns scores, like
`LabelAnything`, and the same trainer trains it on the same episodes. Dropout and random
starts of the originals are left out, because a training step is a function of weights and
batch alone: a resumed run then repeats every step.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from la.comparators.raster import Raster
from la.comparators.tokens import Tokens
from la.config import ModelConfig
from la.types import IGNORE, Batch


class Learned(nn.Module):
    """A trained segmenter on frozen features; subclasses implement `forward`.

    A forward pass in training mode may set `extra_loss`, (), which the trainer adds to
    the segmentation loss with the weight that the method gives it.
    """

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config
        self.raster = Raster(config.image_size, config.mask_size)
        self.extra_loss: Tensor | None = None


class Adapter(nn.Module):
    """A(x) = P x + C(GELU(P x)), which adapts frozen features instead of the backbone.

    P is a 1x1 convolution with orthonormal rows at the start, so that cosines are those
    of the features; C is a 3x3 convolution that starts at zero.
    """

    def __init__(self, width: int, dim: int) -> None:
        super().__init__()
        self.project = nn.Conv2d(width, dim, 1)
        self.refine = nn.Conv2d(dim, dim, 3, padding=1)
        nn.init.orthogonal_(self.project.weight)
        start_at_zero(self.refine)

    def forward(self, features: Tensor) -> Tensor:
        """(n, V, h, w) to (n, D, h, w)."""
        projected = self.project(features)
        return projected + self.refine(F.gelu(projected))


def start_at_zero(layer: nn.Module) -> None:
    """Set all weights of a layer to 0, so that a residual branch adds nothing at first."""
    for parameter in layer.parameters():
        nn.init.zeros_(parameter)


def support_rows(t: Tokens) -> Tensor:
    """The row that covers most of each support token, (B, J) int64; IGNORE on padding."""
    weights = t.weights.flatten(1, 2)  # (B, J, C)
    rows = weights.argmax(-1)
    is_padding = weights.sum(-1) == 0
    return rows.masked_fill(is_padding, IGNORE)


def query_rows(batch: Batch, size: tuple[int, int]) -> Tensor:
    """The row at the centre of each query token, (B, I) int64, or IGNORE.

    The target must lie in the input frame, as it does where `target_side` is set.
    """
    target = batch.target[:, None].float()
    sampled = F.interpolate(target, size, mode="nearest-exact")
    return sampled.flatten(1).long()


def mean_where(values: Tensor, counted: Tensor) -> Tensor:
    """() the mean of the values that are counted; 0 where none is."""
    kept = torch.where(counted, values, 0.0)
    return kept.sum() / counted.sum().clamp(min=1)
