"""Quirks of the published code that its weights depend on and the paper does not have.

The authors' weights were trained with these quirks, so `mode="exact"` keeps them. Some depend on
how a batch is padded: C, P and Q are the largest numbers of rows, points and boxes in it.

Two more are architecture and hold in both modes: the first self-attention of a two-way transformer
has no residual (`first_residual`), and attention values carry no position (`MultiHead.read`).
"""

from dataclasses import replace

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from la.model.layers import MultiHead
from la.model.mask_decoder import MaskDecoder
from la.model.prompt_encoder import PromptEncoder
from la.model.prototypes import Pairs, Support
from la.model.sparse_prompts import NEGATIVE, NOTHING, kinds, places, with_unprompted
from la.types import Prompts, map_tensors


class ExactPromptEncoder(PromptEncoder):
    """The published prompt encoder. It masks nothing: padding and absent pairs are attended to."""

    def sparse_prompts(self, prompts: Prompts) -> tuple[Tensor, Tensor]:
        """Quirks of the published code.

        - Without boxes every pair has one more *negative* point in the image's corner, as the label
          with which SAM pads means "negative" here.
        - The flags of boxes are tiled, f1..fQ f1..fQ, although their corners alternate.
        - "No sparse prompt" needs a batch that has none.
        """
        kind = kinds(prompts, prompts.boxes_valid.repeat(1, 2))
        xy = places(prompts)
        if prompts.boxes.shape[1] == 0:
            has_points = kind.shape[1] > 0
            kind = F.pad(kind, (0, 1), value=NEGATIVE if has_points else NOTHING)
            xy = F.pad(xy, (0, 0, 0, 1), value=-0.5)  # (0, 0) when half a pixel is added to all
        return xy, kind

    def kind_embeddings(self, prompts: Prompts) -> list[Tensor]:
        """Embeddings of kinds that the batch lacks are detached.

        The published code does not use them, so they have no gradient and AdamW skips them; with a
        gradient of zero it would decay them and continue their momentum.
        """
        points = prompts.points.shape[1] > 0
        boxes = prompts.boxes.shape[1] > 0
        any_sparse = points or boxes
        is_used = [points, points, boxes, boxes, any_sparse, not any_sparse]
        weights = []
        for weight, used in zip(super().kind_embeddings(prompts), is_used, strict=True):
            weights.append(weight if used else weight.detach())
        return weights

    def valid(self, kind: Tensor) -> Tensor | None:
        """Quirk: the key mask is made and never filled, so padding is attended to."""
        return None

    def on_grid(
        self,
        x: Tensor,
        support: Tensor,
        row: Tensor,
        n_supports: int,
        n_rows: int,
    ) -> Tensor:
        """Quirk: absent classes are attended to; their tokens are those of the background pair."""
        is_background = (row == 0)[:, None, None]
        background = x.new_zeros(n_supports, *x.shape[1:])
        background = background.index_add(0, support, x * is_background)
        everywhere = background.repeat_interleave(n_rows, dim=0)
        filled = everywhere.index_copy(0, support * n_rows + row, x)
        return filled.unflatten(0, (n_supports, n_rows))

    def unmasked(self, prompts: Prompts) -> nn.Embedding:
        """Quirk: what replaces a missing mask depends on whether the batch has any."""
        return self.not_a_mask_embed if len(prompts.masks) else self.no_mask_embed

    def complete(
        self,
        prompts: Prompts,
        n_supports: int,
        n_rows: int,
    ) -> Prompts:
        """Quirk: the mixer attends to absent pairs; with a token pool these must be computed."""
        if not (self.config.mixers and self.class_encoder):
            return super().complete(prompts, n_supports, n_rows)
        support, row = _unlisted(
            prompts.example_support,
            prompts.example_row,
            n_supports,
            n_rows,
        )
        return with_unprompted(prompts, support, row)

    def combine(self, pairs: Pairs, class_valid: Tensor) -> Support:
        """As above; without a token pool an absent pair is equal to its image's background pair."""
        if self.config.mixers and not self.class_encoder:
            pairs = _with_absent(pairs, n_rows=class_valid.shape[1])
        embeddings = _with_zero_gradients(pairs.embeddings, self)
        return super().combine(replace(pairs, embeddings=embeddings), class_valid)

    def present(self, prompts: Prompts, n_examples: int) -> Tensor:
        """The examples of the batch, whether prompted or not, and the background's pairs."""
        row = prompts.example_row
        is_example = torch.arange(len(row), device=row.device) < n_examples
        return is_example | (row == 0)

    def attended(self, pairs: Pairs) -> Tensor:
        """Quirk: the mixer's key mask is void."""
        return torch.ones_like(pairs.present)


class ExactMaskDecoder(MaskDecoder):
    """The published mask decoder."""

    def forward(
        self,
        image: Tensor,
        position: Tensor,
        prototypes: Tensor,
        class_valid: Tensor,
    ) -> Tensor:
        """As `MaskDecoder.forward`; every parameter has a gradient."""
        logits = super().forward(image, position, prototypes, class_valid)
        return _with_zero_gradients(logits, self)

    def attended(self, class_valid: Tensor) -> Tensor | None:
        """Quirk: the key mask is void, so the zero prototype of a padded class is attended to."""
        return None


def _unlisted(
    support: Tensor,
    row: Tensor,
    n_supports: int,
    n_rows: int,
) -> tuple[Tensor, Tensor]:
    """(support, row) of all pairs but these, which are distinct; in ascending order."""
    n_pairs = n_supports * n_rows
    listed = torch.zeros(n_pairs, dtype=torch.uint8, device=row.device)
    # index_fill takes the number as it is; `listed[...] = 1` copies it to a GPU and waits.
    listed.index_fill_(0, support * n_rows + row, 1)
    n_absent = n_pairs - len(row)
    # Not nonzero: it waits for the GPU to learn how many there are.
    absent = listed.argsort(stable=True)[:n_absent]
    return absent // n_rows, absent % n_rows


def _with_absent(pairs: Pairs, n_rows: int) -> Pairs:
    """The pairs and, for each absent one, a copy of its image's background pair."""
    (background,) = (pairs.row == 0).nonzero(as_tuple=True)
    by_support = pairs.support[background].argsort()
    background = background[by_support]  # (S,)
    support, row = _unlisted(pairs.support, pairs.row, len(background), n_rows)
    copied = background[support]
    copies = map_tensors(pairs, lambda x: x[copied])
    absent = torch.zeros_like(row, dtype=torch.bool)
    return pairs.joined(replace(copies, row=row, present=absent))


def _with_zero_gradients(x: Tensor, module: nn.Module) -> Tensor:
    """`x` itself; queries and keys of attention in `module` get a gradient of zero from it.

    The softmax cancels a key's bias, and over a single token the queries and keys too;
    `MultiHead` skips both. The published code computes them, so AdamW decays them.
    The prompt encoder's final attention is never computed and stays without gradient.
    """
    if not torch.is_grad_enabled():
        return x
    for name, part in module.named_modules():
        is_unused = isinstance(module, PromptEncoder) and "final_attn" in name
        if isinstance(part, MultiHead) and not is_unused:
            for projection in (part.q_proj, part.k_proj):
                x = x + 0 * (projection.weight.sum() + projection.bias.sum())
    return x
