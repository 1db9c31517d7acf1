"""Vision transformers as the `transformers` library builds them: ViT-MAE and DINOv2.

The features are the patch tokens after the final norm, without the class token. The position
embeddings are interpolated, so the sides of an image may be any multiples of the patch size.

He et al., "Masked Autoencoders Are Scalable Vision Learners", 2022 (paper 4.2).
Oquab et al., "DINOv2: Learning Robust Visual Features without Supervision", 2024.
"""

from functools import partial

from torch import Tensor, nn

from la.errors import UserError
from la.model.backbones.spec import BackboneSpec, PublishedFile

HUB = "https://huggingface.co/facebook"
NAMES = (  # parts of a tensor's name: as published (transformers 4), and in transformers 5
    ("encoder.layer.", "layers."),
    (".attention.attention.query.", ".attention.q_proj."),
    (".attention.attention.key.", ".attention.k_proj."),
    (".attention.attention.value.", ".attention.v_proj."),
    (".attention.output.dense.", ".attention.o_proj."),
    (".intermediate.dense.", ".mlp.fc1."),
    (".output.dense.", ".mlp.fc2."),
)


def build_mae(image_size: int) -> nn.Module:
    """ViT-B/16 with position embeddings for 224 pixels, whatever the image size."""
    from transformers import ViTConfig, ViTModel

    return ViTModel(ViTConfig(layer_norm_eps=1e-12), add_pooling_layer=False)


def build_dinov2(image_size: int, *, dim: int) -> nn.Module:
    """ViT/14 with position embeddings for 518 pixels, whatever the image size."""
    from transformers import Dinov2Config, Dinov2Model

    return Dinov2Model(Dinov2Config(image_size=518, hidden_size=dim, num_attention_heads=dim // 64))


def read_mae(encoder: nn.Module, images: Tensor) -> Tensor:
    """Features (B, V, h, w) of MAE, which interpolates its positions only on request."""
    tokens = encoder(images, interpolate_pos_encoding=True).last_hidden_state
    return _on_grid(tokens, images, 16)


def read_dinov2(encoder: nn.Module, images: Tensor) -> Tensor:
    """Features (B, V, h, w) of DINOv2, which always interpolates its positions.

    Raises:
        UserError: a side of the images is not a multiple of the patch size.
    """
    if images.shape[2] % 14 or images.shape[3] % 14:
        raise UserError(
            f"image sides must be multiples of 14 for DINOv2, not {tuple(images.shape[2:])}"
        )
    tokens = encoder(images).last_hidden_state
    return _on_grid(tokens, images, 14)


def _on_grid(tokens: Tensor, images: Tensor, patch_size: int) -> Tensor:
    """(B, 1 + h * w, V), the class token first -> (B, V, h, w)."""
    height, width = images.shape[2:]
    cells = tokens[:, 1:].transpose(1, 2)
    return cells.unflatten(2, (height // patch_size, width // patch_size))


def name_in_transformers_5(key: str) -> str:
    """A tensor's name as transformers 5 has it, from either spelling."""
    for published, new in NAMES:
        key = key.replace(published, new)
    return key


MAE = BackboneSpec(
    name="mae_vit_b",
    dim=768,
    patch_size=16,
    build=build_mae,
    read=read_mae,
    weights=PublishedFile(
        fetch_name="mae",
        file_name="vit-mae-base.safetensors",
        url=f"{HUB}/vit-mae-base/resolve/25b184bea5538bf5c4c852c79d221195fdd2778d/model.safetensors",
        size=447_670_680,
        sha256="479dcef4bd5df06259399027b789f21e9d9a1b79f37155a64176d55bc26fdae8",
    ),
    images_at_once=16,
    licence="Apache-2.0",
    prefix="vit.",
    unused=("pooler.dense.",),
    canonical=name_in_transformers_5,
)


def _dinov2(size: str, dim: int, weights: PublishedFile) -> BackboneSpec:
    return BackboneSpec(
        name=f"dinov2_{size}",
        dim=dim,
        patch_size=14,
        build=partial(build_dinov2, dim=dim),
        read=read_dinov2,
        weights=weights,
        images_at_once=16,
        licence="Apache-2.0",
        canonical=name_in_transformers_5,
    )


DINOV2_SMALL = _dinov2(
    "small",
    dim=384,
    weights=PublishedFile(
        fetch_name="dinov2-small",
        file_name="dinov2-small.safetensors",
        url=f"{HUB}/dinov2-small/resolve/ed25f3a31f01632728cabb09d1542f84ab7b0056/model.safetensors",
        size=88_249_960,
        sha256="ae1e99fcefd534ed978cdeb8326f08030c96e28b7a81ffcbc98a857c84d14be1",
    ),
)
DINOV2_BASE = _dinov2(
    "base",
    dim=768,
    weights=PublishedFile(
        fetch_name="dinov2-base",
        file_name="dinov2-base.safetensors",
        url=f"{HUB}/dinov2-base/resolve/f9e44c814b77203eaa57a6bdbbd535f21ede1415/model.safetensors",
        size=346_345_912,
        sha256="d73036b56966966d07975d696bde331762f37297e2f095de8cea0040c3aa0841",
    ),
)
