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
    present: Tensor  # (E,) bool; False where nothing was prompted: the pair is in no mean

    def joined(self, other: "Pairs") -> "Pairs":
        """These pairs followed by the others."""
        return Pairs(
            embeddings=torch.cat([self.embeddings, other.embeddings]),
            support=torch.cat([self.support, other.support]),
            episode=torch.cat([self.episode, other.episode]),
            row=torch.cat([self.row, other.row]),
            present=torch.cat([self.present, other.present]),
        )


@dataclass(frozen=True)
class Support:
    """All that a query needs to know of the support set; a value to save, extend and reuse."""

    prototypes: Tensor  # (B, C, D), the paper's E_n
    class_valid: Tensor  # (B, C) bool
    pairs: Pairs  # what the prototypes were made of


def mixed(mixer: Mixer, pairs: Pairs) -> Tensor:
    """(E, E) bool, which pairs are mixed: those of one image, one class (Eq. 4) or one episode."""
    if mixer == "class":
        return pairs.support[:, None] == pairs.support
    same_episode = pairs.episode[:, None] == pairs.episode
    if mixer == "class_example":
        return same_episode
    same_row = pairs.row[:, None] == pairs.row
    return same_episode & same_row


def class_means(
    values: Tensor,
    pairs: Pairs,
    n_episodes: int,
    n_rows: int,
) -> Tensor:
    """Mean of (E, X) over the present pairs of each class -> (B, C, X); 0 where there is none."""
    n_classes = n_episodes * n_rows
    class_of_pair = pairs.episode * n_rows + pairs.row
    present = pairs.present.to(values.dtype)
    total = values.new_zeros(n_classes, values.shape[1])
    total = total.index_add(0, class_of_pair, values * present[:, None])
    count = values.new_zeros(n_classes).index_add(0, class_of_pair, present)
    means = total / count.clamp(min=1)[:, None]
    return means.view(n_episodes, n_rows, -1)
