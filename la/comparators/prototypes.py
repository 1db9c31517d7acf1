"""Cosine to one prototype per class, with and without a prototype for background.

Wang, Liew, Zou, Zhou, Feng: "PANet: Few-Shot Image Semantic Segmentation with Prototype
Alignment", 2019. This is only the idea, without training: one masked average per class
and shot, and the nearest prototype wins. `panet` is trained.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from la.comparators.tokens import OnTokens, Tokens

SCALE = 20  # of cosines that become logits


@dataclass(frozen=True)
class Prototype(OnTokens):
    """20 cos(q_i, p_c), where background has a prototype like any class."""

    def score(self, t: Tokens) -> Tensor:
        """Scores (B, I, C)."""
        return (SCALE * t.query_hat) @ directions(t)


@dataclass(frozen=True)
class ThresholdPrototype(OnTokens):
    """cos(q_i, p_c) against one threshold, which is the score of background."""

    threshold: float = 0.5

    def score(self, t: Tokens) -> Tensor:
        """Scores (B, I, C)."""
        cosines = t.query_hat @ directions(t)
        classes = cosines[..., 1:]
        background = torch.full_like(cosines[..., :1], self.threshold)
        return torch.cat([background, classes], dim=-1)


def directions(t: Tokens) -> Tensor:
    """Normalised prototypes as columns, (B, V, C)."""
    return F.normalize(t.prototypes, dim=-1).transpose(1, 2)
