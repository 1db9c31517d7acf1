"""Weights on disk: files of our own, and the authors' published ones.

Ours is one safetensors file whose metadata holds the `ModelConfig`, mode included, as JSON.
Theirs is a folder with a file of tensors named `model.*` and a config.json that lists only
the arguments passed to a constructor, so the architecture is inferred from the tensors.
Pickles are loaded without running any code in them.
"""

import json
import pickle
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save as to_bytes
from torch import Tensor

from la.config import Mixer, ModelConfig
from la.data.download import AUTHORS, PUBLISHED
from la.errors import MissingFile, UserError
from la.files import write_whole
from la.model.backbone import (
    empty_backbone,
    file_sha256,
    load_encoder,
    load_strictly,
)
from la.model.label_anything import LabelAnything
from la.types import ModelCard

QUICK = Path(__file__).parents[1] / "weights" / "quick.safetensors"
FILE_SUFFIXES = (".safetensors", ".pt", ".pth", ".ckpt", ".bin")  # no id on the hub ends so
FILE = "model.safetensors"  # of a published model's folder
MIXERS: tuple[Mixer, ...] = ("class", "example", "class_example")


@dataclass(frozen=True)
class KnownModel:
    """A model that `load` knows by name; it loads other ids on the Hugging Face hub as well."""

    name: str
    megabytes: int
    source: str
    licence: str
    trained_on: str


_HUB = ("https://huggingface.co/pasqualedem", "MIT (the authors' code)")
KNOWN = (
    KnownModel("quick", 4, "this package", "MIT", "the embedded data set, seen classes of fold 0"),
    *(
        KnownModel(name, 381, *_HUB, f"COCO-20i, seen classes of fold {fold}")
        for fold, name in enumerate(PUBLISHED)
    ),
    KnownModel(AUTHORS + "mae_480_coco", 381, *_HUB, "COCO, all classes"),
    KnownModel(AUTHORS + "sam_1024_coco", 468, *_HUB, "COCO, all classes"),
)


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
        UserError: the file is no checkpoint, or a tensor is missing, unexpected or
            mis-shaped.
        MissingFile: there is nothing of that name.
    """
    path = _find(str(source))
    weights, note = _read(path)
    if weights and all(key.startswith("model.") for key in weights):
        weights = {key.removeprefix("model."): value for key, value in weights.items()}
    config = note.config or infer(weights, _options(path))
    prefix = "image_encoder."
    encoder = {k.removeprefix(prefix): v for k, v in weights.items() if k.startswith(prefix)}
    rest = {k: v for k, v in weights.items() if not k.startswith(prefix)}
    model = LabelAnything.empty(config)
    load_strictly(model, rest, str(source))
    if encoder:
        backbone = empty_backbone(config)
        load_encoder(backbone.encoder, encoder, str(source))
        model.backbone = backbone
    listed = [known.trained_on for known in KNOWN if known.name == str(source)]
    model.card = ModelCard(
        name=path.name if path == Path(source) else str(source),
        sha256=file_sha256(path),
        trained_on=note.trained_on or (listed[0] if listed else "unknown data"),
        bias=note.bias,
    )
    return model.eval()


def infer(weights: dict[str, Tensor], options: dict) -> ModelConfig:
    """The configuration of a published model: inferred from its tensors where they tell.

    Args:
        weights: by name, without the leading `model.`.
        options: of the authors' config.json; the defaults of their code where it is silent.

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
    is_mae = (
        "image_encoder.embeddings.cls_token" in weights
        or "mae" in str(options.get("encoder", ""))
        or ("image_encoder.pos_embed" not in weights and not options.get("custom_preprocess", True))
    )
    padded = options.get("custom_preprocess", bool(options) or not is_mae)
    return ModelConfig(
        backbone="mae_vit_b" if is_mae else "sam_vit_b",
        image_size=options.get("image_size", 480 if is_mae else 1024),
        resize="pad" if padded else "squash",
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


def save(model: LabelAnything, path: Path, *, trained_on: str = "", bias: float = 0.0) -> None:
    """Write our own file, without the backbone: that is frozen and has a file of its own.

    Args:
        trained_on: data and classes, for people to read.
        bias: added to the background's logit, calibrated on seen classes.
    """
    note = {"model": asdict(model.config), "trained_on": trained_on, "bias": bias}
    # One entry, as safetensors writes several in no fixed order.
    metadata = {"la": json.dumps(note, sort_keys=True)}
    weights = model.state_dict().items()
    own = {key: value for key, value in weights if not key.startswith("backbone.")}
    write_whole(path, as_bytes(own, metadata))


def as_bytes(tensors: dict[str, Tensor], metadata: dict[str, str] | None = None) -> bytes:
    """The content of a safetensors file."""
    tensors = {key: value.detach().cpu().contiguous() for key, value in tensors.items()}
    return to_bytes(tensors, metadata)


def _find(source: str) -> Path:
    """The file with the tensors of a source, downloaded if it is on the hub."""
    path = QUICK if source == "quick" else Path(source)
    for candidate in (path, path / FILE):
        if candidate.is_file():
            return candidate
    name, _, commit = source.partition("@")
    listed = name in [model.name for model in KNOWN]
    # An id on the hub is OWNER/NAME, and so is a mistyped path; a path's folder exists.
    looks_like_id = name.count("/") == 1 and not path.parent.is_dir() and name[0] not in "./~"
    if path.exists() or path.suffix in FILE_SUFFIXES or not (listed or looks_like_id):
        known = ", ".join(model.name for model in KNOWN)
        raise MissingFile(
            f"no checkpoint at {source}; give a file, a folder with {FILE}, an id on "
            f"the Hugging Face hub, or one of: {known}"
        )
    return _from_hub(name, commit or "main")


def _from_hub(name: str, revision: str) -> Path:
    """The file with the tensors of a hub model; from the cache once it has been downloaded."""
    from huggingface_hub import hf_hub_download, try_to_load_from_cache

    try:
        cached = try_to_load_from_cache(repo_id=name, filename=FILE, revision=revision)
        if isinstance(cached, str):
            return Path(cached)
        hf_hub_download(repo_id=name, filename="config.json", revision=revision)
        return Path(hf_hub_download(repo_id=name, filename=FILE, revision=revision))
    except (OSError, ValueError) as error:
        raise MissingFile(
            f"{name} is not in the local cache, and the Hugging Face hub does not give it: {error}"
        ) from error


@dataclass(frozen=True)
class _Note:
    """What a file of ours says of itself; another file says nothing."""

    config: ModelConfig | None = None
    trained_on: str = ""
    bias: float = 0.0


def _read(path: Path) -> tuple[dict[str, Tensor], _Note]:
    """The tensors of a file by name, and its note."""
    if path.suffix != ".safetensors":
        return _read_pickle(path), _Note()
    try:
        with safe_open(path, "pt") as file:
            metadata = file.metadata() or {}
            weights = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
    except SafetensorError as error:
        raise UserError(f"{path} is not a whole safetensors file: {error}") from None
    if "la" not in metadata:
        return weights, _Note()
    told = json.loads(metadata["la"])
    model: dict[str, Any] = {}
    for name, value in told["model"].items():
        model[name] = tuple(value) if isinstance(value, list) else value  # JSON has no tuples
    unknown = sorted(model.keys() - {field.name for field in fields(ModelConfig)})
    if unknown:
        raise UserError(
            f"{path} has the configuration field {unknown[0]!r}, which this version of the code "
            "does not know; load it with the version that wrote it, or train the model again"
        )
    return weights, _Note(ModelConfig(**model), told["trained_on"], told.get("bias", 0.0))


def _read_pickle(path: Path) -> dict[str, Tensor]:
    """The tensors of a state dict that `torch.save` wrote; code in the file is not run."""
    try:
        weights = torch.load(path, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError):
        raise UserError(
            f"{path} cannot be loaded: it is damaged, or a pickle that holds more than tensors and "
            "might run code when opened; ask for a .safetensors file, or save its state dict "
            "alone"
        ) from None
    if not (isinstance(weights, dict) and all(isinstance(v, Tensor) for v in weights.values())):
        raise UserError(f"{path} is not a state dict: expected names and tensors alone")
    return weights


def _options(path: Path) -> dict:
    """The options in the config.json beside a file; {} without one."""
    config = path.parent / "config.json"
    return json.loads(config.read_text()) if config.exists() else {}
