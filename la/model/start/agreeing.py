"""Initialisation with `start="agreeing"`: prompts matter from the first training step.

With the usual random weights the model learns to paint any object, whatever is prompted, and does
not get beyond that. Once the mask is added to the image features, the only way from "this cell is
marked" to the prototype leads through the attention of Eq. 1-2. Random queries and keys do not
agree, their attention is uniform, and uniform attention gives queries and keys next to no
gradient. So the queries and keys that have to agree are equal at the start. The forward pass is
unchanged, every weight is trained, and all random numbers come from the caller's generator.

`la.model.start.channels` says what the D channels of the neck's output mean at the start. Widths
set the gains: a layer-normalised vector of D channels has the length sqrt(D).
`ModelConfig.start_without` leaves out parts, each of which is one function below.
"""

import math
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from la.config import ModelConfig
from la.errors import UserError
from la.model.layers import MultiHead, submodule
from la.model.prompt_encoder import PromptEncoder
from la.model.start.channels import Channels, main_directions
from la.model.start.decoder import compare_content
from la.model.start.published import NOISE, QUIET, mark_background, pass_tokens_on
from la.model.two_way import TwoWayLayer

if TYPE_CHECKING:
    from la.model.label_anything import LabelAnything

COPY_GAIN = 2.0  # what is copied is twice as long as what it is added to
PROMPT_MARGIN = 2.0  # log odds of a prompted cell against all other cells together
PLACE_MARGIN = 3.7  # score of a token's own place above that of a distant one


@torch.no_grad()
def agree(
    model: "LabelAnything",
    config: ModelConfig,
    generator: torch.Generator,
    features: Tensor | None = None,
) -> None:
    """Change the usual initial weights of a model into those that agree.

    Args:
        features: (n, V, h, w) of some training images, whose main directions become the
            content; without them the directions are random.

    Raises:
        UserError: the start is not written for this architecture.
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
    for number in range(2):
        layer = submodule(encoder.transformer, f"layers.{number}", TwoWayLayer)
        if "read" not in without:
            _read_prompted_cells(layer.cross_attn_token_to_image, channels, n_cells)
        if "copy" not in without:
            _copy_content(layer.cross_attn_token_to_image, channels.content)
            _copy_content(layer.cross_attn_image_to_token, channels.content)
    if "copy" not in without and not config.first_residual:
        for transformer in (encoder.transformer, decoder.transformer):
            pass_tokens_on(submodule(transformer, "layers.0", TwoWayLayer).self_attn)
    if "compare" not in without:
        compare_content(decoder, channels)
        _set_background(encoder, channels.backdrop)


def _check(config: ModelConfig) -> None:
    """Raise a UserError for an architecture for which the start is not written."""
    needed = {"mode": "masked", "attention_downsample": 2}
    for name, value in needed.items():
        actual = getattr(config, name)
        if actual != value:
            raise UserError(
                f'start="agreeing" needs {name}={value!r}, and the model has '
                f'{actual!r}; choose start="usual"'
            )
    if config.embed_dim < 8 * config.n_heads:
        raise UserError(
            f'start="agreeing" needs heads of 4 channels or more, and embed_dim='
            f'{config.embed_dim} gives {config.n_heads} heads fewer; choose start="usual"'
        )
    if config.background == "unprompted" and not config.token_pool:
        raise UserError(
            'start="agreeing" marks an unprompted background in the token pool, and the model '
            'has none; set token_pool or background="token", or choose start="usual"'
        )


def _quieten_branches(model: nn.Module) -> None:
    """Residual branches with random output start small, so that content passes unchanged."""
    for name, layer in model.named_modules():
        if name.endswith((".out_proj", ".lin2")):
            for weight in layer.parameters():
                weight.mul_(QUIET)


def _keep_features(
    neck: nn.Sequential,
    channels: Channels,
    generator: torch.Generator,
    features: Tensor | None,
) -> None:
    """The neck projects the backbone's features onto D channels, without mixing cells.

    The content gets the directions in which features vary most, the other channels those
    that follow. The neck is empty where the backbone is D wide.
    """
    if len(neck) == 0:
        return
    narrow = submodule(neck, "0", nn.Conv2d)
    smooth = submodule(neck, "2", nn.Conv2d)
    weight = narrow.weight.flatten(1)  # (D, V), a view
    nn.init.orthogonal_(weight, generator=generator)
    if features is not None:
        is_other = torch.ones(len(weight), dtype=torch.bool)
        is_other[channels.content] = False
        others = is_other.nonzero()[:, 0]
        order = torch.cat([channels.content, others])[: weight.shape[1]]
        weight[order] = main_directions(features)[: len(order)]
    noise = torch.empty_like(smooth.weight).normal_(0, 0.005, generator=generator)
    nn.init.dirac_(smooth.weight).add_(noise)


def _mark_prompts(encoder: PromptEncoder, flag: Tensor) -> None:
    """A masked cell gets u, with the length of the cell itself; an unmasked cell gets nothing.

    The token of a pair without points and boxes is u too. A point or a corner has half of
    it, so that its place counts as much.
    """
    length = math.sqrt(len(flag))
    last = submodule(encoder.mask_downscaling, "6", nn.Conv2d)
    areas = torch.zeros(2, 1, 8, 8)
    areas[0] = 1.0
    embedded = encoder.mask_downscaling[:-1](areas)
    inside, outside = embedded[:, :, 0, 0]
    step = inside - outside  # tells a masked cell from others before the last layer
    last.weight.mul_(QUIET)
    weight = last.weight[:, :, 0, 0]  # (D, channels), a view
    per_step = step / step.dot(step)
    weight += length * torch.outer(flag, per_step)
    last.get_parameter("bias").copy_(-weight @ outside)
    encoder.not_a_mask_embed.weight.mul_(NOISE)
    encoder.no_sparse_embedding.weight.mul_(NOISE).add_(length * flag)
    for weight in encoder.point_embeddings.parameters():
        weight.mul_(QUIET).add_(length / 2 * flag)


def _read_prompted_cells(
    attention: MultiHead,
    channels: Channels,
    n_cells: int,
) -> None:
    """Queries equal keys (Eq. 1): a token attends to marked cells, and to its own place.

    The first of the d rows of each head is g u. Of a token, u has the length 2 sqrt(D), as
    its embedding is added to it again; of a marked cell sqrt(D / 2), as half of its norm is
    the image's. Their score g^2 2 sqrt(D) sqrt(D / 2) / sqrt(d) has to outweigh all cells.

    The next rows are p times the pairs of sine and cosine of the head's frequencies. A pair
    gives 1 for a place with itself, so that the score of n pairs is p^2 n / sqrt(d).
    """
    dim = len(channels.flag)
    n_heads, n_pairs = channels.frequencies.shape
    root = math.sqrt(attention.q_proj.out_features // n_heads)  # sqrt(d)
    prompt_score = math.log(n_cells) + PROMPT_MARGIN
    flag_gain = math.sqrt(prompt_score * root / (math.sqrt(2) * dim))  # g
    place_gain = math.sqrt(PLACE_MARGIN * root / n_pairs)  # p
    for projection in (attention.q_proj, attention.k_proj):
        weight = projection.weight.mul_(NOISE).unflatten(0, (n_heads, -1))  # (n_heads, d, D)
        weight[:, 0] = flag_gain * channels.flag
        for rows, frequencies in zip(weight, channels.frequencies, strict=True):
            places = torch.cat([frequencies, frequencies + dim // 2])
            rows[1 : 1 + 2 * n_pairs] = place_gain * F.one_hot(places, dim).float()
        projection.bias.zero_()


def _copy_content(attention: MultiHead, content: Tensor) -> None:
    """Values and outputs select the content: what a token reads, it writes to every cell.

    From there average pooling takes it to the class-example embedding (Eq. 2).
    """
    inner = torch.arange(len(content))
    attention.v_proj.weight.mul_(NOISE)[inner, content] += 1.0
    attention.v_proj.bias.zero_()
    attention.out_proj.weight.mul_(NOISE)[content, inner] += COPY_GAIN
    attention.out_proj.bias.zero_()


def _set_background(encoder: PromptEncoder, backdrop: Tensor) -> None:
    """The background's prototype carries w, from its own token or from the token pool."""
    if encoder.background_token is not None:
        length = math.sqrt(len(backdrop))
        encoder.background_token.weight.mul_(NOISE).add_(length * backdrop)
    elif encoder.class_encoder is not None:
        mark_background(encoder.class_encoder, backdrop)
