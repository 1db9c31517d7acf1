"""A training loss that draws the attention of prompt tokens to the object they mark.

The paper has no such loss. The corners of a box lie outside the object, so at the start a
box token has no reason to attend to the inside. Training images have the mask of each
prompted object, and this loss uses it. The forward pass is the same without it.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from la.model.layers import TokenToImageAttention
from la.model.prompt_encoder import PromptEncoder

SMALLEST_SHARE = 1e-6  # keeps the logarithm finite where a token ignores its object


@dataclass(frozen=True)
class Read:
    """One call of a token-to-image attention, with its inputs."""

    attention: TokenToImageAttention
    tokens: Tensor  # (E, T, D)
    image: Tensor  # (E, h*w, D)
    position: Tensor  # (h*w, D)


@contextmanager
def recorded_reads(encoder: PromptEncoder) -> Iterator[list[Read]]:
    """Collect the token-to-image attention calls of the prompt encoder in this block."""
    reads: list[Read] = []

    def record(
        attention: nn.Module,
        inputs: tuple[Tensor, Tensor, Tensor],
        _: Tensor,
    ) -> None:
        assert isinstance(attention, TokenToImageAttention)
        tokens, image, position = inputs
        reads.append(Read(attention, tokens, image, position))

    hooks = []
    for layer in encoder.transformer.layers:
        attention = layer.get_submodule("cross_attn_token_to_image")
        hooks.append(attention.register_forward_hook(record))
    try:
        yield reads
    finally:
        for hook in hooks:
            hook.remove()


def attention_loss(
    reads: list[Read],
    objects: Tensor,
    valid: Tensor,
) -> Tensor:
    """Mean of -log(share of attention on the prompted object) over reads, heads and tokens.

    Args:
        reads: of the prompt encoder, whose first E pairs are the examples of the batch.
        objects: (E, Hm, Wm) bool masks of the prompted objects in the input frame.
        valid: (E, T) bool, False for tokens that only pad.

    Returns:
        () the loss, 0 if all attention is on the objects.
    """
    side = round(len(reads[0].position) ** 0.5)
    cells = object_cells(objects, side)
    losses = []
    for read in reads:
        shares = object_shares(read, cells)
        loss = -(shares + SMALLEST_SHARE).log().mean(1)  # (E, T), the mean over heads
        losses.append((loss * valid).sum() / valid.sum())
    return torch.stack(losses).mean()


def object_shares(read: Read, cells: Tensor) -> Tensor:
    """The share of each token's attention that is on the object of its example.

    Args:
        cells: (E, h*w) bool, the cells of the objects.

    Returns:
        (E, n_heads, T) shares for the first E pairs of `read`.
    """
    n_examples = len(cells)
    tokens = read.tokens[:n_examples]
    image = read.image[:n_examples]
    scores = read.attention.read_scores(tokens, image, read.position)  # (E, n_heads, T, h*w)
    attention = scores.softmax(-1)
    return (attention * cells[:, None, None]).sum(-1)


def object_cells(objects: Tensor, side: int) -> Tensor:
    """(E, Hm, Wm) bool -> (E, side * side) bool, the feature cells that an object fills.

    A cell counts if the object covers at least half as much of it as of its fullest cell,
    so that an object smaller than a cell keeps one.
    """
    coverage = F.adaptive_avg_pool2d(objects[:, None].float(), side).flatten(1)
    fullest = coverage.amax(1, keepdim=True)
    return (coverage > 0) & (coverage >= fullest / 2)
