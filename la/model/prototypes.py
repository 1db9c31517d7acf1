"""Class-example embeddings and the prototypes that are their means (paper 3.2, Eq. 3-4)."""

from dataclasses import dataclass

import torch
from torch import Tensor

from la.config import Mixer


@dataclass(frozen=True)
class Pairs:
    """Encoded (support image, row) pairs of a batch, before they are mixed and averaged.

    E here counts every pair that was computed: the examples, and the unprompted background ones.
    """

    embeddings: Tensor  # (E, D), the paper's E_ni
    support: Tensor  # (E,) int64 in [0, S)
    episode: Tensor  # (E,) int64 in [0, B)
    row: Tensor  # (E,) int64 in [0, C)
    present: Tensor  # (E,) bool, False where nothing was prompted: counts in no mean

    def joined(self, other: "Pairs") -> "Pairs":
        """These pairs and then the others, as they are."""
        both = zip(vars(self).values(), vars(other).values(), strict=True)
        return Pairs(*(torch.cat([a, b]) for a, b in both))


@dataclass(frozen=True)
class Support:
    """All that a query needs to know of the support set; a value to save, extend and reuse."""

    prototypes: Tensor  # (B, C, D), the paper's E_n
    class_valid: Tensor  # (B, C) bool
    pairs: Pairs  # what the prototypes were made of


def mixed(mixer: Mixer, pairs: Pairs) -> Tensor:
    """(E, E) bool: pairs of one support image, of one class (Eq. 4), or of one episode."""
    same = {"class": [pairs.support], "example": [pairs.episode, pairs.row]}
    indices = same.get(mixer, [pairs.episode])
    return torch.stack([index[:, None] == index for index in indices]).all(0)


def class_means(values: Tensor, pairs: Pairs, n_episodes: int, n_rows: int) -> Tensor:
    """Mean of (E, X) over the present pairs of each class -> (B, C, X); 0 where there is none."""
    slot = pairs.episode * n_rows + pairs.row
    present = pairs.present.to(values.dtype)
    total = values.new_zeros(n_episodes * n_rows, values.shape[1])
    total = total.index_add(0, slot, values * present[:, None])
    count = values.new_zeros(n_episodes * n_rows).index_add(0, slot, present)
    return (total / count.clamp(min=1)[:, None]).view(n_episodes, n_rows, -1)
