"""What the published weights were trained with and the paper does not have: the quirks, together.

The authors' weights have learned to live with these, so `mode="exact"` keeps them. The padding that
some depend on is read off the batch: C rows, P points and Q boxes, each the most of the batch.

Two more are architecture and hold in both modes: the first self-attention of a two-way transformer
has no residual (`first_residual`), and attention values carry no position (`Attention.read`).
"""

from dataclasses import replace

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from la.model.layers import Attention
from la.model.mask_decoder import MaskDecoder
from la.model.prompt_encoder import (
    NEGATIVE,
    NOTHING,
    PromptEncoder,
    kinds,
    places,
    with_unprompted,
)
from la.model.prototypes import Pairs, Support
from la.types import Prompts, map_tensors


class ExactPromptEncoder(PromptEncoder):
    """The published prompt encoder. It masks nothing: padding and absent pairs are seen."""

    def sparse_prompts(self, prompts: Prompts) -> tuple[Tensor, Tensor]:
        """Quirks: without boxes every pair has one more *negative* point in the image's corner, as
        the label with which SAM pads means "negative" here; the flags of boxes are tiled, f1..fQ
        f1..fQ, although their corners alternate; "no sparse prompt" needs a batch that has none.
        """
        kind, xy = kinds(prompts, prompts.boxes_valid.repeat(1, 2)), places(prompts)
        if prompts.boxes.shape[1] == 0:
            kind = F.pad(kind, (0, 1), value=NEGATIVE if kind.shape[1] else NOTHING)
            xy = F.pad(xy, (0, 0, 0, 1), value=-0.5)  # (0, 0) when half a pixel is added to all
        return xy, kind

    def kind_embeddings(self, prompts: Prompts) -> list[Tensor]:
        """Embeddings of kinds that the batch lacks are detached.

        The published code does not touch them, so they have no gradient and AdamW leaves
        them alone; a gradient of zero would decay them and continue their momentum.
        """
        points = prompts.points.shape[1] > 0
        boxes = prompts.boxes.shape[1] > 0
        used = [points, points, boxes, boxes, points or boxes, not (points or boxes)]
        pairs = zip(super().kind_embeddings(prompts), used, strict=True)
        return [weight if is_used else weight.detach() for weight, is_used in pairs]

    def valid(self, kind: Tensor) -> Tensor | None:
        """Quirk: the key mask is made and never filled, so padding is attended."""
        return None

    def on_grid(self, x: Tensor, support: Tensor, row: Tensor, grid: tuple[int, int]) -> Tensor:
        """Quirk: absent classes are attended too; their tokens are those of the background pair."""
        background = x.new_zeros(grid[0], *x.shape[1:])
        background = background.index_add(0, support, x * (row == 0)[:, None, None])
        everywhere = background.repeat_interleave(grid[1], dim=0)
        return everywhere.index_copy(0, support * grid[1] + row, x).unflatten(0, grid)

    def unmasked(self, prompts: Prompts) -> nn.Embedding:
        """Quirk: what stands for a missing mask depends on whether the batch has any."""
        return self.not_a_mask_embed if len(prompts.masks) else self.no_mask_embed

    def complete(self, prompts: Prompts, n_supports: int, n_rows: int) -> Prompts:
        """Quirk: the mixer attends absent pairs; with a token pool they differ and are computed."""
        if not (self.config.mixers and self.class_encoder):
            return super().complete(prompts, n_supports, n_rows)
        listed = (prompts.example_support, prompts.example_row)
        return with_unprompted(prompts, *_unlisted(*listed, n_supports, n_rows))

    def combine(self, pairs: Pairs, class_valid: Tensor) -> Support:
        """As above; without a token pool an absent pair is equal to its image's background pair."""
        if self.config.mixers and not self.class_encoder:
            (background,) = (pairs.row == 0).nonzero(as_tuple=True)
            background = background[pairs.support[background].argsort()]  # (S,)
            absent = _unlisted(pairs.support, pairs.row, len(background), class_valid.shape[1])
            copies = map_tensors(pairs, lambda x: x[background[absent[0]]])
            nowhere = torch.zeros_like(absent[1], dtype=torch.bool)
            pairs = pairs.joined(replace(copies, row=absent[1], present=nowhere))
        pairs = replace(pairs, embeddings=_with_zero_gradients(pairs.embeddings, self))
        return super().combine(pairs, class_valid)

    def present(self, prompts: Prompts, n_examples: int) -> Tensor:
        """The examples of the batch, whether prompted or not, and the background's pairs."""
        row = prompts.example_row
        return (torch.arange(len(row), device=row.device) < n_examples) | (row == 0)

    def attended(self, pairs: Pairs) -> Tensor:
        """Quirk: the mixer's key mask is void."""
        return torch.ones_like(pairs.present)


class ExactMaskDecoder(MaskDecoder):
    """The published mask decoder."""

    def forward(
        self, image: Tensor, position: Tensor, prototypes: Tensor, class_valid: Tensor
    ) -> Tensor:
        """As `MaskDecoder.forward`; every parameter has a gradient."""
        logits = super().forward(image, position, prototypes, class_valid)
        return _with_zero_gradients(logits, self)

    def attended(self, class_valid: Tensor) -> Tensor | None:
        """Quirk: the key mask is void, so the zero prototype of a padded class is attended."""
        return None


def _unlisted(support: Tensor, row: Tensor, n_supports: int, n_rows: int) -> tuple[Tensor, Tensor]:
    """(support, row) of all pairs but these, which are distinct; in ascending order."""
    listed = torch.zeros(n_supports * n_rows, dtype=torch.uint8, device=row.device)
    listed[support * n_rows + row] = 1
    n_absent = len(listed) - len(row)
    # Not nonzero: it waits for the GPU to learn how many there are.
    absent = listed.argsort(stable=True)[:n_absent]
    return absent // n_rows, absent % n_rows


def _with_zero_gradients(x: Tensor, module: nn.Module) -> Tensor:
    """`x` itself; queries and keys of attention in `module` get a gradient of zero from it.

    The softmax cancels a key's bias, and over a single token the queries and keys too;
    `Attention` skips both. The published code computes them, so AdamW decays them.
    The prompt encoder's final attention is never computed and stays without gradient.
    """
    if not torch.is_grad_enabled():
        return x
    for name, part in module.named_modules():
        unused = isinstance(module, PromptEncoder) and "final_attn" in name
        if isinstance(part, Attention) and not unused:
            for projection in (part.q_proj, part.k_proj):
                x = x + 0 * (projection.weight.sum() + projection.bias.sum())
    return x
