"""DCAMA, in this harness: support masks propagated to the query by trained attention.

Shi, Wei, Zhang, Lu, Ning, Chen, Ma, Zheng: "Dense Cross-Query-and-Support Attention
Weighted Mask Aggregation for Few-Shot Segmentation", 2022. Every query cell attends to
every support cell and mixes the support *mask*, not features; a small decoder refines the
coarse masks. One feature map replaces 22 levels of a Swin transformer, and the masks of
the attention heads replace the masks of those levels.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from la.comparators.learned import Learned
from la.comparators.one_class import OneClassAtATime
from la.comparators.tokens import Tokens, mask_absent_rows, tokens
from la.config import ModelConfig
from la.types import Batch, Segmenter

HEADS = 4
WIDTHS = (16, 32, 64)  # of the decoder's convolutions
SKIP = 32  # channels of the query that join the masks


class DCAMA(Learned):
    """All classes in one pass; the tokens of row c are those of the images that carry c."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__(config)
        width, dim = config.backbone_dim, config.embed_dim
        self.to_query = nn.Linear(width, dim)  # W_q
        self.to_key = nn.Linear(width, dim)  # W_k
        # With equal projections a cell attends to similar cells from the first step.
        nn.init.orthogonal_(self.to_query.weight)
        self.to_key.load_state_dict(self.to_query.state_dict())
        blocks: list[nn.Module] = []
        before = HEADS
        for after in WIDTHS:
            blocks.append(nn.Conv2d(before, after, 3, padding=1))
            blocks.append(nn.GroupNorm(4, after))
            blocks.append(nn.ReLU())
            before = after
        self.encode = nn.Sequential(*blocks)
        self.skip = nn.Conv2d(width, SKIP, 1)
        self.decode = nn.Sequential(
            nn.Conv2d(before + SKIP, 64, 3, padding=1),
            nn.ReLU(),
            nn.Upsample(scale_factor=2, mode="bilinear"),
            nn.Conv2d(64, 16, 3, padding=1),
            nn.ReLU(),
            nn.Upsample(scale_factor=2, mode="bilinear"),
            nn.Conv2d(16, 1, 3, padding=1),
        )

    def forward(self, batch: Batch) -> Tensor:
        """Logits (B, C, 4 h, 4 w)."""
        t = tokens(batch, self.raster)
        masks = self.coarse_masks(t)  # (B, C, heads, I)
        n_rows = masks.shape[1]
        encoded = self.encode(masks.flatten(0, 1).unflatten(2, t.size))
        skip = self.skip(t.query.transpose(1, 2).unflatten(2, t.size))
        skip = skip.repeat_interleave(n_rows, dim=0)
        logits = self.decode(torch.cat([encoded, skip], dim=1))
        by_row = logits[:, 0].unflatten(0, (-1, n_rows))
        return mask_absent_rows(by_row, batch)

    def coarse_masks(self, t: Tokens) -> Tensor:
        """M (B, C, heads, I): the mean coverage of what each query token attends to.

        M^h_ic = sum_j A^h_ij V_jc, where A^h is a softmax over the tokens j of the images
        that carry class c; of all images for background.
        """
        _, n_tokens, width = t.query.shape
        position = sinusoids(n_tokens, width).to(t.query)
        query = _heads(self.to_query(t.query + position))
        key = _heads(self.to_key(t.support + position).flatten(1, 2))
        carries = t.has_example.clone()  # (B, L, C)
        carries[..., 0] = t.has_example.any(-1)
        carries = carries[:, :, None].expand_as(t.weights)
        # One softmax over all tokens gives both sums of the quotient
        # sum_j e_ij V_jc / sum_j e_ij [the image of j carries c].
        values = torch.cat([t.weights, carries.to(t.weights)], dim=-1)
        values = values.flatten(1, 2)  # (B, J, 2 C)
        values = values[:, None].expand(-1, HEADS, -1, -1)
        mixed = F.scaled_dot_product_attention(query, key, values.to(query))
        covered, attended = mixed.chunk(2, dim=-1)  # (B, heads, I, C)
        masks = covered / attended.clamp(min=1e-12)
        return masks.permute(0, 3, 1, 2)


def one_class_at_a_time(segmenter: Segmenter) -> Segmenter:
    """The rule by which the paper's Table 3 scores DCAMA on several classes."""
    return OneClassAtATime(segmenter)


def mispaired(segmenter: Segmenter) -> Segmenter:
    """The same rule with the fault of the authors' code."""
    return OneClassAtATime(segmenter, mispaired=True)


def _heads(tokens: Tensor) -> Tensor:
    """(B, n, D) to (B, heads, n, D / heads)."""
    return tokens.unflatten(2, (HEADS, -1)).transpose(1, 2)


def sinusoids(length: int, width: int) -> Tensor:
    """(length, width): the sine and cosine of each position at width / 2 frequencies."""
    position = torch.arange(length)[:, None]
    exponent = torch.arange(0, width, 2) / width
    angle = position * torch.exp(-math.log(10_000) * exponent)
    pairs = torch.stack([angle.sin(), angle.cos()], dim=-1)
    return pairs.flatten(1)
