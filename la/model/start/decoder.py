"""The part of the agreeing start in which Eq. 5 begins as a similarity."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from la.model.layers import LayerNorm2d, submodule
from la.model.mask_decoder import ClassMlp, MaskDecoder
from la.model.start.channels import Channels
from la.model.start.published import LINEAR, NOISE, QUIET, pass_pixels_on

MATCH = 3.5  # logit of a pixel that equals its prototype
THRESHOLD = 0.6  # cosine at which a pixel is as likely background as foreground


def compare_content(decoder: MaskDecoder, channels: Channels) -> None:
    """Eq. 5 begins as a similarity of content, with a threshold for the background.

    The upscaling and the class MLP select the same `n_compared` channels of the content. In
    one more channel, all query pixels have the same value and a prototype has its component
    along w, the mark of the background; their product is the threshold. After the norm of the
    upscaling, a query pixel has length sqrt(width); the content of a prototype has a length of
    about sqrt(n_compared).
    """
    dim = len(channels.backdrop)
    first = submodule(decoder.output_upscaling, "0", nn.ConvTranspose2d)
    width = first.out_channels
    high = submodule(decoder.class_mlp, "layers.2", nn.Linear)
    n_out = high.out_features
    n_content = len(channels.content)
    n_compared = min(width, n_out, n_content, dim // 2) - 1
    compared = channels.content[:n_compared]
    match = math.sqrt(width * n_compared)  # the product of a pixel and an equal prototype
    bias = _select_pixels(decoder.output_upscaling, compared)
    bias[n_compared] += THRESHOLD * match / math.sqrt(dim)
    _start_class_mlp(decoder.class_mlp, compared, channels.backdrop)
    if decoder.logit_scale is None:  # the published wiring
        high.weight.mul_(MATCH / match)
        pass_pixels_on(decoder.spatial_convs)
        return
    scale = MATCH / match * math.sqrt(n_out)
    decoder.logit_scale.fill_(math.log(scale))
    for block in decoder.spatial_convs.children():
        conv = submodule(block, "conv", nn.Conv2d)
        conv.weight.mul_(QUIET)
        conv.get_parameter("bias").zero_()


def _select_pixels(upscaling: nn.Sequential, compared: Tensor) -> Tensor:
    """Make the upscaling pass these channels on; return the bias of its last layer.

    The norm gets a bias around which GELU is almost linear. The last layer's bias cancels what
    that bias adds to the output.
    """
    first = submodule(upscaling, "0", nn.ConvTranspose2d)
    last = upscaling[3]
    weight, bias = last.get_parameter("weight"), last.get_parameter("bias")
    width = first.out_channels
    first.weight.mul_(NOISE)[compared, torch.arange(len(compared))] += 1.0
    first.get_parameter("bias").zero_()
    submodule(upscaling, "1", LayerNorm2d).bias.fill_(LINEAR)
    same = torch.arange(min(width, len(bias)))
    weight.mul_(NOISE)[same, same] += 1.0
    norm_bias = torch.full((1, width, 2, 2), LINEAR)
    bias.zero_()
    contributed = last(F.gelu(norm_bias))[0]
    bias.copy_(-contributed.mean((1, 2)))
    return bias


def _start_class_mlp(mlp: ClassMlp, compared: Tensor, backdrop: Tensor) -> None:
    """Make the class MLP return a prototype's compared content, and w . prototype after it.

    Hidden units come in pairs, since relu(x) - relu(-x) = x.
    """
    low = submodule(mlp, "layers.0", nn.Linear)
    middle = submodule(mlp, "layers.1", nn.Linear)
    high = submodule(mlp, "layers.2", nn.Linear)
    dim = low.in_features
    rows = torch.zeros(dim // 2, dim)
    rows[torch.arange(len(compared)), compared] = 1
    rows[len(compared)] = backdrop
    pairs = torch.eye(high.out_features, dim // 2)
    low.weight.mul_(NOISE)
    low.weight.add_(torch.cat([rows, -rows]))
    middle.weight.mul_(NOISE).add_(torch.eye(dim))
    high.weight.mul_(NOISE)
    high.weight.add_(torch.cat([pairs, -pairs], 1))
    for layer in (low, middle, high):
        layer.bias.zero_()
