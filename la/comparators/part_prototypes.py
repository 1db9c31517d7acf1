"""Cosine to the nearest of several prototypes per class.

Liu, Zhang, Zhang, He: "Part-aware Prototype Network for Few-shot Semantic Segmentation", 2020. The
idea alone, without training.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from la.comparators.tokens import OnTokens, Tokens


@dataclass(frozen=True)
class PartPrototypes(OnTokens):
    """max over parts of cos(q_i, p_cm), where spherical k-means finds the parts of a class.

    The parts of a class begin with equal mass in reading order, so nothing is drawn at random.
    """

    parts: int = 3
    rounds: int = 10

    def score(self, t: Tokens) -> Tensor:
        """Scores (B, I, C)."""
        support = t.support_hat  # (B, J, V)
        weights = t.weights.flatten(1, 2)  # (B, J, C)
        middle = t.balanced.cumsum(1) - t.balanced / 2  # share of the class's mass before token j
        part = (middle * self.parts).long().clamp(0, self.parts - 1)  # (B, J, C)
        for _ in range(self.rounds):
            member = F.one_hot(part, self.parts) * weights[..., None]  # (B, J, C, parts)
            means = torch.einsum("bjcp,bjv->bcpv", member, support)
            centres = F.normalize(means, dim=-1)
            cosines = torch.einsum("bjv,bcpv->bjcp", support, centres)
            # A part without members must win neither a support token here nor a query below.
            empty = (member.sum(1) == 0)[:, None]  # (B, 1, C, parts)
            part = cosines.masked_fill(empty, -2).argmax(-1)
        cosines = torch.einsum("biv,bcpv->bicp", t.query_hat, centres)
        return cosines.masked_fill(empty, -2).amax(-1)
