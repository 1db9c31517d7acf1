"""How fresh weights begin: `start="agreeing"`, so that prompts matter from the first step.

With the usual random weights the model learns to paint any object, whatever is prompted,
and stays there. Once the mask is added to the image features, the only way from "this cell
is marked" to the prototype leads through the attention of Eq. 1-2. Random queries and keys
do not agree, their attention is uniform, and uniform attention gives queries and keys next
to no gradient. So the weights that have to agree begin equal here. No forward pass changes,
every weight is trained, and all that is random comes from the given generator.

`la.model.channels` says what the D channels of the neck's output mean at the start. Widths
set the gains: a layer-normalised vector of D channels has the length sqrt(D).
`ModelConfig.start_without` leaves out parts, each of which is one function below.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from la.config import ModelConfig
from la.model.channels import Channels, main_directions
from la.model.layers import Attention, TokenToImageAttention
from la.model.mask_decoder import ClassMlp, MaskDecoder
from la.model.prompt_encoder import PromptEncoder
from la.model.start_published import (
    LINEAR,
    NOISE,
    mark_background,
    pass_pixels_on,
    pass_tokens_on,
)

QUIET = 0.2  # share of the usual weights left to a branch that would drown its residual
COPY_GAIN = 2.0  # what is copied is twice as long as what it is added to
PROMPT_MARGIN = 2.0  # log odds of a prompted cell against all other cells together
PLACE_MARGIN = 3.7  # by how much a token's own place outscores a distant place
MATCH = 3.5  # logit of a pixel that equals its prototype
THRESHOLD = 0.6  # cosine at which a pixel is as likely background as foreground


@torch.no_grad()
def agree(
    model: nn.Module,
    config: ModelConfig,
    generator: torch.Generator,
    features: Tensor | None = None,
) -> None:
    """Set the weights of a LabelAnything, which have their usual values, to agree.

    Args:
        features: (n, V, h, w) of some training images, whose main directions become the
            content; without them the directions are random.

    Raises:
        ValueError: the start is not written for this architecture.
    """
    _check(config)
    encoder, decoder = model.prompt_encoder, model.mask_decoder
    channels = Channels.of(config, encoder.pe_layer, generator)
    without = config.start_without
    if "quiet" not in without:
        _quieten_branches(model)
    if "neck" not in without:
        _keep_features(model.neck, channels, generator, features)
    if "mark" not in without:
        _mark_prompts(encoder, channels.flag)
    n_cells = (config.image_size // config.patch_size) ** 2
    for layer in encoder.transformer.layers:
        if "read" not in without:
            _read_prompted_cells(layer.cross_attn_token_to_image, channels, n_cells)
        if "copy" not in without:
            _copy_content(layer.cross_attn_token_to_image, channels.content)
            _copy_content(layer.cross_attn_image_to_token, channels.content)
    if "copy" not in without and not config.first_residual:
        pass_tokens_on(encoder.transformer.layers[0].self_attn)
        pass_tokens_on(decoder.transformer.layers[0].self_attn)
    if "compare" not in without:
        _compare_content(decoder, channels)
        if encoder.background_token is None:
            mark_background(encoder.class_encoder, channels.backdrop)
        else:
            length = math.sqrt(config.embed_dim)
            encoder.background_token.weight.mul_(NOISE).add_(length * channels.backdrop)


def _check(config: ModelConfig) -> None:
    """Raise a ValueError for an architecture for which the start is not written."""
    for name, value in {"mode": "masked", "attention_downsample": 2}.items():
        if getattr(config, name) != value:
            raise ValueError(
                f'start="agreeing" needs {name}={value!r}, and the model has '
                f'{getattr(config, name)!r}; choose start="usual"'
            )
    if config.embed_dim < 8 * config.n_heads:
        raise ValueError(
            f'start="agreeing" needs heads of 4 channels or more, and embed_dim='
            f'{config.embed_dim} gives {config.n_heads} heads fewer; choose start="usual"'
        )
    if config.background == "unprompted" and not config.token_pool:
        raise ValueError(
            'start="agreeing" marks an unprompted background in the token pool, and the model '
            'has none; set token_pool or background="token", or choose start="usual"'
        )


def _quieten_branches(model: nn.Module) -> None:
    """Residual branches whose output is random begin small: content passes them unharmed."""
    for module in model.modules():
        for name in ("out_proj", "lin2"):
            last = getattr(module, name, None)
            if isinstance(last, nn.Linear):
                last.weight.mul_(QUIET)
                last.bias.mul_(QUIET)


def _keep_features(
    neck: nn.Module,
    channels: Channels,
    generator: torch.Generator,
    features: Tensor | None,
) -> None:
    """The neck rotates the backbone's features into D channels and blurs nothing.

    The content gets the directions in which features vary most, the other channels those
    that follow. The neck is the identity, without weights, where the backbone is D wide.
    """
    if isinstance(neck, nn.Identity):
        return
    narrow, _, smooth, _ = neck
    weight = narrow.weight.flatten(1)  # (D, V), a view
    nn.init.orthogonal_(weight, generator=generator)
    if features is not None:
        others = torch.ones(len(weight), dtype=torch.bool)
        others[channels.content] = False
        order = torch.cat([channels.content, others.nonzero()[:, 0]])[: weight.shape[1]]
        weight[order] = main_directions(features)[: len(order)]
    noise = torch.empty_like(smooth.weight).normal_(0, 0.005, generator=generator)
    nn.init.dirac_(smooth.weight).add_(noise)


def _mark_prompts(encoder: PromptEncoder, flag: Tensor) -> None:
    """A masked cell gets u as long as the cell itself, an unmasked cell gets nothing.

    The token of a pair without points and boxes is u too. A point or a corner has half of
    it: its place shall count as much.
    """
    length = math.sqrt(len(flag))
    *first_layers, last = encoder.mask_downscaling
    areas = torch.stack([torch.ones(1, 8, 8), torch.zeros(1, 8, 8)])
    inside, outside = nn.Sequential(*first_layers)(areas)[:, :, 0, 0]
    step = inside - outside  # what tells a masked cell from others before the last layer
    last.weight.mul_(QUIET)
    last.weight[:, :, 0, 0] += length * torch.outer(flag, step / step.dot(step))
    last.bias.copy_(-last.weight[:, :, 0, 0] @ outside)
    encoder.not_a_mask_embed.weight.mul_(NOISE)
    encoder.no_sparse_embedding.weight.mul_(NOISE).add_(length * flag)
    for embedding in encoder.point_embeddings:
        embedding.weight.mul_(QUIET).add_(length / 2 * flag)


def _read_prompted_cells(
    attention: TokenToImageAttention, channels: Channels, n_cells: int
) -> None:
    """Queries equal keys (Eq. 1): a token attends to marked cells, and to its own place.

    The first of the d rows of each head is g u. Of a token, u has the length 2 sqrt(D), as
    its embedding is added to it again; of a marked cell sqrt(D / 2), as half of its norm is
    the image's. Their score g^2 2 sqrt(D) sqrt(D / 2) / sqrt(d) shall outweigh all cells.

    The next rows are p times the pairs of sine and cosine of the head's frequencies. A pair
    gives 1 for a place with itself, so that the score of n pairs is p^2 n / sqrt(d).
    """
    dim, (n_heads, n_pairs) = len(channels.flag), channels.frequencies.shape
    root = math.sqrt(attention.q_proj.out_features // n_heads)  # sqrt(d)
    flag_gain = math.sqrt((math.log(n_cells) + PROMPT_MARGIN) * root / (math.sqrt(2) * dim))
    place_gain = math.sqrt(PLACE_MARGIN * root / n_pairs)
    for projection in (attention.q_proj, attention.k_proj):
        weight = projection.weight.mul_(NOISE).unflatten(0, (n_heads, -1))  # (n_heads, d, D)
        weight[:, 0] = flag_gain * channels.flag
        for rows, frequencies in zip(weight, channels.frequencies, strict=True):
            places = torch.cat([frequencies, frequencies + dim // 2])
            rows[1 : 1 + 2 * n_pairs] = place_gain * F.one_hot(places, dim).float()
        projection.bias.zero_()


def _copy_content(attention: Attention, content: Tensor) -> None:
    """Values and outputs select the content: what a token reads, it writes to every cell.

    From there average pooling takes it to the class-example embedding (Eq. 2).
    """
    inner = torch.arange(len(content))
    attention.v_proj.weight.mul_(NOISE)[inner, content] += 1.0
    attention.v_proj.bias.zero_()
    attention.out_proj.weight.mul_(NOISE)[content, inner] += COPY_GAIN
    attention.out_proj.bias.zero_()


def _compare_content(decoder: MaskDecoder, channels: Channels) -> None:
    """Eq. 5 begins as a similarity of content, with a threshold for the background.

    Upscaling and class MLP select the same `n_compared` channels of the content. One more
    channel is constant over the query and reads w from the prototypes: the threshold. A query
    pixel has the length sqrt(width) after the norm of the upscaling, a prototype's content
    about sqrt(n_compared).
    """
    first, norm, _, last = decoder.output_upscaling
    width, out = first.weight.shape[1], last.bias.shape[0]
    dim = len(channels.backdrop)
    n_compared = min(width, out, len(channels.content), dim // 2) - 1
    compared = channels.content[:n_compared]
    match = math.sqrt(width * n_compared)  # the product of a pixel and an equal prototype
    first.weight.mul_(NOISE)[compared, torch.arange(n_compared)] += 1.0
    first.bias.zero_()
    norm.bias.fill_(LINEAR)
    same = torch.arange(min(width, out))
    last.weight.mul_(NOISE)[same, same] += 1.0
    shifted = F.gelu(torch.full((1, width, 2, 2), LINEAR))  # what the norm's bias alone gives
    last.bias.zero_()
    last.bias.copy_(-last(shifted)[0].mean((1, 2)))
    last.bias[n_compared] += THRESHOLD * match / math.sqrt(dim)
    _start_class_mlp(decoder.class_mlp, compared, channels.backdrop)
    if decoder.logit_scale is None:  # the published wiring
        decoder.class_mlp.layers[-1].weight.mul_(MATCH / match)
        pass_pixels_on(decoder.spatial_convs)
        return
    decoder.logit_scale.fill_(math.log(MATCH / match * math.sqrt(out)))
    for block in decoder.spatial_convs.children():
        block.conv.weight.mul_(QUIET)
        block.conv.bias.zero_()


def _start_class_mlp(mlp: ClassMlp, compared: Tensor, backdrop: Tensor) -> None:
    """Prototypes (B, C, D) -> their compared content and, in the next channel, w . prototype.

    Hidden units come in pairs, since relu(x) - relu(-x) = x.
    """
    low, middle, high = mlp.layers
    dim, out = low.in_features, high.out_features
    rows = torch.zeros(dim // 2, dim)
    rows[torch.arange(len(compared)), compared] = 1
    rows[len(compared)] = backdrop
    pairs = torch.eye(out, dim // 2)
    low.weight.mul_(NOISE).add_(torch.cat([rows, -rows]))
    middle.weight.mul_(NOISE).add_(torch.eye(dim))
    high.weight.mul_(NOISE).add_(torch.cat([pairs, -pairs], 1))
    for layer in (low, middle, high):
        layer.bias.zero_()
