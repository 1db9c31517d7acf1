"""INSID3-style segmentation without training: matching, then clusters of the query.

The original, INSID3, reads DINOv3. Self-supervised features carry a signal of their position;
projecting it away makes matching semantic. Clusters of the query's own features then turn
matched cells into objects. Any frozen backbone takes the place of DINOv3 here.
"""

import math
from dataclasses import dataclass
from functools import cached_property

import torch
import torch.nn.functional as F
from PIL import Image
from scipy.cluster.hierarchy import fcluster, linkage
from torch import Tensor

from la.comparators.tokens import OnTokens, Tokens
from la.config import ModelConfig
from la.data.sampling.geometry import Frame
from la.model.backbone import build_backbone

NO_OBJECT = -1.0  # the score of every cell where no cell is a candidate


@dataclass(frozen=True)
class Insid3(OnTokens):
    """The score of a query cell is that of its cluster; background is 0."""

    model: ModelConfig
    rank: int = 16  # r, directions of position
    similarity: float = 0.6  # tau: clusters are merged above this mean cosine

    @cached_property
    def positions(self) -> Tensor:
        """U (V, r): the main directions of the features of a black image."""
        side = self.model.image_size
        frame = Frame((side, side), side, self.model.resize)
        black = frame.image(Image.new("RGB", (side, side)))
        features = build_backbone(self.model)(black[None])[0].float()
        features = F.normalize(features.flatten(1), dim=0)  # (V, T)
        centred = features - features.mean(1, keepdim=True)
        left, _, _ = torch.linalg.svd(centred, full_matrices=False)
        return left[:, : self.rank]

    def without_position(self, tokens: Tensor) -> Tensor:
        """f~ = normalise(f^ - U U' f^) of normalised tokens (..., V)."""
        directions = self.positions.to(tokens)
        return F.normalize(tokens - tokens @ directions @ directions.T, dim=-1)

    def score(self, t: Tokens) -> Tensor:
        """Scores (B, I, C)."""
        query = self.without_position(t.query_hat)
        support = self.without_position(F.normalize(t.support, dim=-1))
        n_episodes, n_tokens, _ = query.shape
        n_rows = t.weights.shape[-1]
        scores = torch.zeros(n_episodes, n_tokens, n_rows, device=query.device)
        has_row = t.has_example.any(1)  # (B, C)
        has_row[:, 0] = False  # the score of background stays 0
        for b, row in has_row.nonzero().tolist():
            shots = t.has_example[b, :, row]
            masks = in_mask(t.weights[b, shots, :, row])
            phi, candidates = match(query[b], support[b, shots], masks)
            clusters = self.clusters(t.query_hat[b])
            prototype = prototype_of(support[b, shots], masks)
            scores[b, :, row] = cluster_scores(
                phi,
                candidates,
                clusters,
                plain=t.query_hat[b],
                debiased=query[b],
                prototype=prototype,
            )
        return scores

    def clusters(self, tokens: Tensor) -> Tensor:
        """(I,) int64 from 0: average-linkage clusters of normalised tokens (I, V)."""
        tree = linkage(tokens.cpu().numpy(), method="average", metric="cosine")
        names = fcluster(tree, 1 - self.similarity, criterion="distance")
        return torch.from_numpy(names.astype("int64") - 1).to(tokens.device)


def in_mask(coverage: Tensor) -> Tensor:
    """(K, T) bool: cells more than half covered; the most covered where none is."""
    most = coverage.amax(-1, keepdim=True)
    return coverage >= most.clamp(max=0.5 + 1e-6)


def prototype_of(support: Tensor, masks: Tensor) -> Tensor:
    """p (V,): the normalised mean over shots (K, T, V) of the mean token in the mask."""
    weights = masks / masks.sum(-1, keepdim=True)
    return F.normalize(torch.einsum("kt,ktv->v", weights, support), dim=0)


def match(
    query: Tensor,
    support: Tensor,
    masks: Tensor,
) -> tuple[Tensor, Tensor]:
    """How much each query cell (I, V) looks like the class, and whether it is a candidate.

    A candidate has a positive phi_i = <f~_i, p>, and its nearest support cell lies in the
    mask in at least half of the shots (K, T, V).

    Returns:
        phi (I,), and (I,) bool.
    """
    phi = query @ prototype_of(support, masks)
    positive = phi > 0
    if not positive.any():
        positive = phi > phi.quantile(0.9)
    nearest = (query @ support.transpose(1, 2)).argmax(-1)  # (K, I)
    votes = masks.gather(1, nearest).sum(0)
    return phi, positive & (votes >= math.ceil(len(masks) / 2))


def cluster_scores(
    phi: Tensor,
    candidates: Tensor,
    clusters: Tensor,
    *,
    plain: Tensor,
    debiased: Tensor,
    prototype: Tensor,
) -> Tensor:
    """(I,) the score of each cell's cluster.

    The seed is the cluster with candidates that looks most like the class. The score of
    cluster k is mean_k(phi) <f^_seed, f^_k> times the share of its cells that are
    candidates, which is taken as 1 for the seed.

    Args:
        plain, debiased: f^ and f~ (I, V), with and without position.
        prototype: p (V,).
    """
    if not candidates.any():
        return torch.full_like(phi, NO_OBJECT)
    member = F.one_hot(clusters).T.to(phi)  # (k, I)
    member = member / member.sum(1, keepdim=True)
    share = member @ candidates.to(phi)
    likeness = F.normalize(member @ debiased, dim=-1) @ prototype
    seed = likeness.masked_fill(share == 0, -torch.inf).argmax()
    share[seed] = 1
    means = F.normalize(member @ plain, dim=-1)
    scores = (member @ phi) * (means @ means[seed]) * share
    return scores[clusters]
