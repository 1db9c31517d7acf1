"""Training-free segmenters on frozen features: what a few-shot model must beat (beside paper 4.3).

Support tokens are s_j, with class weights V_jc made from the prompts, query tokens q_i; hats are
L2-normalised. Scores are (B, C, h, w) on the token grid of the input frame.
"""

from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from la.comparators.raster import Raster
from la.data.geometry import Frame
from la.types import IGNORE, Batch, Features


@dataclass(frozen=True)
class Tokens:
    """A batch as tokens. Episodes with fewer than L supports end in tokens of weight 0."""

    query_hat: Tensor  # (B, I, V), I = h * w
    support: Tensor  # (B, L, T, V), not normalised
    weights: Tensor  # (B, L, T, C), the V_jc; background is what no class of the image covers

    @property
    def support_hat(self) -> Tensor:
        """(B, J, V), J = L * T."""
        return F.normalize(self.support.flatten(1, 2), dim=-1)

    @property
    def balanced(self) -> Tensor:
        """(B, J, C): V_jc over the class's mass, so that background does not win by its size."""
        return _share(self.weights.flatten(1, 2), dim=1)

    @property
    def prototypes(self) -> Tensor:
        """p_c (B, C, V): the mean over shots of sum_j V_jc s_j / sum_j V_jc."""
        shots = torch.einsum("bltc,bltv->blcv", _share(self.weights, dim=2), self.support)
        n_shots = (self.weights.sum(2) > 0).sum(1)  # (B, C)
        return shots.sum(1) / n_shots.clamp(min=1)[..., None]


def tokens(batch: Batch, raster: Raster) -> Tokens:
    """The features and prompts of a batch as tokens, supports padded to the most of an episode.

    Boxes and points are rasterised into soft maps; a mask covers what it covers.

    Raises:
        TypeError: the batch holds pixels.
    """
    if not isinstance(batch.source, Features):
        raise TypeError("baselines work on backbone features; load the batch with a feature cache")
    support, owner = batch.source.support.float(), batch.support_episode
    n_supports, _, h, w = support.shape
    maps = raster(batch.prompts, (h, w)).to(support.dtype).flatten(1)  # (E, T)
    weights = support.new_zeros(n_supports, batch.n_rows, h * w)
    weights[batch.prompts.example_support, batch.prompts.example_row] = maps
    weights[:, 0] = 1 - weights.amax(1)
    counts = torch.bincount(owner, minlength=len(batch.class_valid))
    place = torch.arange(n_supports, device=owner.device) - (counts.cumsum(0) - counts)[owner]

    def padded(flat: Tensor) -> Tensor:  # (S, channels, T) -> (B, L, T, channels)
        out = flat.new_zeros(len(counts), int(counts.max()), h * w, flat.shape[1])
        out[owner, place] = flat.transpose(1, 2)
        return out

    query = batch.source.query.float().flatten(2).transpose(1, 2)
    return Tokens(F.normalize(query, dim=-1), padded(support.flatten(2)), padded(weights))


@dataclass(frozen=True)
class Floor:
    """All background: the score that any method must exceed."""

    def __call__(self, batch: Batch) -> Tensor:
        """Scores (B, C, 1, 1)."""
        scores = torch.zeros_like(batch.class_valid, dtype=torch.float32)
        scores[:, 0] = 1
        return _without_padded_rows(scores[..., None, None], batch)


@dataclass(frozen=True)
class TokenGrid:
    """The truth averaged to the token grid and upsampled: a reference, not an upper bound.

    A background bias can raise it, since averaging favours the larger neighbour.
    """

    image_size: int
    resize: Literal["pad", "squash"]

    def __call__(self, batch: Batch) -> Tensor:
        """Scores (B, C, h, w): the share of each row in each token; padding is background."""
        maps = []
        for target, (height, width) in zip(batch.target, batch.query_size.tolist(), strict=True):
            frame = Frame((height, width), self.image_size, self.resize)
            truth = target[:height, :width].cpu().numpy()
            maps.append(torch.from_numpy(frame.sample(truth, self.image_size, IGNORE)))
        truth = torch.stack(maps).to(batch.target.device)
        rows = F.one_hot(truth.clamp(min=0), batch.n_rows) * (truth != IGNORE)[..., None]
        height, width = batch.source.query.shape[-2:]
        share = F.adaptive_avg_pool2d(rows.permute(0, 3, 1, 2).float(), (height, width))
        share[:, 0] += share.sum(1) == 0
        return _without_padded_rows(_share(share, dim=1), batch)


@dataclass(frozen=True)
class OnTokens:
    """What the feature baselines share: how prompts become token weights."""

    raster: Raster

    def __call__(self, batch: Batch) -> Tensor:
        """Scores (B, C, h, w)."""
        scores = self.score(tokens(batch, self.raster)).transpose(1, 2)
        return _without_padded_rows(scores.unflatten(2, batch.source.query.shape[-2:]), batch)

    def score(self, t: Tokens) -> Tensor:
        """Scores (B, I, C) of the query tokens."""
        raise NotImplementedError


@dataclass(frozen=True)
class ClassPrior(OnTokens):
    """How often each row covers a place in the supports: sees the prompts, never the query."""

    def score(self, t: Tokens) -> Tensor:
        return _share(t.weights.sum(1), dim=2)


@dataclass(frozen=True)
class Prototype(OnTokens):
    """20 cos(q_i, p_c), background included: PANet's idea.

    Wang, Liew, Zou, Zhou, Feng: "PANet: Few-Shot Image Semantic Segmentation with Prototype
    Alignment", 2019. One masked average per class and shot; the nearest prototype wins.
    """

    def score(self, t: Tokens) -> Tensor:
        return 20 * t.query_hat @ F.normalize(t.prototypes, dim=-1).transpose(1, 2)


@dataclass(frozen=True)
class ThresholdPrototype(OnTokens):
    """cos(q_i, p_c) against ONE threshold, which is the score of background.

    PANet's masked average (see `Prototype`) without its background prototype.
    """

    threshold: float = 0.5

    def score(self, t: Tokens) -> Tensor:
        scores = t.query_hat @ F.normalize(t.prototypes, dim=-1).transpose(1, 2)
        return torch.cat([torch.full_like(scores[..., :1], self.threshold), scores[..., 1:]], -1)


@dataclass(frozen=True)
class PartPrototypes(OnTokens):
    """max over parts of cos(q_i, p_cm), the parts of a class by k-means: PPNet's idea.

    Liu, Zhang, Zhang, He: "Part-aware Prototype Network for Few-shot Semantic Segmentation", 2020.
    A class starts as parts of equal mass in reading order, so that nothing is drawn at random.
    """

    parts: int = 3
    rounds: int = 10

    def score(self, t: Tokens) -> Tensor:
        support, weights = t.support_hat, t.weights.flatten(1, 2)  # (B, J, V), (B, J, C)
        middle = t.balanced.cumsum(1) - t.balanced / 2  # share of the class's mass before token j
        part = (middle * self.parts).long().clamp(0, self.parts - 1)  # (B, J, C)
        for _ in range(self.rounds):
            member = F.one_hot(part, self.parts) * weights[..., None]  # (B, J, C, parts)
            centres = F.normalize(torch.einsum("bjcp,bjv->bcpv", member, support), dim=-1)
            near = torch.einsum("bjv,bcpv->bjcp", support, centres)
            empty = (member.sum(1) == 0)[:, None]  # (B, 1, C, parts)
            part = near.masked_fill(empty, -2).argmax(-1)
        scores = torch.einsum("biv,bcpv->bicp", t.query_hat, centres)
        return scores.masked_fill(empty, -2).amax(-1)


@dataclass(frozen=True)
class Affinity(OnTokens):
    """m_ic = sum_j A_ij V_jc, A = softmax_j(cos(q_i, s_j) / T), all classes at once: DCAMA's idea.

    Shi, Wei, Zhang, Lu, Ning, Chen, Ma, Zheng: "Dense Cross-Query-and-Support Attention Weighted
    Mask Aggregation for Few-Shot Segmentation", 2022. Without its training and its many levels;
    V_jc is divided by the mass of its class, m_ic by its sum over c.
    """

    temperature: float = 0.05

    def score(self, t: Tokens) -> Tensor:
        mixed = F.scaled_dot_product_attention(
            t.query_hat, t.support_hat, t.balanced, scale=1 / self.temperature
        )  # tokens of weight 0 enter the softmax alone, which the sum over c takes out again
        return _share(mixed, dim=2)


@dataclass(frozen=True)
class Ridge(OnTokens):
    """A closed-form ridge regression of V_jc on the support tokens, classes of equal mass.

    Bertinetto, Henriques, Torr, Vedaldi: "Meta-learning with differentiable closed-form solvers",
    2019. Without its meta-learning. `penalty` is relative to a mass of 1 per class.
    """

    penalty: float = 0.01

    def score(self, t: Tokens) -> Tensor:
        x, q = (F.pad(hat, (0, 1), value=1.0) for hat in (t.support_hat, t.query_hat))
        weighted = (x * t.balanced.sum(-1, keepdim=True)).transpose(1, 2)  # (B, V + 1, J)
        normal = weighted @ x + self.penalty * torch.eye(x.shape[-1], device=x.device)
        return q @ torch.linalg.solve(normal, x.transpose(1, 2) @ t.balanced)


def _share(values: Tensor, dim: int) -> Tensor:
    """Values over their sum along `dim`; 0 where that is 0."""
    total = values.sum(dim, keepdim=True)
    return values / total.where(total > 0, 1.0)


def _without_padded_rows(scores: Tensor, batch: Batch) -> Tensor:
    return scores.masked_fill(~batch.class_valid[:, :, None, None], -torch.inf)
