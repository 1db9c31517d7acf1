"""The frozen image encoders, images (B, 3, H, W) to features (B, V, h, w) (paper 3.2 and 4.2).

sam_vit_b  SAM's ViT-B/16 without its neck: the last block's output
mae_vit_b  ViT-MAE-B/16: after the final norm, no class token, positions interpolated
tiny       the quick profile's own, with 8-pixel cells; its weights are part of the package
"""

import hashlib
from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn import functional as F

from la.config import WEIGHTS, WEIGHTS_OF, ModelConfig, weights_folder
from la.errors import MissingFile, UserError

TINY_WEIGHTS = Path(__file__).parents[1] / "weights" / "tiny_vit.safetensors"
_NORMS = {f"neck.{i}.{name}": (256,) for i in (1, 3) for name in ("weight", "bias")}
UNUSED = {  # tensors of published encoders that play no role, with their shapes
    "mae_vit_b": {"pooler.dense.weight": (768, 768), "pooler.dense.bias": (768,)},
    "sam_vit_b": {"neck.0.weight": (256, 768, 1, 1), "neck.2.weight": (256, 256, 3, 3)} | _NORMS,
    "tiny": {},
}
_SPELLINGS = (  # parts of a tensor's name in transformers 4, as published, and in transformers 5
    ("encoder.layer.", "layers."),
    (".attention.attention.query.", ".attention.q_proj."),
    (".attention.attention.key.", ".attention.k_proj."),
    (".attention.attention.value.", ".attention.v_proj."),
    (".attention.output.dense.", ".attention.o_proj."),
    (".intermediate.dense.", ".mlp.fc1."),
    (".output.dense.", ".mlp.fc2."),
)


class Backbone(nn.Module):
    """An encoder that never trains, whatever the model around it does."""

    def __init__(self, encoder: nn.Module, read: Callable[[nn.Module, Tensor], Tensor]) -> None:
        super().__init__()
        self.encoder, self.read = encoder, read
        self.requires_grad_(False).eval()

    def forward(self, images: Tensor) -> Tensor:
        with torch.no_grad():
            return self.read(self.encoder, images)

    def train(self, mode: bool = True) -> "Backbone":
        return super().train(False)


def build_backbone(config: ModelConfig) -> Backbone:
    """The pretrained backbone, from the file that `la fetch` left or the package has.

    Raises FileNotFoundError without that file, and as `load_strictly`.
    """
    path = _published(config.backbone)
    safe = path.suffix == ".safetensors"
    tensors = load_file(path) if safe else torch.load(path, map_location="cpu", weights_only=True)
    for prefix in ("image_encoder.", "vit."):  # in SAM as a whole; in MAE with its decoder
        inner = {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}
        tensors = inner or tensors
    backbone = empty_backbone(config)
    load_encoder(backbone.encoder, tensors, str(path))
    return backbone


def weights_sha256(config: ModelConfig) -> str:
    """SHA-256 of the file that `build_backbone` reads."""
    return file_sha256(_published(config.backbone))


def file_sha256(path: Path) -> str:
    """SHA-256 of a file, in hex."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def empty_backbone(config: ModelConfig) -> Backbone:
    """The backbone with weights that are not set, for who loads them next."""
    builders = {"sam_vit_b": partial(_sam, config.image_size), "mae_vit_b": _mae, "tiny": TinyViT}
    with torch.device("meta"):
        encoder = builders[config.backbone]()
    read = _read_mae if config.backbone == "mae_vit_b" else nn.Module.__call__
    return Backbone(encoder.to_empty(device="cpu"), read)


def load_encoder(encoder: nn.Module, weights: dict[str, Tensor], source: str) -> None:
    """Fill an encoder from tensors in either spelling of their names; errors as `load_strictly`."""
    unused = {key for keys in UNUSED.values() for key in keys}
    own = {spelled(key): key for key in encoder.state_dict()}
    renamed = {own.get(spelled(k), k): v for k, v in weights.items() if k not in unused}
    load_strictly(encoder, renamed, f"the image encoder in {source}")


def load_strictly(module: nn.Module, weights: dict[str, Tensor], source: str) -> None:
    """`load_state_dict` whose ValueError names the first tensor that does not fit."""
    own = module.state_dict()
    for key in sorted(own.keys() | weights.keys()):
        if key not in weights:
            raise UserError(f"{source} lacks the tensor {key!r}")
        if key not in own:
            raise UserError(f"{source} has the tensor {key!r}, for which the model has no place")
        if own[key].shape != weights[key].shape:
            shapes = f"{tuple(weights[key].shape)}, not {tuple(own[key].shape)}"
            raise UserError(f"{source} has the tensor {key!r} in shape {shapes}")
    module.load_state_dict(weights)


def spelled(key: str) -> str:
    """A tensor's name as transformers 5 spells it."""
    for published, new in _SPELLINGS:
        key = key.replace(published, new)
    return key


def spelled_as_published(key: str) -> str:
    """A tensor's name as transformers 4 and the published checkpoints spell it."""
    for published, new in _SPELLINGS:
        key = key.replace(new, published)
    return key


def _sam(image_size: int) -> nn.Module:
    from segment_anything.modeling import ImageEncoderViT

    norm = partial(nn.LayerNorm, eps=1e-6)
    windows = {"window_size": 14, "global_attn_indexes": (2, 5, 8, 11)}
    encoder = ImageEncoderViT(img_size=image_size, norm_layer=norm, use_rel_pos=True, **windows)
    encoder.neck = nn.Identity()
    return encoder


def _mae() -> nn.Module:
    from transformers import ViTConfig, ViTModel

    return ViTModel(ViTConfig(layer_norm_eps=1e-12), add_pooling_layer=False)


def _read_mae(encoder: nn.Module, images: Tensor) -> Tensor:
    cells = encoder(images, interpolate_pos_encoding=True).last_hidden_state[:, 1:]
    size = [side // encoder.config.patch_size for side in images.shape[-2:]]
    return cells.transpose(1, 2).unflatten(2, size)


def _published(name: str) -> Path:
    """The file of pretrained weights, as `la fetch` leaves it."""
    if name == "tiny":
        return TINY_WEIGHTS
    path = weights_folder() / WEIGHTS[WEIGHTS_OF[name]]
    if not path.is_file():
        mend = f"python -m la fetch {WEIGHTS_OF[name]} gets it"
        raise MissingFile(f"there is no {path}; {mend}")
    return path


class Block(nn.Module):
    """A pre-norm transformer block on (B, T, V)."""

    def __init__(self, dim: int, n_heads: int, mlp_dim: int) -> None:
        super().__init__()
        self.n_heads = n_heads
        self.norm1, self.norm2 = nn.LayerNorm(dim), nn.LayerNorm(dim)
        self.qkv, self.proj = nn.Linear(dim, 3 * dim), nn.Linear(dim, dim)
        self.mlp = nn.Sequential(nn.Linear(dim, mlp_dim), nn.GELU(), nn.Linear(mlp_dim, dim))

    def forward(self, x: Tensor) -> Tensor:
        qkv = self.qkv(self.norm1(x)).unflatten(2, (3, self.n_heads, -1))
        q, k, v = qkv.permute(2, 0, 3, 1, 4)  # (B, heads, T, V / heads)
        x = x + self.proj(F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2))
        return x + self.mlp(self.norm2(x))


class TinyViT(nn.Module):
    """The quick profile's encoder, standardised per channel as on its pretraining images.

    It stands where SAM or MAE stands in the paper's models (Sec. 4.2): pretrained on other classes
    than those it is used for, and never trained with the rest.
    """

    def __init__(self, dim: int = 128) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for n_in, n in ((3, 32), (32, 64), (64, dim)):
            layers += [nn.Conv2d(n_in, n, 3, 2, 1, bias=False), nn.BatchNorm2d(n), nn.GELU()]
        self.stem = nn.Sequential(*layers, nn.Conv2d(dim, dim, 1))
        self.blocks = nn.Sequential(*(Block(dim, 2, 3 * dim) for _ in range(4)))
        self.norm = nn.LayerNorm(dim)
        self.register_buffer("mean", torch.zeros(dim, 1, 1))
        self.register_buffer("std", torch.ones(dim, 1, 1))

    def forward(self, images: Tensor) -> Tensor:
        """ImageNet-normalised images (B, 3, H, W) to features (B, V, H / 8, W / 8)."""
        if images.shape[2] % 8 or images.shape[3] % 8:
            raise UserError(f"image sides must be multiples of 8, not {tuple(images.shape[2:])}")
        x = self.stem(images)  # (B, V, h, w)
        h, w = x.shape[2:]
        tokens = x.flatten(2).transpose(1, 2) + positions(h, w, x.shape[1]).to(x)  # (B, T, V)
        x = self.norm(self.blocks(tokens)).transpose(1, 2).unflatten(2, (h, w))
        return (x - self.mean) / self.std


def positions(h: int, w: int, dim: int) -> Tensor:
    """(h * w, dim) sines and cosines of the cell's row (first half) and column, in float32."""
    rate = 10_000 ** (-torch.arange(dim // 4) / (dim // 4))
    angles = (torch.arange(size)[:, None] * rate for size in (h, w))
    row, column = (torch.cat([angle.sin(), angle.cos()], 1) for angle in angles)
    return torch.cat([row.repeat_interleave(w, 0), column.repeat(h, 1)], 1)
