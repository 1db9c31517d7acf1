"""PANet, in this harness: one mean vector per class, trained with prototype alignment.

Wang, Liew, Zou, Zhou, Feng: "PANet: Few-Shot Image Semantic Segmentation with Prototype
Alignment", 2019. Each class and background is one mean vector, and the nearest in cosine
wins. In training the roles swap as well: the predicted query segments the support.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from la.comparators.learned import Adapter, Learned, mean_where
from la.comparators.prototypes import SCALE, directions
from la.comparators.tokens import Tokens, as_maps, tokens
from la.config import ModelConfig
from la.types import Batch


class PANet(Learned):
    """20 cos(q_i, p_c) on adapted features; `extra_loss` is the alignment loss."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__(config)
        self.adapter = Adapter(config.backbone_dim, config.embed_dim)

    def forward(self, batch: Batch) -> Tensor:
        """Logits (B, C, h, w)."""
        t = tokens(batch, self.raster, self.adapter)
        scores = self.score(t)
        if self.training:
            self.extra_loss = self.alignment_loss(t, scores, batch.class_valid)
        return as_maps(scores, t, batch)

    def score(self, t: Tokens) -> Tensor:
        """Logits (B, I, C) of the query tokens."""
        return (SCALE * t.query_hat) @ directions(t)

    def compare(self, t: Tokens) -> Tensor:
        """Logits (B, I, C) from the support only; the alignment loss uses them too."""
        return self.score(t)

    def alignment_loss(
        self,
        t: Tokens,
        scores: Tensor,
        class_valid: Tensor,
    ) -> Tensor:
        """() the loss of the supports as segmented by the predicted query.

        For each example (s, c) it is the cross-entropy of background against class c over
        the tokens of s, weighted by V_s0 and V_sc; other classes have weight in neither.
        The sum is divided by the number of examples. Examples whose class the prediction
        lacks add 0.
        """
        scores = scores.masked_fill(~class_valid[:, None], -torch.inf)
        predicted = F.one_hot(scores.argmax(-1), scores.shape[-1])  # (B, I, C)
        occurs = predicted.sum(1) > 0  # (B, C)
        swapped = Tokens(
            query=t.support.flatten(1, 2),
            support=t.query[:, None],
            weights=predicted[:, None].to(t.weights.dtype),
            size=t.size,
        )
        back = self.compare(swapped).view_as(t.weights)  # (B, L, T, C)
        background = t.weights[..., :1]
        classes = t.weights[..., 1:]
        log_odds = back[..., 1:] - back[..., :1]
        loss = classes * F.softplus(-log_odds) + background * F.softplus(log_odds)
        mass = (classes + background).sum(2)
        loss = loss.sum(2) / mass.clamp(min=1e-5)  # (B, L, N)
        is_example = t.has_example[..., 1:]
        can_align = occurs[:, None, 1:] & occurs[:, None, :1]
        return mean_where(loss * can_align, is_example)
