"""PPNet with unlabelled images, in this harness: part vectors refined by graph attention.

Liu, Zhang, Zhang, He, 2020, see `ppnet`. The original takes six further images of the
episode's class; here the query and the supports, without their masks, are the unlabelled
images, and cells are the regions. The method is therefore transductive.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from la.comparators.ppnet import PPNet
from la.comparators.tokens import Tokens
from la.config import ModelConfig

REGIONS = 30  # of each image, nearest to the class
LEAST_COSINE = 0.5  # of a region to the class
IMAGES_AT_ONCE = 2
UPDATE = 0.2  # share of a part that one chunk of images replaces


class PPNetU(PPNet):
    """PPNet whose parts attend to regions of unlabelled images."""

    def __init__(
        self,
        config: ModelConfig,
        *,
        parts: int = 5,
        update: float = UPDATE,
    ) -> None:
        super().__init__(config, parts=parts)
        self.rounds = 20
        self.global_weight = 0.8
        self.update = update
        dim = config.embed_dim
        self.relate = nn.Linear(dim, dim // 2, bias=False)  # W_1
        self.transform = nn.Linear(dim, dim, bias=False)  # W_t
        self.ask = nn.Linear(dim, dim // 2, bias=False)  # W_a
        self.answer = nn.Linear(dim, dim // 2, bias=False)  # W_b

    def score(self, t: Tokens) -> Tensor:
        """Logits (B, I, C) of the query tokens."""
        parts, empty = self.part_vectors(t)
        images = torch.cat([t.query[:, None], t.support], dim=1)  # (B, 1 + L, T, D)
        for chunk in images.split(IMAGES_AT_ONCE, dim=1):
            refined = self.message(parts, chunk, t.prototypes)
            parts = (1 - self.update) * parts + self.update * refined
        return self.nearest_part(t, parts, empty)

    def message(
        self,
        parts: Tensor,
        images: Tensor,
        prototypes: Tensor,
    ) -> Tensor:
        """The message from the unlabelled images to each part: Q (B, C, parts, D).

        Args:
            parts: (B, C, parts, D).
            images: (B, n, T, D); images that pad an episode are 0, and no region of them is kept.
            prototypes: (B, C, D), which choose the regions of each row.
        """
        regions, kept = nearest_regions(images, prototypes)
        # f' = f + ReLU(W_t softmax(W_1 f (W_1 f)^T / sqrt(d)) f), within an image
        related = self.relate(regions)
        mixed = _attend(related, related, regions, kept)
        regions = regions + self.transform(mixed).relu()
        # Q_c = softmax(W_a P_c (W_b f')^T / sqrt(d)) f', over the images of the chunk
        regions = regions.flatten(2, 3)  # (B, C, n * R, D)
        kept = kept.flatten(2, 3)
        return _attend(self.ask(parts), self.answer(regions), regions, kept)


def nearest_regions(images: Tensor, prototypes: Tensor) -> tuple[Tensor, Tensor]:
    """The regions of each image that look most like each class.

    Returns:
        (B, C, n, R, D) regions of images (B, n, T, D), and (B, C, n, R) bool: whether
        their cosine to the class is large enough.
    """
    directions = F.normalize(prototypes, dim=-1)
    cosines = torch.einsum("bntd,bcd->bcnt", F.normalize(images, dim=-1), directions)
    n_regions = min(REGIONS, images.shape[2])
    closest, index = cosines.topk(n_regions, dim=-1)  # (B, C, n, R)
    n_rows, width = prototypes.shape[1:]
    per_row = images[:, None].expand(-1, n_rows, -1, -1, -1)
    index = index[..., None].expand(-1, -1, -1, -1, width)
    return per_row.gather(3, index), closest > LEAST_COSINE


def _attend(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    kept: Tensor,
) -> Tensor:
    """Attention over the kept keys; 0 where none is kept."""
    width = query.shape[-1]
    logits = query @ key.transpose(-1, -2) / math.sqrt(width)
    # Not -inf, of which a softmax without any kept key would make NaN.
    kept = kept[..., None, :]
    logits = logits.masked_fill(~kept, -1e4)
    weights = logits.softmax(-1) * kept
    return weights @ value
