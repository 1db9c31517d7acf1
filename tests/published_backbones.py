"""Image encoders with random weights, in the files that their authors give out; also small ones."""

import io

import torch
from safetensors.torch import save

from tests.published_file import UNUSED, published_name

SMALL_LAYERS = 1


def small_sam(image_size: int) -> torch.nn.Module:
    from segment_anything.modeling import ImageEncoderViT

    encoder = ImageEncoderViT(
        img_size=image_size, depth=SMALL_LAYERS, use_rel_pos=True, window_size=14
    )
    encoder.neck = torch.nn.Identity()
    return encoder


def small_mae(image_size: int) -> torch.nn.Module:
    from transformers import ViTConfig, ViTModel

    return ViTModel(ViTConfig(num_hidden_layers=SMALL_LAYERS), add_pooling_layer=False)


def small_dinov2(image_size: int) -> torch.nn.Module:
    from transformers import Dinov2Config, Dinov2Model

    config = Dinov2Config(
        image_size=518, hidden_size=384, num_attention_heads=6, num_hidden_layers=SMALL_LAYERS
    )
    return Dinov2Model(config)


def published_weights(backbone: str, small: int | None) -> bytes:
    """The published file of a backbone, with random weights.

    Args:
        small: side of the images of a small one; None for the true size.
    """
    torch.manual_seed(0)
    if backbone == "dinov2_small":
        return save(published_dinov2(n_layers=12 if small is None else SMALL_LAYERS))
    if backbone == "mae_vit_b":
        layers = (12, 8) if small is None else (SMALL_LAYERS, 1)  # of encoder and decoder
        return save(_published_mae(layers[0], layers[1]))
    held = io.BytesIO()
    torch.save(_published_sam(small), held)
    return held.getvalue()


def _published_mae(n_layers: int, n_decoder_layers: int) -> dict[str, torch.Tensor]:
    from transformers import ViTMAEConfig, ViTMAEForPreTraining

    config = ViTMAEConfig(num_hidden_layers=n_layers, decoder_num_hidden_layers=n_decoder_layers)
    named = {}
    for key, value in ViTMAEForPreTraining(config).state_dict().items():
        if key.startswith("vit."):
            key = f"vit.{published_name(key.removeprefix('vit.'))}"
        named[key] = value.contiguous()
    return named


def _published_sam(small: int | None) -> dict[str, torch.Tensor]:
    if small is None:
        from segment_anything import build_sam_vit_b

        return build_sam_vit_b().state_dict()
    neck = {key: torch.zeros(shape) for key, shape in UNUSED["sam_vit_b"].items()}
    encoder = small_sam(small).state_dict() | neck
    weights = {f"image_encoder.{key}": value for key, value in encoder.items()}
    weights["mask_decoder.iou_token.weight"] = torch.zeros(1, 256)
    return weights


def published_dinov2(dim: int = 384, n_layers: int = 12) -> dict[str, torch.Tensor]:
    """Random weights under the names and shapes of facebook/dinov2-small's model.safetensors."""
    shapes = {
        "embeddings.cls_token": (1, 1, dim),
        "embeddings.mask_token": (1, dim),
        "embeddings.position_embeddings": (1, 1 + 37 * 37, dim),
        "embeddings.patch_embeddings.projection.weight": (dim, 3, 14, 14),
        "embeddings.patch_embeddings.projection.bias": (dim,),
        "layernorm.weight": (dim,),
        "layernorm.bias": (dim,),
    }
    for layer in range(n_layers):
        start = f"encoder.layer.{layer}."
        for name in ("query", "key", "value"):
            shapes[f"{start}attention.attention.{name}.weight"] = (dim, dim)
            shapes[f"{start}attention.attention.{name}.bias"] = (dim,)
        shapes[f"{start}attention.output.dense.weight"] = (dim, dim)
        shapes[f"{start}mlp.fc1.weight"] = (4 * dim, dim)
        shapes[f"{start}mlp.fc1.bias"] = (4 * dim,)
        shapes[f"{start}mlp.fc2.weight"] = (dim, 4 * dim)
        for name in (
            "attention.output.dense.bias", "mlp.fc2.bias", "layer_scale1.lambda1",
            "layer_scale2.lambda1", "norm1.weight", "norm1.bias", "norm2.weight", "norm2.bias",
        ):  # fmt: skip
            shapes[start + name] = (dim,)
    g = torch.Generator().manual_seed(0)
    return {name: 0.02 * torch.randn(shape, generator=g) for name, shape in shapes.items()}
