"""Builds the frozen image encoders, images (B, 3, H, W) to features (B, V, h, w) (paper 3.2)."""

import hashlib
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from la.config import ModelConfig
from la.errors import UserError
from la.model.backbones import backbone_spec
from la.model.backbones.spec import BackboneSpec


class Backbone(nn.Module):
    """An encoder that stays in evaluation mode and is never trained."""

    def __init__(self, spec: BackboneSpec, encoder: nn.Module) -> None:
        super().__init__()
        self.spec = spec
        self.encoder = encoder
        self.requires_grad_(False).eval()

    def forward(self, images: Tensor) -> Tensor:
        with torch.no_grad():
            return self.spec.read(self.encoder, images)

    def train(self, mode: bool = True) -> "Backbone":
        return super().train(False)

    def load(self, weights: dict[str, Tensor], source: str) -> None:
        """Set the encoder's weights; tensors may have any of the names that the spec accepts.

        Args:
            source: the file's name, for messages.

        Raises:
            UserError: a tensor is missing, unexpected or mis-shaped.
        """
        canonical = self.spec.canonical
        own_names = {}
        for key in self.encoder.state_dict():
            own_names[canonical(key)] = key
        renamed = {}
        for key, value in weights.items():
            if not key.startswith(self.spec.unused):
                renamed[own_names.get(canonical(key), key)] = value
        load_strictly(self.encoder, renamed, f"the image encoder in {source}")


def build_backbone(config: ModelConfig) -> Backbone:
    """The pretrained backbone of a configuration.

    Raises:
        MissingFile: its weights are not on this machine.
        UserError: the file is not the published one, or `config` names another shape of features.
    """
    spec = backbone_spec(config.backbone)
    if (config.backbone_dim, config.patch_size) != (spec.dim, spec.patch_size):
        raise UserError(
            f"backbone {spec.name} gives {spec.dim} channels in cells of {spec.patch_size} pixels; "
            f"set backbone_dim and patch_size to these"
        )
    path = spec.weights.path()
    tensors = _read(path, spec)
    encoder = {}
    for key, value in tensors.items():
        if key.startswith(spec.prefix):
            encoder[key.removeprefix(spec.prefix)] = value
    backbone = empty_backbone(config)
    backbone.load(encoder or tensors, str(path))
    return backbone


def empty_backbone(config: ModelConfig) -> Backbone:
    """The backbone of a configuration with weights that are not set, to be loaded next."""
    spec = backbone_spec(config.backbone)
    with torch.device("meta"):
        encoder = spec.build(config.image_size)
    return Backbone(spec, encoder.to_empty(device="cpu"))


def weights_sha256(config: ModelConfig) -> str:
    """SHA-256 of the file that `build_backbone` reads.

    Raises:
        MissingFile: it is not on this machine.
    """
    return file_sha256(backbone_spec(config.backbone).weights.path())


def file_sha256(path: Path) -> str:
    """SHA-256 of a file, in hex."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def load_strictly(
    module: nn.Module,
    weights: dict[str, Tensor],
    source: str,
) -> None:
    """`load_state_dict` that names the first tensor that does not fit.

    Raises:
        UserError: a tensor is missing, unexpected or mis-shaped.
    """
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


def _read(path: Path, spec: BackboneSpec) -> dict[str, Tensor]:
    """The tensors of a spec's file by name; code in a pickle is not run."""
    expected = spec.weights.sha256
    if expected and (actual := file_sha256(path)) != expected:
        raise UserError(
            f"{path} is not the published file of {spec.name}, as its SHA-256 is {actual}; "
            f"delete it, then {spec.weights.remedy}"
        )
    if path.suffix == ".safetensors":
        try:
            return load_file(path)
        except SafetensorError as error:
            raise UserError(f"{path} is not a whole safetensors file: {error}") from None
    return torch.load(path, map_location="cpu", weights_only=True)
