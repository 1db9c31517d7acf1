"""Cosine to the nearest of several prototypes per class.

Liu, Zhang, Zhang, He: "Part-aware Prototype Network for Few-shot Semantic Segmentation",
2020. This is only the idea, without training; `ppnet` is trained.
"""

from dataclasses import dataclass

from torch import Tensor

from la.comparators.k_means import k_means, nearest
from la.comparators.tokens import OnTokens, Tokens


@dataclass(frozen=True)
class PartPrototypes(OnTokens):
    """max over parts of cos(q_i, p_cm); spherical k-means finds the parts of a class."""

    parts: int = 3
    rounds: int = 10

    def score(self, t: Tokens) -> Tensor:
        """Scores (B, I, C)."""
        centres, empty = k_means(
            t.support_hat,
            t.weights.flatten(1, 2),
            parts=self.parts,
            rounds=self.rounds,
            spherical=True,
        )
        return nearest(t.query_hat, centres, empty)
