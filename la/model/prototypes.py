"""From class-example embeddings to prototypes (paper 3.2, Eq. 3-4): token pool, mixer, mean."""

from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from la.config import Mixer


@dataclass(frozen=True)
class Pairs:
    """Encoded (support image, row) pairs of a batch, before they are mixed and averaged.

    E here counts every pair that was computed: the examples, and the unprompted background ones.
    """

    embeddings: Tensor  # (E, D), the paper's E_ni
    features: (
        Tensor | None
    )  # (E, V) backbone features averaged under the prompts; only for `residual`
    support: Tensor  # (E,) int64 in [0, S)
    episode: Tensor  # (E,) int64 in [0, B)
    row: Tensor  # (E,) int64 in [0, C)
    present: Tensor  # (E,) bool, False where nothing was prompted: counts in no mean

    def joined(self, other: "Pairs") -> "Pairs":
        """Both sets of pairs, those of `other` on further support images of the same episodes."""
        support = other.support + self.support.max() + 1
        both = {
            name: None if a is None else torch.cat([a, getattr(other, name)])
            for name, a in vars(self).items()
        }
        return replace(self, **(both | {"support": torch.cat([self.support, support])}))


@dataclass(frozen=True)
class Support:
    """All that a query needs to know of the support set; a value to save, extend and reuse."""

    prototypes: Tensor  # (B, C, D), the paper's E_n
    features: Tensor | None  # (B, C, V) prototypes in backbone features; only for `residual`
    class_valid: Tensor  # (B, C) bool
    pairs: Pairs  # what the prototypes were made of


class TokenPool(nn.Module):
    """R learned vectors; each class of an episode draws one, which tells it from the others."""

    def __init__(self, n_rows: int, dim: int) -> None:
        super().__init__()
        self.pos_embedding = nn.Parameter(torch.empty(1, 1, n_rows, dim))

    def forward(self, rows: Tensor) -> Tensor:
        """Rows of the pool (...,) -> (..., D)."""
        return self.pos_embedding[0, 0][rows]


def mixing_mask(mixer: Mixer, pairs: Pairs) -> Tensor:
    """(E, E) bool: which pairs a mixer brings together.

    `example` (Eq. 4) the examples of one class, `class` the classes of one support image,
    `class_example` all of an episode.
    """
    same = {
        "example": (pairs.episode, pairs.row),
        "class": (pairs.support,),
        "class_example": (pairs.episode,),
    }[mixer]
    return torch.stack([index[:, None] == index for index in same]).all(0)


def class_means(values: Tensor, pairs: Pairs, n_episodes: int, n_rows: int) -> Tensor:
    """Mean of (E, X) over the present pairs of each class -> (B, C, X); 0 where there is none."""
    slot = pairs.episode * n_rows + pairs.row
    present = pairs.present.to(values.dtype)
    total = values.new_zeros(n_episodes * n_rows, values.shape[1])
    total = total.index_add(0, slot, values * present[:, None])
    count = values.new_zeros(n_episodes * n_rows).index_add(0, slot, present)
    return (total / count.clamp(min=1)[:, None]).view(n_episodes, n_rows, -1)
