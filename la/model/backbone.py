"""The frozen image encoders, images (B, 3, H, W) to features (B, V, h, w) (paper 3.2 and 4.2).

sam_vit_b  SAM's ViT-B/16 without its neck: the last block's output
mae_vit_b  ViT-MAE-B/16: after the final norm, no class token, positions interpolated
tiny       the quick profile's own
"""

import re
from collections.abc import Callable
from functools import cache
from pathlib import Path

import torch
from torch import Tensor, nn

from la.config import WEIGHTS, ModelConfig, weights_folder
from la.model import tiny

UNUSED = {  # tensors of published encoders that play no role, with their shapes
    "mae_vit_b": {"pooler.dense.weight": (768, 768), "pooler.dense.bias": (768,)},
    "sam_vit_b": {
        "neck.0.weight": (256, 768, 1, 1),
        "neck.1.weight": (256,),
        "neck.1.bias": (256,),
        "neck.2.weight": (256, 256, 3, 3),
        "neck.3.weight": (256,),
        "neck.3.bias": (256,),
    },
    "tiny": {},
}

_SPELLINGS = (  # Hugging Face's ViT in transformers 4 and 5
    (r"^encoder\.layer\.(\d+)\.", r"layers.\1."),
    (r"\.attention\.attention\.(query|key|value)\.", lambda m: f".attention.{m[1][0]}_proj."),
    (r"\.attention\.output\.dense\.", ".attention.o_proj."),
    (r"\.intermediate\.dense\.", ".mlp.fc1."),
    (r"\.output\.dense\.", ".mlp.fc2."),
)


class Backbone(nn.Module):
    """An encoder that never trains, whatever the model around it does."""

    def __init__(self, encoder: nn.Module, read: Callable[[nn.Module, Tensor], Tensor]) -> None:
        super().__init__()
        self.encoder = encoder
        self.read = read
        self.requires_grad_(False).eval()

    def forward(self, images: Tensor) -> Tensor:
        with torch.no_grad():
            return self.read(self.encoder, images)

    def train(self, mode: bool = True) -> "Backbone":
        return super().train(False)


def build_backbone(config: ModelConfig, weights: Path | None = None) -> Backbone:
    """The pretrained backbone, from `weights` or from the file that `la fetch` left.

    Raises:
        ValueError: a tensor of the file is missing, unexpected or of another shape.
        FileNotFoundError: there is no such file.
    """
    backbone = empty_backbone(config)
    path = weights or _published(config.backbone)
    load_encoder(backbone.encoder, _read(path), str(path))
    return backbone


def weights_sha256(config: ModelConfig) -> str:
    """SHA-256 of the file with the backbone's pretrained weights.

    Raises:
        FileNotFoundError: they have not been fetched.
    """
    return _sha256(_published(config.backbone))


def empty_backbone(config: ModelConfig) -> Backbone:
    """The backbone with weights that are not set, for who loads them next."""
    build, read = {
        "sam_vit_b": (_sam, lambda encoder, images: encoder(images)),
        "mae_vit_b": (_mae, _read_mae),
        "tiny": (tiny.TinyViT, lambda encoder, images: encoder(images)),
    }[config.backbone]
    with torch.device("meta"):
        encoder = build(config.image_size) if build is _sam else build()
    return Backbone(encoder.to_empty(device="cpu"), read)


def load_encoder(encoder: nn.Module, weights: dict[str, Tensor], source: str) -> None:
    """Fill an encoder from tensors in either spelling of their names; errors as `load_strictly`."""
    unused = {key for keys in UNUSED.values() for key in keys}
    own = {spelled(key): key for key in encoder.state_dict()}
    renamed = {own.get(spelled(k), k): v for k, v in weights.items() if k not in unused}
    load_strictly(encoder, renamed, f"the image encoder in {source}")


def load_strictly(module: nn.Module, weights: dict[str, Tensor], source: str) -> None:
    """`load_state_dict` whose error is one sentence that names the first tensor that does not fit.

    Raises:
        ValueError: a tensor is missing, unexpected or of another shape.
    """
    own = module.state_dict()
    for key in sorted(own.keys() | weights.keys()):
        if key not in weights:
            raise ValueError(f"{source} lacks the tensor {key!r}")
        if key not in own:
            raise ValueError(f"{source} has the tensor {key!r}, for which the model has no place")
        if own[key].shape != weights[key].shape:
            shapes = f"{tuple(weights[key].shape)}, not {tuple(own[key].shape)}"
            raise ValueError(f"{source} has the tensor {key!r} in shape {shapes}")
    module.load_state_dict(weights)


def spelled(key: str) -> str:
    """A tensor's name as transformers 5 spells it."""
    for old, new in _SPELLINGS:
        key = re.sub(old, new, key)
    return key


def spelled_as_published(key: str) -> str:
    """A tensor's name as transformers 4 and the published checkpoints spell it."""
    key = re.sub(r"^layers\.", "encoder.layer.", key)
    names = {"q": "query", "k": "key", "v": "value"}
    key = re.sub(r"\.([qkv])_proj\.", lambda m: f".attention.{names[m[1]]}.", key)
    key = key.replace(".attention.o_proj.", ".attention.output.dense.")
    return key.replace(".mlp.fc1.", ".intermediate.dense.").replace(".mlp.fc2.", ".output.dense.")


def _sam(image_size: int) -> nn.Module:
    from functools import partial

    from segment_anything.modeling import ImageEncoderViT

    encoder = ImageEncoderViT(
        img_size=image_size,
        norm_layer=partial(nn.LayerNorm, eps=1e-6),
        use_rel_pos=True,
        window_size=14,
        global_attn_indexes=(2, 5, 8, 11),
    )
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
        return tiny.WEIGHTS
    what = {"sam_vit_b": "sam", "mae_vit_b": "mae"}[name]
    path = weights_folder() / WEIGHTS[what]
    if not path.is_file():
        raise FileNotFoundError(f"there is no {path}; python -m la fetch {what} gets it")
    return path


def _read(path: Path) -> dict[str, Tensor]:
    """The encoder's tensors in a file of its authors, without what surrounds them there."""
    if path.suffix == ".safetensors":
        from safetensors.torch import load_file

        weights = load_file(path)
    else:
        weights = torch.load(path, map_location="cpu", weights_only=True)
    for prefix in ("image_encoder.", "vit."):  # SAM as a whole; MAE with its decoder
        inner = {k.removeprefix(prefix): v for k, v in weights.items() if k.startswith(prefix)}
        weights = inner or weights
    return weights


@cache
def _sha256(path: Path) -> str:
    import hashlib

    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
