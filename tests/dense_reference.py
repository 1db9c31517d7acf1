"""The published computation written plainly: every (support image, class) pair, plain attention.

This is the oracle of `mode="exact"` and what the benchmark compares with. It takes the published
model's own dense inputs and a state dict, and shares no code with `la.model`. B episodes, M support
images of an episode, C rows; n = B*M*C pairs.
"""

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

Weights = dict[str, Tensor]


@dataclass(frozen=True)
class DenseInputs:
    """The published model's inputs. Index 0 of `features` is the query."""

    features: Tensor  # (B, 1 + M, V, s, s)
    points: Tensor  # (B, M, C, P, 2) input pixels
    point_flags: Tensor  # (B, M, C, P): 1 positive, -1 negative, 0 padding
    boxes: Tensor  # (B, M, C, Q, 4)
    box_flags: Tensor  # (B, M, C, Q)
    masks: Tensor  # (B, M, C, 256, 256)
    mask_flags: Tensor  # (B, M, C)
    example_flags: Tensor  # (B, M, C); row 0 is 1
    bank_rows: Tensor | None = None  # (C,) rows of the token bank
    class_valid: Tensor | None = None  # (B, C) bool; all when None, and it changes no number here


@dataclass(frozen=True)
class DenseOutputs:
    """What the golden files call logits_low and class_embs."""

    logits: Tensor  # (B, C, 4s, 4s)
    prototypes: Tensor  # (B, C, D)


def dense_reference(w: Weights, x: DenseInputs, image_size: int, n_heads: int = 8) -> DenseOutputs:
    """The published forward pass from backbone features."""
    b, m, c = x.example_flags.shape
    dim = w["prompt_encoder.no_mask_embed.weight"].shape[1]
    features = x.features.flatten(0, 1)
    if features.shape[1] != dim:
        features = _neck(w, features)
    features = features.unflatten(0, (b, 1 + m))
    size = features.shape[-2:]
    position = _grid(w, *size)  # (s*s, D)

    sparse = _sparse_tokens(w, x, image_size, n_heads)  # (B, M, C, T, D)
    dense = _dense_embeddings(w, x, size)  # (B, M, C, D, s, s)
    source = features[:, 1:, None] + dense
    if "prompt_encoder.class_encoder.pos_embedding" in w:
        rows = x.bank_rows.expand(b, c)
        token = w["prompt_encoder.class_encoder.pos_embedding"][0, 0][rows][:, None]  # (B, 1, C, D)
        source = source + token[..., None, None]
        sparse = sparse + token[..., None, :]
    image = source.flatten(0, 2).flatten(2).transpose(1, 2)  # (n, s*s, D)
    _, image = _two_way(
        w, "prompt_encoder.transformer.", sparse.flatten(0, 2), image, position, n_heads
    )
    examples = image.mean(1).view(b, m, c, dim)

    def mix(name: str, sequences: Tensor) -> Tensor:
        return _block(w, f"prompt_encoder.{name}.", sequences, n_heads)

    if "prompt_encoder.class_attention.norm.weight" in w:
        examples = mix("class_attention", examples.flatten(0, 1)).view(b, m, c, dim)
    if "prompt_encoder.example_attention.norm.weight" in w:
        by_class = examples.transpose(1, 2).flatten(0, 1)  # (B*C, M, D)
        examples = mix("example_attention", by_class).view(b, c, m, dim).transpose(1, 2)
    if "prompt_encoder.class_example_attention.norm.weight" in w:
        examples = mix("class_example_attention", examples.flatten(1, 2)).view(b, m, c, dim)

    flags = x.example_flags.to(examples.dtype)[..., None]
    prototypes = (examples * flags).sum(1) / flags.sum(1).clamp(min=1)
    return DenseOutputs(_decode(w, features[:, 0], prototypes, position, n_heads), prototypes)


def _sparse_tokens(w: Weights, x: DenseInputs, image_size: int, n_heads: int) -> Tensor:
    """(B, M, C, T, D) after the self-attention over the C*T tokens of each support image."""
    b, m, c = x.example_flags.shape
    kind = [w[f"prompt_encoder.point_embeddings.{i}.weight"][0] for i in range(4)]
    null = w["prompt_encoder.not_a_point_embed.weight"][0]
    has_points, has_boxes = bool((x.point_flags != 0).any()), bool((x.box_flags != 0).any())
    tokens = []
    if has_points:
        xy, flags = (x.points + 0.5) / image_size, x.point_flags
        if not has_boxes:
            xy = torch.cat([xy, xy.new_zeros(b, m, c, 1, 2)], dim=3)
            flags = torch.cat([flags, -flags.new_ones(b, m, c, 1)], dim=3)
        flags = flags[..., None]
        place = _fourier(w, xy)
        tokens.append(
            torch.where(flags == 0, null, torch.where(flags > 0, place + kind[1], place + kind[0]))
        )
    if has_boxes:
        place = _fourier(
            w, (x.boxes.unflatten(-1, (2, 2)) + 0.5) / image_size
        )  # (B, M, C, Q, 2, D)
        corners = (place + torch.stack([kind[2], kind[3]])).flatten(3, 4)
        flags = torch.cat([x.box_flags, x.box_flags], dim=3)[..., None]
        tokens.append(torch.where(flags == 0, null, corners))
    if not tokens:
        tokens.append(w["prompt_encoder.no_sparse_embedding.weight"].expand(b, m, c, 1, -1))
    sparse = torch.cat(tokens, dim=3)
    sequences = sparse.flatten(0, 1).flatten(1, 2)  # (B*M, C*T, D)
    mixed = _block(w, "prompt_encoder.sparse_embedding_attention.", sequences, n_heads)
    return mixed.view(sparse.shape)


def _dense_embeddings(w: Weights, x: DenseInputs, size: tuple[int, int]) -> Tensor:
    """(B, M, C, D, s, s) from the masks of every pair."""
    flags = x.mask_flags
    if not bool((flags != 0).any()):
        none = w["prompt_encoder.no_mask_embed.weight"].view(1, 1, 1, -1, 1, 1)
        return none.expand(*flags.shape, -1, *size)
    p = "prompt_encoder.mask_downscaling."
    y = x.masks.flatten(0, 2)[:, None]
    y = F.conv2d(y, w[p + "0.weight"], w[p + "0.bias"], stride=2)
    y = F.gelu(_norm2d(y, w[p + "1.weight"], w[p + "1.bias"]))
    y = F.conv2d(y, w[p + "3.weight"], w[p + "3.bias"], stride=2)
    y = F.gelu(_norm2d(y, w[p + "4.weight"], w[p + "4.bias"]))
    y = F.conv2d(y, w[p + "6.weight"], w[p + "6.bias"])
    absent = w["prompt_encoder.not_a_mask_embed.weight"].view(1, -1, 1, 1)
    y = torch.where(flags.flatten().view(-1, 1, 1, 1) == 0, absent, y)
    if y.shape[-2:] != size:
        y = F.interpolate(y, size, mode="bilinear", align_corners=False)
    return y.unflatten(0, flags.shape)


def _decode(
    w: Weights, query: Tensor, prototypes: Tensor, position: Tensor, n_heads: int
) -> Tensor:
    """Query (B, D, s, s), prototypes (B, C, D) -> (B, C, 4s, 4s)."""
    p = "mask_decoder."
    image = query.flatten(2).transpose(1, 2)
    tokens, image = _two_way(w, p + "transformer.", prototypes, image, position, n_heads)
    transformer = p + "transformer."
    start = prototypes
    update = _attention(
        w,
        transformer + "final_attn_token_to_image.",
        tokens + start,
        image + position,
        image,
        n_heads,
    )
    tokens = _norm(w, transformer + "norm_final_attn.", tokens + update)

    y = image.transpose(1, 2).unflatten(2, query.shape[-2:])
    up = p + "output_upscaling."
    y = F.conv_transpose2d(y, w[up + "0.weight"], w[up + "0.bias"], stride=2)
    y = F.gelu(_norm2d(y, w[up + "1.weight"], w[up + "1.bias"]))
    y = F.conv_transpose2d(y, w[up + "3.weight"], w[up + "3.bias"], stride=2)
    conv = p + "spatial_convs."
    if conv + "0.weight" in w:
        for i in (0, 3, 6):
            y = F.conv2d(y, w[f"{conv}{i}.weight"], w[f"{conv}{i}.bias"], padding=1)
            if i < 6:
                y = F.gelu(_norm2d(y, w[f"{conv}{i + 1}.weight"], w[f"{conv}{i + 1}.bias"]))
    for i in range(3):
        tokens = _linear(w, f"{p}class_mlp.layers.{i}.", tokens)
        tokens = tokens.relu() if i < 2 else tokens
    return (tokens @ y.flatten(2)).unflatten(2, y.shape[-2:])


def _two_way(
    w: Weights, p: str, tokens: Tensor, image: Tensor, position: Tensor, n_heads: int
) -> tuple[Tensor, Tensor]:
    """Both layers, without the final attention."""
    start = tokens
    for i in range(2):
        q = f"{p}layers.{i}."
        if i == 0:
            tokens = _attention(w, q + "self_attn.", tokens, tokens, tokens, n_heads)
        else:
            place = tokens + start
            tokens = tokens + _attention(w, q + "self_attn.", place, place, tokens, n_heads)
        tokens = _norm(w, q + "norm1.", tokens)
        name = q + "cross_attn_token_to_image."
        tokens = tokens + _attention(w, name, tokens + start, image + position, image, n_heads)
        tokens = _norm(w, q + "norm2.", tokens)
        hidden = _linear(w, q + "mlp.lin1.", tokens).relu()
        tokens = _norm(w, q + "norm3.", tokens + _linear(w, q + "mlp.lin2.", hidden))
        name = q + "cross_attn_image_to_token."
        image = image + _attention(w, name, image + position, tokens + start, tokens, n_heads)
        image = _norm(w, q + "norm4.", image)
    return tokens, image


def _block(w: Weights, p: str, x: Tensor, n_heads: int) -> Tensor:
    """Self-attention and MLP, one LayerNorm for both."""
    h = _norm(w, p + "norm.", x + _attention(w, p + "attn.", x, x, x, n_heads))
    hidden = F.gelu(_linear(w, p + "mlp.lin1.", h))
    return _norm(w, p + "norm.", h + _linear(w, p + "mlp.lin2.", hidden))


def _attention(w: Weights, p: str, q: Tensor, k: Tensor, v: Tensor, n_heads: int) -> Tensor:
    def heads(x: Tensor) -> Tensor:
        return x.unflatten(-1, (n_heads, -1)).transpose(1, 2)

    q, k, v = (heads(_linear(w, f"{p}{n}_proj.", x)) for n, x in (("q", q), ("k", k), ("v", v)))
    scores = (q @ k.transpose(-2, -1)) / math.sqrt(q.shape[-1])
    out = (scores.softmax(-1) @ v).transpose(1, 2).flatten(2)
    return _linear(w, p + "out_proj.", out)


def _linear(w: Weights, p: str, x: Tensor) -> Tensor:
    return F.linear(x, w[p + "weight"], w[p + "bias"])


def _norm(w: Weights, p: str, x: Tensor) -> Tensor:
    return F.layer_norm(x, x.shape[-1:], w[p + "weight"], w[p + "bias"])


def _norm2d(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    mean = x.mean(1, keepdim=True)
    variance = (x - mean).pow(2).mean(1, keepdim=True)
    return weight[:, None, None] * (x - mean) / torch.sqrt(variance + 1e-6) + bias[:, None, None]


def _neck(w: Weights, x: Tensor) -> Tensor:
    x = _norm2d(F.conv2d(x, w["neck.0.weight"]), w["neck.1.weight"], w["neck.1.bias"])
    x = F.conv2d(x, w["neck.2.weight"], padding=1)
    return _norm2d(x, w["neck.3.weight"], w["neck.3.bias"])


def _fourier(w: Weights, xy: Tensor) -> Tensor:
    matrix = w["prompt_encoder.pe_layer.positional_encoding_gaussian_matrix"]
    angle = 2 * math.pi * ((2 * xy - 1) @ matrix)
    return torch.cat([angle.sin(), angle.cos()], dim=-1)


def _grid(w: Weights, height: int, width: int) -> Tensor:
    like = w["prompt_encoder.pe_layer.positional_encoding_gaussian_matrix"]
    y = (torch.arange(height, dtype=like.dtype) + 0.5) / height
    x = (torch.arange(width, dtype=like.dtype) + 0.5) / width
    y, x = torch.meshgrid(y, x, indexing="ij")
    return _fourier(w, torch.stack([x, y], dim=-1).flatten(0, 1))
