"""PPNet without unlabelled images, in this harness: several part vectors per class.

Liu, Zhang, Zhang, He: "Part-aware Prototype Network for Few-shot Semantic Segmentation",
2020. The original also trains a semantic head on the seen classes, which episodes here
have no labels for.
"""

import torch.nn.functional as F
from torch import Tensor

from la.comparators.k_means import k_means, nearest
from la.comparators.panet import PANet
from la.comparators.prototypes import SCALE
from la.comparators.tokens import Tokens
from la.config import ModelConfig


class PPNet(PANet):
    """20 max_m cos(q_i, P_cm), where P_cm = centre_m + g p_c for the parts m of a class."""

    def __init__(self, config: ModelConfig, *, parts: int = 5) -> None:
        super().__init__(config)
        self.parts = parts
        self.rounds = 10
        self.global_weight = 0.5  # g

    def compare(self, t: Tokens) -> Tensor:
        """Logits (B, I, C) from the parts of the support."""
        parts, empty = self.part_vectors(t)
        return self.nearest_part(t, parts, empty)

    def score(self, t: Tokens) -> Tensor:
        """Logits (B, I, C) of the query tokens."""
        return self.compare(t)

    def part_vectors(self, t: Tokens) -> tuple[Tensor, Tensor]:
        """P_cm (B, C, parts, D), and (B, C, parts) bool: whether a part has no members."""
        centres, empty = k_means(
            t.support.flatten(1, 2),
            t.weights.flatten(1, 2),
            parts=self.parts,
            rounds=self.rounds,
        )
        whole = t.prototypes[:, :, None]  # p_c
        return centres + self.global_weight * whole, empty

    @staticmethod
    def nearest_part(t: Tokens, parts: Tensor, empty: Tensor) -> Tensor:
        """20 times the largest cosine of each query token to a part of each row."""
        return SCALE * nearest(t.query_hat, F.normalize(parts, dim=-1), empty)
