"""What the D channels of an image embedding mean at the agreeing start.

They are divided into three groups (see `la.model.start.agreeing`):

- *place*: channels whose positional encoding has bumps about as wide as an object;
- *content*: D / `attention_downsample` of the others, which attention copies from an image to
  a prototype, and which Eq. 5 compares;
- the rest holds two orthogonal unit vectors: the *flag* u says "this cell is prompted", the
  *backdrop* w says "this is the prototype of the background".
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from la.config import ModelConfig
from la.model.position import FourierPosition

OBJECT_FREQUENCY = 1.0  # of a positional encoding whose bump is a fifth of the image wide
MAX_CELLS = 100_000  # of the features, from which the covariance is computed


@dataclass(frozen=True)
class Channels:
    """What the D channels mean at the start."""

    frequencies: Tensor  # (n_heads, n_pairs): frequency f has its sine in channel f
    content: Tensor  # (D / attention_downsample,) int64, as many as attention copies
    flag: Tensor  # (D,) the unit vector u
    backdrop: Tensor  # (D,) the unit vector w

    @classmethod
    def of(
        cls,
        config: ModelConfig,
        position: FourierPosition,
        generator: torch.Generator,
    ) -> "Channels":
        """Divide the channels of a model with this positional encoding."""
        dim = config.embed_dim
        n_content = dim // config.attention_downsample
        n_pairs = (n_content // config.n_heads - 2) // 2  # of sine and cosine, for each head
        matrix = position.positional_encoding_gaussian_matrix  # (2, D / 2)
        distance = (matrix.norm(dim=0) - OBJECT_FREQUENCY).abs()
        frequencies = distance.argsort()[: config.n_heads * n_pairs]
        is_free = torch.ones(dim, dtype=torch.bool)
        is_free[frequencies] = False
        is_free[frequencies + dim // 2] = False
        free = is_free.nonzero()[:, 0]
        content, others = free[:n_content], free[n_content:]
        # Their means are zero, since a layer norm removes the mean of a vector.
        vectors = torch.randn(len(others), 2, generator=generator)
        vectors = torch.linalg.qr(vectors - vectors.mean(0)).Q
        flag, backdrop = torch.zeros(2, dim).index_copy(1, others, vectors.T)
        by_head = frequencies.view(n_pairs, -1).T
        return cls(by_head, content, flag, backdrop)


def main_directions(features: Tensor) -> Tensor:
    """Principal directions of the cells of (n, V, h, w) as rows (V, V), largest variance first."""
    cells = features.movedim(1, 0).flatten(1)  # (V, n*h*w)
    step = math.ceil(cells.shape[1] / MAX_CELLS)
    covariance = torch.cov(cells[:, ::step].float())
    _, columns = torch.linalg.eigh(covariance)
    return columns.flip(1).T
