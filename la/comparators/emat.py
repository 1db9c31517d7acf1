"""EMAT, in this harness: correlations of query and support, squeezed inside the mask.

Kang, Koniusz, Cho, Murray: "Distilling Self-Supervised Vision Transformers for
Weakly-Supervised Few-Shot Classification & Segmentation", 2023 (CST), and its successor
EMAT, 2025. Correlations are the tokens: a small transformer squeezes the support axis to
one token for each query cell and attends only to cells inside the mask. As in EMAT, masked
tokens are dropped, and the axis shrinks by learned convolutions.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from la.comparators.learned import Learned
from la.comparators.squeeze import Squeeze
from la.comparators.tokens import mask_absent_rows
from la.config import ModelConfig
from la.types import Batch, Features

GROUPS = 8  # groups of feature channels, with one correlation each
SIDE = 8  # of the support map that queries are correlated with; 12 trains twice as long
LEAST = 1e-6  # probabilities are clipped from below


class EMAT(Learned):
    """Each class against its own background: row c = log(p_f / p_b), row 0 = 0.

    Each shot is segmented separately, and the probabilities are averaged.
    """

    def __init__(self, config: ModelConfig) -> None:
        super().__init__(config)
        self.first = Squeeze(GROUPS, 32)
        self.second = Squeeze(32, 16)
        self.head = nn.Sequential(
            nn.Conv2d(16, 16, 1),
            nn.GroupNorm(4, 16),
            nn.ReLU(),
            nn.Conv2d(16, 16, 1),
            nn.GroupNorm(4, 16),
            nn.ReLU(),
            nn.Conv2d(16, 16, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(16, 8, 3, padding=1),
            nn.ReLU(),
            nn.Upsample(scale_factor=2, mode="bilinear"),
            nn.Conv2d(8, 8, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(8, 2, 3, padding=1),
        )

    def forward(self, batch: Batch) -> Tensor:
        """Logits (B, C, 2 h, 2 w)."""
        assert isinstance(batch.source, Features)
        prompts = batch.prompts
        episode = batch.support_episode[prompts.example_support]  # (E,)
        query = batch.source.query.float()
        support = batch.source.support.float()
        coverage = self.raster(prompts, (SIDE, SIDE))
        probabilities = self.segment(
            query[episode],
            support[prompts.example_support],
            inside(coverage),
        )
        # The mean over the shots of each (episode, class).
        place = episode, prompts.example_row
        shape = batch.class_valid.shape + probabilities.shape[1:]
        totals = probabilities.new_zeros(shape)
        totals = totals.index_put(place, probabilities, accumulate=True)
        shots = totals.sum(2, keepdim=True).clamp(min=1)
        probabilities = (totals / shots).clamp(min=LEAST)
        background, foreground = probabilities.log().unbind(2)
        logits = foreground - background  # (B, C, 2 h, 2 w); 0 in row 0
        return mask_absent_rows(logits, batch)

    def segment(
        self,
        query: Tensor,
        support: Tensor,
        kept: Tensor,
    ) -> Tensor:
        """(E, 2, 2 h, 2 w) probabilities of background and foreground of each example.

        Args:
            query, support: (E, V, h, w) feature maps.
            kept: (E, SIDE, SIDE) bool, the support cells inside the mask.
        """
        height, width = query.shape[-2:]
        support = F.interpolate(support, (SIDE, SIDE), mode="bilinear")
        x = correlations(query, support)  # (E, GROUPS, I, SIDE * SIDE)
        x = x.contiguous(memory_format=torch.channels_last)  # see `squeeze`
        x, kept = self.first(x, kept)
        x, kept = self.second(x, kept)
        x = x.mean(-1)  # the last support cells become one token
        return self.head(x.unflatten(2, (height, width))).softmax(1)


def inside(coverage: Tensor) -> Tensor:
    """(E, s, s) bool: the cells with coverage; all of them where no cell has any."""
    covered = coverage > 0
    nothing = ~covered.flatten(1).any(1)
    return covered | nothing[:, None, None]


def correlations(query: Tensor, support: Tensor) -> Tensor:
    """Cosines (E, GROUPS, I, J) of feature maps (E, V, h, w), for each group of channels."""
    query = query.flatten(2).unflatten(1, (GROUPS, -1))  # (E, G, V / G, I)
    support = support.flatten(2).unflatten(1, (GROUPS, -1))
    query = F.normalize(query, dim=2)
    support = F.normalize(support, dim=2)
    return query.transpose(2, 3) @ support
