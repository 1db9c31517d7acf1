"""FPTrans, in this harness: background proxies and a trained purifier of frozen features.

Zhang, Sun, Yang, Chen: "Feature-Proxy Transformer for Few-Shot Segmentation", 2022.
Background is heterogeneous, so each support gives several local proxies of it. Prompt
tokens inside the transformer, and fine-tuning it, are not possible on frozen features.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from la.comparators.k_means import nearest
from la.comparators.learned import Learned, mean_where, query_rows, start_at_zero, support_rows
from la.comparators.prototypes import SCALE, directions
from la.comparators.tokens import Tokens, as_maps, share, tokens
from la.config import ModelConfig
from la.types import IGNORE, Batch

PROXIES = 5  # background proxies of each support
PAIR_SCALE = 10  # factor of the cosines in the pairwise loss
PAIR_WEIGHT = 1e-4  # weight of the pairwise loss, as the paper has it on COCO


class FPTrans(Learned):
    """20 cos(q_i, proxy of the class); for background, the largest over its proxies."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__(config)
        width, dim = config.backbone_dim, config.embed_dim
        last = nn.Conv2d(dim, width, 1)
        start_at_zero(last)  # the purified features start as the frozen ones
        self.purifier = nn.Sequential(  # G
            nn.Conv2d(width, dim, 1),
            nn.ReLU(),
            nn.ConvTranspose2d(dim, dim, 2, stride=2),
            nn.ReLU(),
            last,
        )

    def forward(self, batch: Batch) -> Tensor:
        """Logits (B, C, 2 h, 2 w)."""
        t = tokens(batch, self.raster, self.purify)
        if self.training:
            pairs = coarser(t)
            rows = query_rows(batch, pairs.size)
            self.extra_loss = PAIR_WEIGHT * pairwise_loss(pairs, rows)
        query = t.query_hat
        classes = query @ directions(t)[..., 1:]
        proxies, empty = background_proxies(t)
        proxies = F.normalize(proxies, dim=-1)
        background = nearest(query, proxies[:, None], empty[:, None])
        scores = SCALE * torch.cat([background, classes], dim=-1)
        return as_maps(scores, t, batch)

    def purify(self, features: Tensor) -> Tensor:
        """F = up2(x) + G(x): (n, V, h, w) to (n, V, 2 h, 2 w)."""
        enlarged = F.interpolate(features, scale_factor=2, mode="bilinear")
        return enlarged + self.purifier(features)


def background_proxies(t: Tokens) -> tuple[Tensor, Tensor]:
    """Local means of the background cells of each support, see `voronoi`.

    Returns:
        u_0 (B, L * proxies, V), and (B, L * proxies) bool: proxies without a cell.
    """
    is_background = t.weights[..., 0] >= 0.5  # (B, L, T)
    member = voronoi(is_background, t.size)  # (B, L, T, proxies)
    means = torch.einsum("bltm,bltv->blmv", share(member, dim=2), t.support)
    empty = member.sum(2) == 0
    return means.flatten(1, 2), empty.flatten(1, 2)


def voronoi(is_inside: Tensor, size: tuple[int, int]) -> Tensor:
    """Assign each cell inside to the nearest of a few seeds, which are cells far from each other.

    Farthest-point sampling chooses the seeds; the first one is the first cell in reading order.

    Args:
        is_inside: (..., T) bool, T = h * w cells in reading order.

    Returns:
        (..., T, proxies), 1 where a cell belongs to the seed of a proxy; all 0 for cells outside.
    """
    height, width = size
    cell = torch.arange(height * width, device=is_inside.device).float()
    y, x = cell // width, cell % width  # (T,)
    seed = is_inside.int().argmax(-1)
    distances: list[Tensor] = []
    to_nearest = torch.full(is_inside.shape, torch.inf, device=is_inside.device)
    for _ in range(PROXIES):
        away_y = y[seed][..., None] - y
        away_x = x[seed][..., None] - x
        to_seed = away_y.square() + away_x.square()  # (..., T)
        distances.append(to_seed)
        to_nearest = torch.minimum(to_nearest, to_seed)
        seed = to_nearest.masked_fill(~is_inside, -1).argmax(-1)
    owner = torch.stack(distances, dim=-1).argmin(-1)
    return F.one_hot(owner, PROXIES) * is_inside[..., None].float()


def coarser(t: Tokens) -> Tokens:
    """Tokens averaged over 2x2 cells, which leaves a sixteenth of the (query, support) pairs."""
    height, width = t.size

    def pooled(values: Tensor) -> Tensor:
        """(..., h * w, V) to (..., h * w / 4, V)."""
        blocks = values.unflatten(-2, (height // 2, 2, width // 2, 2))
        return blocks.mean(-2).mean(-3).flatten(-3, -2)

    return Tokens(
        query=pooled(t.query),
        support=pooled(t.support),
        weights=pooled(t.weights),
        size=(height // 2, width // 2),
    )


def pairwise_loss(t: Tokens, rows: Tensor) -> Tensor:
    """() binary cross-entropy of 10 cos(q_i, s_j) with [the rows of i and j are equal].

    Pairs of two background tokens do not count.

    Args:
        rows: (B, I), the row of each query token, or IGNORE.
    """
    query = rows[:, :, None]
    support = support_rows(t)[:, None]
    counted = (query != IGNORE) & (support != IGNORE)
    counted = counted & ((query > 0) | (support > 0))
    cosines = t.query_hat @ t.support_hat.transpose(1, 2)  # (B, I, J)
    same = (query == support).to(cosines.dtype)
    loss = F.binary_cross_entropy_with_logits(PAIR_SCALE * cosines, same, reduction="none")
    return mean_where(loss, counted)
