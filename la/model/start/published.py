"""The parts of the agreeing start that only the published wiring needs.

The quick profile has a residual around the first self-attention, residual convolutions after
the upscaling, a scale of the logits and a learned background token. The published model has none
of them, so its initial weights must have the same effect.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from la.model.layers import MultiHead
from la.model.prompt_encoder import TokenPool

QUIET = 0.2  # share of the usual weights in a branch that would otherwise outweigh its residual
NOISE = 0.1  # share of the usual weights that is added to a projection set here
LINEAR = 2.0  # GELU is close to the identity around this input
OWN_MARGIN = 8.0  # score of a token with itself, above that of an unrelated token
BACKDROP_GAIN = 3.0  # the background's mark, relative to the image to which it is added


def pass_tokens_on(attention: MultiHead) -> None:
    """Each token attends to itself and keeps its content, as a residual would let it.

    The published first self-attention replaces its tokens (D each, of length sqrt(D)), among
    them the flag of a prompt. Queries and keys are g times the identity, so that a head of d
    channels gives a token the score g^2 d / sqrt(d) with itself.
    """
    d = attention.q_proj.out_features // attention.n_heads
    gain = math.sqrt(OWN_MARGIN / math.sqrt(d))
    for projection in (attention.q_proj, attention.k_proj):
        projection.weight.mul_(NOISE).fill_diagonal_(gain)
        projection.bias.zero_()
    for projection in (attention.v_proj, attention.out_proj):
        projection.weight.mul_(NOISE).fill_diagonal_(1)
        projection.bias.zero_()


def mark_background(pool: TokenPool, backdrop: Tensor) -> None:
    """Row 0 of the token pool, which only background pairs draw, carries w; no other row does.

    It is added to every cell of an unprompted pair, so pooling takes it to the background's
    prototype. It is longer than a cell because attention copies the image's content there too.
    """
    rows = pool.pos_embedding[0, 0]  # (R, D), a view of the weight
    rows -= torch.outer(rows @ backdrop, backdrop)
    rows[0] += BACKDROP_GAIN * math.sqrt(len(backdrop)) * backdrop


def pass_pixels_on(layers: nn.Module) -> None:
    """Convolutions, norms and GELUs without a residual begin close to the identity.

    The bias of a norm moves its output to where GELU is linear; the next convolution cancels the
    contribution of that bias. A decoder without them has no children here.
    """
    offset = torch.zeros(())
    for layer in layers.children():
        if isinstance(layer, nn.Conv2d):
            channels = range(layer.out_channels)
            layer.weight.mul_(NOISE)
            layer.weight[channels, channels, 1, 1] += 1.0
            bias = layer.get_parameter("bias")
            bias.copy_(-layer.weight.sum((1, 2, 3)) * offset)
        elif isinstance(layer, nn.LayerNorm):
            layer.bias.fill_(LINEAR)
            offset = F.gelu(torch.tensor(LINEAR))
