"""What the published weights were trained with and the paper does not have: every quirk, in one place.

The authors' weights have learned to live with these, so `mode="exact"` keeps them; models trained here
use `mode="masked"`. The padded layout on which some quirks depend is read off the batch: C rows, and P
points and Q boxes of an example, each the largest of the batch and 0 where the batch has none.

Two further ones are no matter of mode, since they change the architecture: the first self-attention of
a two-way transformer has no residual (`ModelConfig.first_residual`), and attention values carry no
position (`Attention.read`).
"""

from dataclasses import replace

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from la.model.mask_decoder import MaskDecoder
from la.model.prompt_encoder import (
    NEGATIVE,
    NOTHING,
    PADDING,
    PromptEncoder,
    SparsePrompts,
    corner_kinds,
    point_kinds,
    with_unprompted,
)
from la.model.prototypes import Pairs, Support
from la.types import Prompts


class ExactPromptEncoder(PromptEncoder):
    """The published prompt encoder. It masks nothing: padding and absent pairs are seen by the others."""

    def sparse_prompts(self, prompts: Prompts) -> SparsePrompts:
        """Quirk: without boxes, every pair has one more *negative* point, at a corner of the image.

        SAM pads with a point that its label calls "not a point"; the same label means "negative" here.
        Quirk: "no sparse prompt" is a token only where the whole batch has neither points nor boxes.
        """
        n_points, n_boxes = prompts.points.shape[1], prompts.boxes.shape[1]
        points, boxes = prompts.points, prompts.boxes.unflatten(2, (2, 2)).flatten(1, 2)
        kinds = torch.cat([point_kinds(prompts.point_labels), self._corners(prompts)], dim=1)
        xy = torch.cat([points, boxes], dim=1)
        if n_boxes == 0:
            xy = F.pad(xy, (0, 0, 0, 1), value=-0.5)  # a pixel's centre is half a pixel further
            kinds = F.pad(kinds, (0, 1), value=NEGATIVE if n_points else NOTHING)
        return SparsePrompts(xy, kinds)

    def _corners(self, prompts: Prompts) -> Tensor:
        """Quirk: the flags of boxes are tiled, f1..fQ f1..fQ, although their corners alternate.

        So with two boxes of which one is padding, both bottom-right corners are taken for padding.
        """
        return corner_kinds(prompts.boxes_valid.repeat(1, 2))

    def unmasked(self, prompts: Prompts) -> nn.Embedding:
        """Quirk: what stands for a missing mask depends on whether the batch has any."""
        return self.not_a_mask_embed if len(prompts.masks) else self.no_mask_embed

    def padding(self, sparse: SparsePrompts) -> Tensor | None:
        """Quirk: the key mask is made and never filled, so padding is attended."""
        return None

    def context_of(
        self, x: Tensor, support: Tensor, row: Tensor, n_supports: int, n_rows: int
    ) -> Tensor:
        """Quirk: all C classes of a support image are attended, absent ones as if unprompted.

        The background's pair is unprompted too, and before the token pool all such pairs are equal.
        """
        background = x.new_zeros(n_supports, *x.shape[1:])
        background = background.index_add(0, support, x * (row == 0)[:, None, None])
        grid = background.repeat_interleave(n_rows, dim=0)
        return grid.index_copy(0, support * n_rows + row, x)

    def complete(self, prompts: Prompts, n_supports: int, n_rows: int) -> Prompts:
        """Quirk: the mixer attends absent pairs. With a token pool each differs, so all are computed."""
        if not (self.mixers and self.class_encoder):
            return super().complete(prompts, n_supports, n_rows)
        return with_unprompted(
            prompts, *_absent(prompts.example_support, prompts.example_row, n_supports, n_rows)
        )

    def present(self, prompts: Prompts, n_examples: int) -> Tensor:
        """Pairs that the batch lists, with or without prompts, and the background's."""
        row = prompts.example_row
        return (torch.arange(len(row), device=row.device) < n_examples) | (row == 0)

    def combine(self, pairs: Pairs, class_valid: Tensor) -> Support:
        """Without a token pool an absent pair's embedding is that of its image's background."""
        if self.mixers and not self.class_encoder:
            pairs = _with_absent(pairs, class_valid.shape[1])
        return super().combine(pairs, class_valid)

    def attended(self, pairs: Pairs) -> Tensor:
        """Quirk: the mixer's key mask is void."""
        return torch.ones_like(pairs.present)


class ExactMaskDecoder(MaskDecoder):
    """The published mask decoder."""

    def attended(self, class_valid: Tensor) -> Tensor | None:
        """Quirk: the key mask is void, so the zero prototype of a padded class is attended."""
        return None


def _absent(support: Tensor, row: Tensor, n_supports: int, n_rows: int) -> tuple[Tensor, Tensor]:
    """(support, row) of all pairs that are not listed."""
    absent = torch.ones(n_supports, n_rows, dtype=torch.bool, device=row.device)
    absent[support, row] = False
    support, row = absent.nonzero().unbind(1)
    return support, row


def _with_absent(pairs: Pairs, n_rows: int) -> Pairs:
    """The pairs and, after them, the absent ones as copies of the background of their support image."""
    (background,) = (pairs.row == 0).nonzero(as_tuple=True)
    support, row = _absent(pairs.support, pairs.row, len(background), n_rows)
    copied = background[pairs.support[background].argsort()][support]
    return replace(
        pairs,
        embeddings=torch.cat([pairs.embeddings, pairs.embeddings[copied]]),
        features=None
        if pairs.features is None
        else torch.cat([pairs.features, pairs.features[copied]]),
        support=torch.cat([pairs.support, support]),
        episode=torch.cat([pairs.episode, pairs.episode[copied]]),
        row=torch.cat([pairs.row, row]),
        present=torch.cat([pairs.present, torch.zeros_like(row, dtype=torch.bool)]),
    )


def official_logits(
    logits: Tensor, sizes: Tensor, canvas: tuple[int, int], image_size: int, padded: bool
) -> Tensor:
    """Logits (B, C, h, w) at the original sizes (B, 2), as the official code gives them, to compare with.

    They lie on a `canvas` (H, W) that holds all images, supports too; outside of its image a query is
    background. Each query goes through the input frame first. `padded`: the input was padded to a
    square, not squashed into one.
    """
    result = logits.new_full((*logits.shape[:2], *canvas), -torch.inf)
    result[:, 0] = 0
    square = _resize(logits, (image_size, image_size))
    for i, (height, width) in enumerate(sizes.tolist()):
        image = square[i : i + 1]
        if padded:
            scale = image_size / max(height, width)
            image = image[..., : int(height * scale + 0.5), : int(width * scale + 0.5)]
        result[i, :, :height, :width] = _resize(image, (height, width))[0]
    return result


def _resize(logits: Tensor, size: tuple[int, int]) -> Tensor:
    return F.interpolate(logits, size, mode="bilinear", align_corners=False)
