"""References: scores of methods that ignore the images, or that are given the truth."""

from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from la.comparators.tokens import OnTokens, Tokens, mask_absent_rows, share
from la.data.sampling.geometry import Frame
from la.types import IGNORE, Batch


@dataclass(frozen=True)
class Floor:
    """All background: the score that any method must exceed."""

    def __call__(self, batch: Batch) -> Tensor:
        """Scores (B, C, 1, 1)."""
        scores = torch.zeros_like(batch.class_valid, dtype=torch.float32)
        scores[:, 0] = 1
        return mask_absent_rows(scores[..., None, None], batch)


@dataclass(frozen=True)
class ClassPrior(OnTokens):
    """How often each row covers a place in the supports; the query is never read."""

    def score(self, t: Tokens) -> Tensor:
        """Scores (B, I, C): shares that sum to 1 over the rows."""
        return share(t.weights.sum(1), dim=2)


@dataclass(frozen=True)
class TokenGrid:
    """The token grid reference: the truth averaged over each token and upsampled.

    It is not an upper bound: averaging favours the larger of two neighbours, so a bias on
    background can raise its score.
    """

    image_size: int  # side of the input
    resize: Literal["pad", "squash"]

    def __call__(self, batch: Batch) -> Tensor:
        """Scores (B, C, h, w): the share of each row in each token."""
        truth = self._in_input_frame(batch)  # (B, image_size, image_size)
        counted = truth != IGNORE
        rows = F.one_hot(truth.clamp(min=0), batch.n_rows)
        rows = rows * counted[..., None]
        rows = rows.permute(0, 3, 1, 2).float()
        height, width = batch.source.query.shape[-2:]
        coverage = F.adaptive_avg_pool2d(rows, (height, width))
        # A token that contains only padding is background.
        coverage[:, 0] += coverage.sum(1) == 0
        return mask_absent_rows(share(coverage, dim=1), batch)

    def _in_input_frame(self, batch: Batch) -> Tensor:
        """The targets (B, H, W) of original pixels, sampled in the input frame."""
        sampled = []
        sizes = batch.query_size.tolist()
        for target, (height, width) in zip(batch.target, sizes, strict=True):
            frame = Frame((height, width), self.image_size, self.resize)
            truth = target[:height, :width].cpu().numpy()
            truth = frame.sample(truth, self.image_size, IGNORE)
            sampled.append(torch.from_numpy(truth))
        return torch.stack(sampled).to(batch.target.device)
