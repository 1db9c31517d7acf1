"""Episodes as tokens: what every method on frozen features starts from.

Each cell of the backbone's feature map is a token. Support tokens are s_j, query tokens q_i, and
V_jc says how much of token j the prompts of row c cover. Scores are (B, C, h, w) on the token grid
of the input frame.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from la.comparators.raster import Raster
from la.types import Batch, Features


@dataclass(frozen=True)
class Tokens:
    """A batch as tokens. Episodes with fewer than L supports end in tokens of weight 0."""

    query_hat: Tensor  # (B, I, V), L2-normalised, I = h * w
    support: Tensor  # (B, L, T, V), not normalised, T = h * w
    weights: Tensor  # (B, L, T, C), the V_jc; background is what no class of the image covers

    @property
    def support_hat(self) -> Tensor:
        """The tokens of all supports, (B, J, V), L2-normalised, J = L * T."""
        return F.normalize(self.support.flatten(1, 2), dim=-1)

    @property
    def balanced(self) -> Tensor:
        """V_jc over the mass of class c, (B, J, C), so that background does not win by its size."""
        return share(self.weights.flatten(1, 2), dim=1)

    @property
    def prototypes(self) -> Tensor:
        """p_c (B, C, V): the mean over shots of sum_j V_jc s_j / sum_j V_jc."""
        shots = torch.einsum("bltc,bltv->blcv", share(self.weights, dim=2), self.support)
        n_shots = (self.weights.sum(2) > 0).sum(1)  # (B, C)
        return shots.sum(1) / n_shots.clamp(min=1)[..., None]


def tokens(batch: Batch, raster: Raster) -> Tokens:
    """The features and prompts of a batch as tokens, padded to the largest number of supports.

    Boxes and points are rasterised into soft maps; a mask covers what it covers.

    Raises:
        TypeError: the batch holds pixels.
    """
    if not isinstance(batch.source, Features):
        raise TypeError("comparators work on backbone features; load the batch with a cache")
    features = batch.source.support.float()
    n_supports, _, h, w = features.shape
    coverage = raster(batch.prompts, (h, w)).to(features.dtype).flatten(1)  # (E, T)
    weights = features.new_zeros(n_supports, batch.n_rows, h * w)
    weights[batch.prompts.example_support, batch.prompts.example_row] = coverage
    weights[:, 0] = 1 - weights.amax(1)
    query = batch.source.query.float().flatten(2).transpose(1, 2)
    return Tokens(
        query_hat=F.normalize(query, dim=-1),
        support=_by_episode(features.flatten(2), batch),
        weights=_by_episode(weights, batch),
    )


def _by_episode(flat: Tensor, batch: Batch) -> Tensor:
    """Values of each support (S, channels, T) as (B, L, T, channels), padded with 0."""
    episode = batch.support_episode
    counts = torch.bincount(episode, minlength=len(batch.class_valid))  # supports an episode
    start = counts.cumsum(0) - counts
    place = torch.arange(len(episode), device=episode.device) - start[episode]
    n_channels, n_tokens = flat.shape[1:]
    padded = flat.new_zeros(len(counts), int(counts.max()), n_tokens, n_channels)
    padded[episode, place] = flat.transpose(1, 2)
    return padded


@dataclass(frozen=True)
class OnTokens:
    """A segmenter that scores query tokens; subclasses implement `score`."""

    raster: Raster

    def __call__(self, batch: Batch) -> Tensor:
        """Scores (B, C, h, w)."""
        scores = self.score(tokens(batch, self.raster)).transpose(1, 2)
        return mask_absent_rows(scores.unflatten(2, batch.source.query.shape[-2:]), batch)

    def score(self, t: Tokens) -> Tensor:
        """Scores (B, I, C) of the query tokens."""
        raise NotImplementedError


def share(values: Tensor, dim: int) -> Tensor:
    """Values over their sum along `dim`; 0 where that is 0."""
    total = values.sum(dim, keepdim=True)
    return values / total.where(total > 0, 1.0)


def mask_absent_rows(scores: Tensor, batch: Batch) -> Tensor:
    """Scores (B, C, h, w) with -inf in the rows that an episode does not have."""
    return scores.masked_fill(~batch.class_valid[:, :, None, None], -torch.inf)
