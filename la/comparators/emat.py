"""EMAT, in this harness: correlations of query and support, squeezed inside the mask.

Kang, Koniusz, Cho, Murray: "Distilling Self-Supervised Vision Transformers for
Weakly-Supervised Few-Shot Classification & Segmentation", 2023 (CST), and its successor
EMAT, 2025. Correlations are the tokens: a small transformer squeezes the support axis to
one token for each query cell and attends only to cells inside the mask. As in EMAT masked
tokens are dropped, and the axis shrinks by learned convolutions.
"""

import torch.nn.functional as F
from torch import Tensor, nn

from la.comparators.learned import Learned
from la.comparators.tokens import mask_absent_rows
from la.config import ModelConfig
from la.types import Batch, Features

GROUPS = 8  # of feature channels, a correlation each
SIDE = 12  # of the support map that queries are correlated with
HEADS = 4
LEAST = 1e-6  # a probability is taken to be at least that


class EMAT(Learned):
    """Each class against its own background: row c = log(p_f / p_b), row 0 = 0.

    Shots are segmented apart and their probabilities averaged.
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
        totals = probabilities.new_zeros(*batch.class_valid.shape, *probabilities.shape[1:])
        totals = totals.index_put(place, probabilities, accumulate=True)
        shots = totals.sum(2, keepdim=True).clamp(min=1)
        probabilities = (totals / shots).clamp(min=LEAST)
        background, foreground = probabilities.log().unbind(2)
        logits = foreground - background  # (B, C, 2 h, 2 w); 0 in row 0
        return mask_absent_rows(logits, batch)

    def segment(self, query: Tensor, support: Tensor, kept: Tensor) -> Tensor:
        """(E, 2, 2 h, 2 w) probabilities of background and foreground of each example.

        Args:
            query, support: (E, V, h, w) feature maps.
            kept: (E, SIDE, SIDE) bool, the support cells inside the mask.
        """
        height, width = query.shape[-2:]
        support = F.interpolate(support, (SIDE, SIDE), mode="bilinear")
        x = correlations(query, support)  # (E, GROUPS, I, SIDE * SIDE)
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


class Squeeze(nn.Module):
    """A layer that halves the sides of the support map and widens or narrows its tokens."""

    def __init__(self, before: int, after: int) -> None:
        super().__init__()
        hidden = after // 2
        self.to_query = nn.Conv2d(before, hidden, 2, stride=2)
        self.to_key = nn.Conv2d(before, hidden, 1)
        self.to_value = nn.Conv2d(before, hidden, 1)
        self.shortcut = nn.Conv2d(before, after, 2, stride=2)
        self.shortcut_norm = nn.GroupNorm(4, after)
        self.merge = nn.Sequential(
            nn.GroupNorm(4, hidden),
            nn.ReLU(),
            nn.Conv2d(hidden, after, 1),
            nn.GroupNorm(4, after),
            nn.ReLU(),
        )
        self.norm = nn.GroupNorm(4, after)
        self.mlp = nn.Sequential(
            nn.Conv2d(after, hidden, 1),
            nn.GroupNorm(4, hidden),
            nn.ReLU(),
            nn.Conv2d(hidden, after, 1),
        )
        self.last_norm = nn.GroupNorm(4, after)

    def forward(self, x: Tensor, kept: Tensor) -> tuple[Tensor, Tensor]:
        """Tokens (E, c, I, s * s), (E, s, s) bool to the same with half the side s."""
        tokens, is_kept = drop(x, kept.flatten(1))
        attended = attend(
            shrink(x, self.to_query, kept.shape[-1]),
            self.to_key(tokens),
            self.to_value(tokens),
            is_kept,
        )
        shortcut = shrink(x, self.shortcut, kept.shape[-1])
        shortcut = self.shortcut_norm(shortcut).relu()
        y = self.norm(shortcut + self.merge(attended))
        y = self.last_norm(y + self.mlp(y))
        smaller = F.max_pool2d(kept[:, None].float(), 2)[:, 0] > 0
        return y, smaller


def shrink(x: Tensor, convolution: nn.Module, side: int) -> Tensor:
    """A convolution over the support axis, (E, c, I, s * s) to (E, c', I, s' * s')."""
    n_examples = len(x)
    maps = x.transpose(1, 2).flatten(0, 1).unflatten(2, (side, side))
    shrunk = convolution(maps).flatten(2).unflatten(0, (n_examples, -1))
    return shrunk.transpose(1, 2)


def drop(x: Tensor, kept: Tensor) -> tuple[Tensor, Tensor]:
    """The kept tokens of (E, c, I, J), padded to the most that an example keeps.

    Returns:
        (E, c, I, n), and (E, n) bool: False on what pads an example.
    """
    most = int(kept.sum(1).max())
    order = kept.int().argsort(dim=1, descending=True, stable=True)[:, :most]
    index = order[:, None, None].expand(-1, x.shape[1], x.shape[2], -1)
    return x.gather(3, index), kept.gather(1, order)


def attend(query: Tensor, key: Tensor, value: Tensor, kept: Tensor) -> Tensor:
    """Attention over the kept support tokens, apart for each query cell, without 1/sqrt(d).

    Queries are (E, c, I, m), keys and values (E, c, I, n), kept is (E, n).
    """
    mixed = F.scaled_dot_product_attention(
        _by_head(query),
        _by_head(key),
        _by_head(value),
        attn_mask=kept[:, None, None, None],
        scale=1.0,
    )
    return mixed.permute(0, 2, 4, 1, 3).flatten(1, 2)


def _by_head(x: Tensor) -> Tensor:
    """(E, c, I, n) to (E, I, heads, n, c / heads)."""
    return x.unflatten(1, (HEADS, -1)).permute(0, 3, 1, 4, 2)
