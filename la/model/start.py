"""How fresh weights begin: `start="agreeing"`, so that prompts matter from the first step.

With the usual random weights the model learns to paint any object, whatever is prompted,
and stays there. Once the mask is added to the image features, the only way from "this cell
is marked" to the prototype leads through the attention of Eq. 1-2. Random queries and keys
do not agree, their attention is uniform, and uniform attention gives queries and keys next
to no gradient. So the weights that have to agree begin equal here. No forward pass changes,
every weight is trained, and all that is random comes from the given generator.

Of the D channels of the neck's output

- the first D / `attention_downsample` are the *content*: what attention copies from an image
  to a prototype, and what Eq. 5 compares;
- the others hold two unit vectors, orthogonal to each other: the *flag* u says "this cell is
  prompted", the *backdrop* w says "this is the prototype of the background".

Widths set the gains: a layer-normalised vector of D channels has the length sqrt(D).
`ModelConfig.start_without` leaves out parts, each of which is one function below.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from la.config import ModelConfig
from la.model.layers import Attention, TokenToImageAttention
from la.model.mask_decoder import ClassMlp, MaskDecoder
from la.model.prompt_encoder import PromptEncoder

QUIET = 0.2  # share of the usual weights left to a branch that would drown its residual
NOISE = 0.1  # share of the usual weights left beneath a projection that is set here
COPY_GAIN = 2.0  # what is copied is twice as long as what it is added to
PROMPT_MARGIN = 2.0  # log odds of a prompted cell against all other cells together
PLACE_MARGIN = 2.5  # by how much a token's own place outscores a distant place
LINEAR = 2.0  # GELU is close to the identity around this input
MATCH = 3.5  # logit of a pixel that equals its prototype
THRESHOLD = 0.6  # cosine at which a pixel is as likely background as foreground


@torch.no_grad()
def agree(model: nn.Module, config: ModelConfig, generator: torch.Generator) -> None:
    """Set the weights of a LabelAnything, which have their usual values, to agree.

    Raises:
        ValueError: the start is not written for this architecture.
    """
    _check(config)
    encoder, decoder = model.prompt_encoder, model.mask_decoder
    flag, backdrop = _directions(config, generator)
    without = config.start_without
    if "quiet" not in without:
        _quieten_branches(model)
    if "neck" not in without:
        _keep_features(model.neck, generator)
    if "mark" not in without:
        _mark_prompts(encoder, flag)
    for layer in encoder.transformer.layers:
        if "read" not in without:
            _read_prompted_cells(layer.cross_attn_token_to_image, config, flag, generator)
        if "copy" not in without:
            _copy_content(layer.cross_attn_token_to_image)
            _copy_content(layer.cross_attn_image_to_token)
    if "compare" not in without:
        _compare_content(decoder, backdrop, len(backdrop) // config.attention_downsample)
        encoder.background_token.weight.mul_(NOISE).add_(math.sqrt(len(backdrop)) * backdrop)


def _check(config: ModelConfig) -> None:
    """Raise a ValueError for an architecture on which the start has not been tried."""
    known = {
        "norm_first": True,
        "first_residual": True,
        "background": "token",
        "mode": "masked",
    }
    for name, value in known.items():
        if getattr(config, name) != value:
            raise ValueError(
                f'start="agreeing" needs {name}={value!r}, and the model has '
                f'{getattr(config, name)!r}; choose start="usual"'
            )


def _directions(config: ModelConfig, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """The unit vectors u and w, (D,) each, outside the content.

    Their mean is zero, since a layer norm removes the mean of a vector.
    """
    n_content = config.embed_dim // config.attention_downsample
    free = torch.randn(config.embed_dim - n_content, 2, generator=generator)
    free = torch.linalg.qr(free - free.mean(0)).Q
    flag, backdrop = F.pad(free, (0, 0, n_content, 0)).T
    return flag, backdrop


def _quieten_branches(model: nn.Module) -> None:
    """Residual branches whose output is random begin small: content passes them unharmed."""
    for module in model.modules():
        for name in ("out_proj", "lin2"):
            last = getattr(module, name, None)
            if isinstance(last, nn.Linear):
                last.weight.mul_(QUIET)
                last.bias.mul_(QUIET)


def _keep_features(neck: nn.Module, generator: torch.Generator) -> None:
    """The neck rotates the backbone's features into D channels and blurs nothing.

    It is the identity, without weights, where the backbone is D wide.
    """
    if isinstance(neck, nn.Identity):
        return
    narrow, _, smooth, _ = neck
    nn.init.orthogonal_(narrow.weight.flatten(1), generator=generator)  # a view of the weight
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
    attention: TokenToImageAttention,
    config: ModelConfig,
    flag: Tensor,
    generator: torch.Generator,
) -> None:
    """Queries equal keys (Eq. 1): a token attends to marked cells, and to its own place.

    The first of the d rows of each head is g u. Of a token, u has the length 2 sqrt(D), as
    its embedding is added to it again; of a marked cell sqrt(D / 2), as half of its norm is
    the image's. Their score g^2 2 sqrt(D) sqrt(D / 2) / sqrt(d) shall outweigh all cells.

    The other rows are orthogonal with gain p. A positional encoding has the squared length
    D / 2, of which a head sees d / D, so that a place scores p^2 d / 2 / sqrt(d) with itself.
    """
    dim, inner = len(flag), attention.q_proj.out_features
    d = inner // attention.n_heads
    n_cells = (config.image_size // config.patch_size) ** 2
    place_gain = math.sqrt(2 * PLACE_MARGIN / math.sqrt(d))
    margin = math.log(n_cells) + PROMPT_MARGIN
    flag_gain = math.sqrt(margin * math.sqrt(d) / (math.sqrt(2) * dim))
    rows = place_gain * nn.init.orthogonal_(torch.empty(inner, dim), generator=generator)
    rows[::d] = flag_gain * flag
    for projection in (attention.q_proj, attention.k_proj):
        projection.weight.copy_(rows)
        projection.bias.zero_()


def _copy_content(attention: Attention) -> None:
    """Values and outputs select the content: what a token reads, it writes to every cell.

    From there average pooling takes it to the class-example embedding (Eq. 2).
    """
    attention.v_proj.weight.mul_(NOISE).fill_diagonal_(1)
    attention.v_proj.bias.zero_()
    attention.out_proj.weight.mul_(NOISE).fill_diagonal_(COPY_GAIN)
    attention.out_proj.bias.zero_()


def _compare_content(decoder: MaskDecoder, backdrop: Tensor, n_content: int) -> None:
    """Eq. 5 begins as a similarity of content, with a threshold for the background.

    Upscaling and class MLP select the same `n_compared` channels of the content. One more
    channel is constant over the query and reads w from the prototypes: the threshold. A query
    pixel has the length sqrt(width) after the norm of the upscaling, a prototype's content
    about sqrt(n_compared).
    """
    first, norm, _, last = decoder.output_upscaling
    width, out = first.weight.shape[1], last.bias.shape[0]
    n_compared = min(width, out, n_content, len(backdrop) // 2) - 1
    match = math.sqrt(width * n_compared)  # the product of a pixel and an equal prototype
    _select(first.weight, n_compared)
    first.bias.zero_()
    norm.bias.fill_(LINEAR)
    _select(last.weight, min(width, out))
    shifted = F.gelu(torch.full((1, width, 2, 2), LINEAR))  # what the norm's bias alone gives
    last.bias.zero_()
    last.bias.copy_(-last(shifted)[0].mean((1, 2)))
    last.bias[n_compared] += THRESHOLD * match / math.sqrt(len(backdrop))
    _start_class_mlp(decoder.class_mlp, n_compared, backdrop)
    for block in decoder.spatial_convs.children():
        block.conv.weight.mul_(QUIET)
        block.conv.bias.zero_()
    decoder.logit_scale.fill_(math.log(MATCH / match * math.sqrt(out)))


def _select(weight: Tensor, n_channels: int) -> None:
    """Add the identity on the first channels to a convolution or its transpose, both ways."""
    channels = range(n_channels)
    weight.mul_(NOISE)[channels, channels] += 1.0


def _start_class_mlp(mlp: ClassMlp, n_compared: int, backdrop: Tensor) -> None:
    """Prototypes (B, C, D) -> their compared content and, in the next channel, w . prototype.

    Hidden units come in pairs, since relu(x) - relu(-x) = x.
    """
    low, middle, high = mlp.layers
    dim, out = low.in_features, high.out_features
    rows = torch.eye(dim // 2, dim)
    rows[n_compared:] = 0
    rows[n_compared] = backdrop
    pairs = torch.eye(out, dim // 2)
    low.weight.mul_(NOISE).add_(torch.cat([rows, -rows]))
    middle.weight.mul_(NOISE).add_(torch.eye(dim))
    high.weight.mul_(NOISE).add_(torch.cat([pairs, -pairs], 1))
    for layer in (low, middle, high):
        layer.bias.zero_()
