"""Support masks propagated to the query by attention between cells.

Shi, Wei, Zhang, Lu, Ning, Chen, Ma, Zheng: "Dense Cross-Query-and-Support Attention
Weighted Mask Aggregation for Few-Shot Segmentation", 2022. This is only the idea,
without training and on one feature level; `dcama` is trained.
"""

from dataclasses import dataclass

import torch.nn.functional as F
from torch import Tensor

from la.comparators.tokens import OnTokens, Tokens, share


@dataclass(frozen=True)
class Affinity(OnTokens):
    """m_ic = sum_j A_ij V_jc with A = softmax_j(cos(q_i, s_j) / T), all classes at once.

    V_jc is divided by the mass of its class, and m_ic by its sum over c.
    """

    temperature: float = 0.05  # T

    def score(self, t: Tokens) -> Tensor:
        """Scores (B, I, C): shares that sum to 1 over the rows."""
        # Padded tokens have weight 0. They add only to the softmax's denominator, which
        # cancels when m_ic is divided by its sum over c.
        mixed = F.scaled_dot_product_attention(
            t.query_hat,
            t.support_hat,
            t.balanced,
            scale=1 / self.temperature,
        )
        return share(mixed, dim=2)
