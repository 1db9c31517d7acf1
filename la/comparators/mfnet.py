"""An MFNet-style fusion network: class vectors and query features of two scales, fused.

Zhang, Shi, et al.: "MFNet: Multi-class Few-shot Segmentation Network with Pixel-wise Metric
Learning". Of the method only this much is public: pooled class vectors and multi-scale
query features are fused into one embedding from which all classes are decoded together,
attention modulates the support and combines the scales, and a triplet loss shapes the
embeddings of pixels. Everything else here is our choice.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from la.comparators.learned import Learned, mean_where, support_rows
from la.comparators.tokens import Tokens, mask_absent_rows, tokens
from la.config import ModelConfig
from la.types import IGNORE, Batch

REDUCTION = 4  # of the channel attention
MARGIN = 0.3  # of cosines in the triplet loss
TRIPLET_WEIGHT = 0.1


class Scale(nn.Module):
    """Features of one scale fused with every class vector."""

    def __init__(self, width: int, dim: int, cells: int) -> None:
        super().__init__()
        self.embed = nn.Sequential(nn.AvgPool2d(cells), nn.Conv2d(width, dim, 1))  # P_k
        self.attention = nn.Sequential(
            nn.Linear(dim, dim // REDUCTION),  # W_a
            nn.ReLU(),
            nn.Linear(dim // REDUCTION, dim),  # W_b
            nn.Sigmoid(),
        )
        self.fuse = nn.Conv2d(2 * dim + 1, dim, 1)

    def forward(self, t: Tokens) -> Tensor:
        """Z_ck (B * C, D, h, w) = ReLU(1x1 [x_k; p~_ck; cos(x_k, p_ck)])."""
        prototypes = t.prototypes  # (B, C, D)
        modulated = prototypes * self.attention(prototypes)  # p~
        cosines = t.query_hat @ F.normalize(prototypes, dim=-1).transpose(1, 2)
        n_rows, n_tokens = prototypes.shape[1], t.query.shape[1]
        query = t.query[:, None].expand(-1, n_rows, -1, -1)  # (B, C, I, D)
        rows = modulated[:, :, None].expand(-1, -1, n_tokens, -1)
        similarity = cosines.transpose(1, 2)[..., None]
        joined = torch.cat([query, rows, similarity], dim=-1)
        maps = joined.flatten(0, 1).transpose(1, 2).unflatten(2, t.size)
        return self.fuse(maps).relu()


class MFNet(Learned):
    """Decodes all rows together, with one decoder that the rows share."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__(config)
        width, dim = config.backbone_dim, config.embed_dim
        self.fine = Scale(width, dim, cells=1)
        self.coarse = Scale(width, dim, cells=2)
        self.weigh = nn.Conv2d(dim, 1, 1)
        self.decoder = nn.Sequential(
            nn.Conv2d(dim, dim, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(dim, dim, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(dim, 1, 1),
        )

    def forward(self, batch: Batch) -> Tensor:
        """Logits (B, C, h, w)."""
        t = tokens(batch, self.raster, self.fine.embed)
        fine = self.fine(t)  # (B * C, D, h, w)
        coarse = self.coarse(tokens(batch, self.raster, self.coarse.embed))
        coarse = F.interpolate(coarse, t.size, mode="bilinear")
        if self.training:
            self.extra_loss = TRIPLET_WEIGHT * triplet_loss(t)
        logits = self.decode(torch.stack([fine, coarse]))  # (B * C, 1, h, w)
        logits = logits[:, 0].unflatten(0, (-1, batch.n_rows))
        return mask_absent_rows(logits, batch)

    def decode(self, fused: Tensor) -> Tensor:
        """Logits (rows, 1, h, w) of the scales (n, rows, D, h, w).

        Z_c = sum_k w_k Z_ck, where w_k is a softmax over the scales in each cell.
        """
        weights = torch.stack([self.weigh(maps) for maps in fused]).softmax(0)
        return self.decoder((weights * fused).sum(0))


def triplet_loss(t: Tokens) -> Tensor:
    """() relu(margin + hardest negative - mean positive) over the support tokens.

    An anchor is a token that one row covers. Its positives are the tokens of the same row
    in the episode and its negatives those of other rows. The loss uses the mean over the
    positives where the usual triplet loss draws one of them.
    """
    rows = support_rows(t)  # (B, J)
    cosines = t.support_hat @ t.support_hat.transpose(1, 2)  # (B, J, J)
    counted = rows != IGNORE
    comparable = counted[:, :, None] & counted[:, None]
    same = rows[:, :, None] == rows[:, None]
    positive = same & comparable
    negative = ~same & comparable
    n_positive = positive.sum(-1).clamp(min=1)
    mean_positive = (cosines * positive).sum(-1) / n_positive
    hardest = cosines.masked_fill(~negative, -1.0).amax(-1)
    loss = (MARGIN + hardest - mean_positive).relu()
    return mean_where(loss, counted & negative.any(-1))
