"""Weights on disk: files of our own, and the authors' published ones.

Ours is one safetensors file whose metadata holds the `ModelConfig`, mode included, as JSON.
Theirs is a folder with a file of tensors named `model.*` and a config.json that lists only
the arguments passed to a constructor, so the architecture is inferred from the tensors.
Pickles are loaded without running any code in them.
"""

import json
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, TypeVar, cast

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save as to_bytes
from torch import Tensor, nn

from la.config import Mixer, ModelConfig
from la.errors import UserError
from la.files import write_whole
from la.learn.weights import hub
from la.model.backbone import empty_backbone, file_sha256, load_strictly
from la.model.backbones import MAE, SAM
from la.model.label_anything import LabelAnything
from la.types import ModelCard

MIXERS: tuple[Mixer, ...] = ("class", "example", "class_example")
Network = TypeVar("Network", bound=nn.Module)
ENCODER = "image_encoder."  # names of the backbone's tensors begin with it


def load(source: str | Path) -> LabelAnything:
    """Load a model in evaluation mode.

    A hub model is downloaded once, at the newest commit or at the one that the id names
    after an `@`, and then read from the cache: later commits change no result here.

    Args:
        source: a known name, an id on the Hugging Face hub, a folder or a file.

    Returns:
        The model. `model.backbone` is set if the file has an image encoder, else None;
        `model.card` identifies the weights.

    Raises:
        UserError: the file is not a checkpoint, or a tensor is missing, unexpected or
            mis-shaped.
        MissingFile: there is nothing of that name, or it cannot be downloaded.
    """
    path = hub.find(str(source))
    weights, note = _read(path)
    if note.method:
        raise UserError(
            f"{path} holds weights of the comparator {note.method}, and only Label Anything can "
            "be loaded here; --methods, or METHODS for make, makes the comparator a row of a table"
        )
    if all(key.startswith("model.") for key in weights):
        weights = {key.removeprefix("model."): value for key, value in weights.items()}
    config = note.config or infer(weights, _options(path))
    encoder, rest = {}, {}
    for key, value in weights.items():
        if key.startswith(ENCODER):
            encoder[key.removeprefix(ENCODER)] = value
        else:
            rest[key] = value
    model = LabelAnything.empty(config)
    load_strictly(model, rest, str(source))
    if encoder:
        backbone = empty_backbone(config)
        backbone.load(encoder, str(source))
        model.backbone = backbone
    model.card = ModelCard(
        name=path.name if path == Path(source) else str(source),
        sha256=file_sha256(path),
        trained_on=note.trained_on or _listed_data(str(source)),
        bias=note.bias,
    )
    return model.eval()


def infer(weights: dict[str, Tensor], options: dict) -> ModelConfig:
    """The configuration of a published model: inferred from its tensors as far as possible.

    Args:
        weights: by name, without the leading `model.`.
        options: of the authors' config.json; missing ones have the defaults of their code.

    Raises:
        UserError: a tensor that every Label Anything model has is missing.
    """

    def size(key: str, axis: int) -> int:
        if key not in weights:
            raise UserError(f"not a Label Anything checkpoint: it lacks the tensor {key!r}")
        return weights[key].shape[axis]

    encoder = "prompt_encoder."
    dim = size(encoder + "no_mask_embed.weight", 1)
    inner = size(encoder + "transformer.layers.0.cross_attn_token_to_image.q_proj.weight", 0)
    bank = encoder + "class_encoder.pos_embedding"
    is_mae = _is_mae(weights, options)
    pads = options.get("custom_preprocess", bool(options) or not is_mae)
    return ModelConfig(
        backbone=MAE.name if is_mae else SAM.name,
        image_size=options.get("image_size", 480 if is_mae else 1024),
        resize="pad" if pads else "squash",
        backbone_dim=size("neck.0.weight", 1) if "neck.0.weight" in weights else dim,
        embed_dim=dim,
        mask_channels=size(encoder + "mask_downscaling.3.weight", 0),
        mlp_dim=size(encoder + "sparse_embedding_attention.mlp.lin1.weight", 0),
        attention_downsample=dim // inner,
        logit_downsample=dim // size("mask_decoder.class_mlp.layers.2.weight", 0),
        mixers=tuple(m for m in MIXERS if f"{encoder}{m}_attention.norm.weight" in weights),
        token_pool=size(bank, 2) if bank in weights else 0,
        spatial_convs="mask_decoder.spatial_convs.0.weight" in weights,
        mode="exact",
    )


def _is_mae(weights: dict[str, Tensor], options: dict) -> bool:
    """Whether a published model works on the features of MAE; else on those of SAM."""
    if ENCODER + "embeddings.cls_token" in weights:
        return True
    if "mae" in str(options.get("encoder", "")):
        return True
    # Without an encoder in the file: only models on MAE's features squash their images.
    squashes = not options.get("custom_preprocess", True)
    return squashes and ENCODER + "pos_embed" not in weights


def load_comparator(network: type[Network], path: Path) -> tuple[Network, ModelCard]:
    """Load a comparator that a training run saved, in evaluation mode.

    Args:
        network: its class, which is constructed from a `ModelConfig`.

    Raises:
        UserError: the file holds another method's weights, or they do not fit.
    """
    weights, note = _read(path)
    if note.config is None or note.method != network.__name__:
        raise UserError(
            f"{path} holds weights of {note.method or 'Label Anything'}, not of "
            f"{network.__name__}; --recompute, or RECOMPUTE=1 for make, "
            "trains the method again"
        )
    model = network(note.config)
    load_strictly(model, weights, str(path))
    card = ModelCard(path.name, file_sha256(path), note.trained_on, note.bias)
    return model.eval(), card


def save(
    model: nn.Module,
    path: Path,
    *,
    trained_on: str = "",
    bias: float = 0.0,
) -> None:
    """Write a file in our format, without the backbone, which is frozen and has its own file.

    Args:
        model: Label Anything, or a comparator, whose class the file then names.
        trained_on: data and classes, for people to read.
        bias: added to the background's logit, calibrated on seen classes.
    """
    config = asdict(cast(ModelConfig, model.config))
    note = {"model": config, "trained_on": trained_on, "bias": bias}
    if not isinstance(model, LabelAnything):
        note["method"] = type(model).__name__
    # One entry, as safetensors writes several in no fixed order.
    metadata = {"la": json.dumps(note, sort_keys=True)}
    weights = {}
    for key, value in model.state_dict().items():
        if not key.startswith("backbone."):
            weights[key] = value
    write_whole(path, as_bytes(weights, metadata))


def as_bytes(tensors: dict[str, Tensor], metadata: dict[str, str] | None = None) -> bytes:
    """The content of a safetensors file."""
    tensors = {key: value.detach().cpu().contiguous() for key, value in tensors.items()}
    return to_bytes(tensors, metadata)


def _listed_data(source: str) -> str:
    """The training data of a model that is known by name."""
    for known in hub.KNOWN:
        if known.name == source:
            return known.trained_on
    return "unknown data"


@dataclass(frozen=True)
class _Note:
    """The metadata of a file of ours; another file has none."""

    config: ModelConfig | None = None
    trained_on: str = ""
    bias: float = 0.0
    method: str = ""  # the class of a comparator; "" for Label Anything


def _read(path: Path) -> tuple[dict[str, Tensor], _Note]:
    """The tensors of a file by name, and its metadata."""
    if path.suffix != ".safetensors":
        return _read_pickle(path), _Note()
    try:
        with safe_open(path, "pt") as file:
            metadata = file.metadata() or {}
            weights = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
    except SafetensorError as error:
        raise UserError(f"{path} is not a complete safetensors file: {error}") from None
    if "la" not in metadata:
        return weights, _Note()
    note = json.loads(metadata["la"])
    config = _model_config(note["model"], path)
    bias, method = note.get("bias", 0.0), note.get("method", "")
    return weights, _Note(config, note["trained_on"], bias, method)


def _model_config(values: dict[str, Any], path: Path) -> ModelConfig:
    """A configuration from JSON, which has lists for tuples; UserError for an unknown field."""
    known = {field.name for field in fields(ModelConfig)}
    for name, value in values.items():
        if name not in known:
            raise UserError(
                f"{path} has the configuration field {name!r}, which this version of the code "
                "does not know; load it with the version that wrote it, or train the model again"
            )
        if isinstance(value, list):
            values[name] = tuple(value)
    return ModelConfig(**values)


def _read_pickle(path: Path) -> dict[str, Tensor]:
    """The tensors of a state dict that `torch.save` wrote; code in the file is not run."""
    try:
        weights = torch.load(path, map_location="cpu", weights_only=True)
    except Exception:  # the unpickler raises all kinds of errors on other files
        raise UserError(
            f"{path} cannot be loaded: it is damaged, or a pickle that holds more than tensors and "
            "might run code when opened; ask for a .safetensors file, or save its state dict "
            "alone"
        ) from None
    if not (isinstance(weights, dict) and all(isinstance(v, Tensor) for v in weights.values())):
        raise UserError(f"{path} is not a state dict: expected only names and tensors")
    return weights


def _options(path: Path) -> dict:
    """The options in the config.json beside a file; {} without one."""
    config = path.parent / "config.json"
    return json.loads(config.read_text()) if config.exists() else {}
