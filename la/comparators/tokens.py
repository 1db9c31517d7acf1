"""Episodes as tokens: the common first step of all methods on frozen features.

Each cell of a feature map is a token. Support tokens are s_j, query tokens q_i, and V_jc
is the share of token j that the prompts of row c cover. Scores are (B, C, h, w) on the
token grid of the input frame.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from la.comparators.raster import Raster
from la.types import Batch, Features

Adapt = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class Tokens:
    """A batch as tokens, T = h * w. Episodes with fewer than L supports are padded.

    The tokens of a padded support have weight 0 in every row.
    """

    query: Tensor  # (B, I, V), I = h * w
    support: Tensor  # (B, L, T, V)
    weights: Tensor  # (B, L, T, C), the V_jc; row 0 is what no class covers
    size: tuple[int, int]  # (h, w)

    @property
    def query_hat(self) -> Tensor:
        """The query tokens (B, I, V), L2-normalised."""
        return F.normalize(self.query, dim=-1)

    @property
    def support_hat(self) -> Tensor:
        """The tokens of all supports, (B, J, V), L2-normalised, J = L * T."""
        return F.normalize(self.support.flatten(1, 2), dim=-1)

    @property
    def balanced(self) -> Tensor:
        """V_jc over the mass of class c, (B, J, C): the size of background is no advantage."""
        return share(self.weights.flatten(1, 2), dim=1)

    @property
    def has_example(self) -> Tensor:
        """(B, L, C) bool: whether row c has weight in support l."""
        return self.weights.sum(2) > 0

    @property
    def prototypes(self) -> Tensor:
        """p_c (B, C, V): the mean over shots of sum_j V_jc s_j / sum_j V_jc."""
        weights = share(self.weights, dim=2)
        shots = torch.einsum("bltc,bltv->blcv", weights, self.support)
        n_shots = self.has_example.sum(1)  # (B, C)
        return shots.sum(1) / n_shots.clamp(min=1)[..., None]


def tokens(
    batch: Batch,
    raster: Raster,
    adapt: Adapt | None = None,
) -> Tokens:
    """The features and prompts of a batch as tokens.

    Boxes and points are rasterised into soft maps; a mask has the weight of its share.

    Args:
        adapt: applied to the feature maps (images, V, h, w) of queries and supports.

    Raises:
        TypeError: the batch holds pixels.
    """
    if not isinstance(batch.source, Features):
        raise TypeError("comparators read backbone features; load the batch with a cache")
    query = batch.source.query.float()
    support = batch.source.support.float()
    if adapt is not None:
        query = adapt(query)
        support = adapt(support)
    height, width = query.shape[-2:]
    weights = row_weights(batch, raster, (height, width))
    return Tokens(
        query=query.flatten(2).transpose(1, 2),
        support=_by_episode(support.flatten(2), batch),
        weights=_by_episode(weights.flatten(2), batch),
        size=(height, width),
    )


def row_weights(
    batch: Batch,
    raster: Raster,
    size: tuple[int, int],
) -> Tensor:
    """The share of each cell that each row covers in each support, (S, C, h, w)."""
    prompts = batch.prompts
    coverage = raster(prompts, size)  # (E, h, w)
    n_supports = len(batch.support_episode)
    weights = coverage.new_zeros(n_supports, batch.n_rows, *size)
    weights[prompts.example_support, prompts.example_row] = coverage
    weights[:, 0] = 1 - weights.amax(1)
    return weights


def _by_episode(flat: Tensor, batch: Batch) -> Tensor:
    """Values of each support (S, channels, T) as (B, L, T, channels), padded with 0."""
    episode = batch.support_episode
    n_episodes = len(batch.class_valid)
    n_supports = torch.bincount(episode, minlength=n_episodes)
    first = n_supports.cumsum(0) - n_supports  # of each episode
    position = torch.arange(len(episode), device=episode.device)
    position = position - first[episode]
    n_channels, n_tokens = flat.shape[1:]
    longest = int(n_supports.max())
    padded = flat.new_zeros(n_episodes, longest, n_tokens, n_channels)
    padded[episode, position] = flat.transpose(1, 2)
    return padded


@dataclass(frozen=True)
class OnTokens:
    """A segmenter that scores query tokens; subclasses implement `score`."""

    raster: Raster

    def __call__(self, batch: Batch) -> Tensor:
        """Scores (B, C, h, w)."""
        t = tokens(batch, self.raster)
        return as_maps(self.score(t), t, batch)

    def score(self, t: Tokens) -> Tensor:
        """Scores (B, I, C) of the query tokens."""
        raise NotImplementedError


def as_maps(scores: Tensor, t: Tokens, batch: Batch) -> Tensor:
    """Scores of tokens (B, I, C) as maps (B, C, h, w), absent rows -inf."""
    maps = scores.transpose(1, 2).unflatten(2, t.size)
    return mask_absent_rows(maps, batch)


def share(values: Tensor, dim: int) -> Tensor:
    """Values over their sum along `dim`; 0 where that is 0."""
    total = values.sum(dim, keepdim=True)
    return values / total.where(total > 0, 1.0)


def mask_absent_rows(scores: Tensor, batch: Batch) -> Tensor:
    """Scores (B, C, h, w) with -inf in the rows that an episode does not have."""
    absent = ~batch.class_valid[:, :, None, None]
    return scores.masked_fill(absent, -torch.inf)
