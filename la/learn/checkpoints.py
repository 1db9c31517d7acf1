"""Weights on disk: our own files, and the authors' published ones, in whose layout we also write.

Ours is one safetensors file with the `ModelConfig`, mode included, as JSON in its metadata. Theirs
is a folder with tensors named `model.*` and a config.json of what was passed to a constructor; what
the model is made of is read off the tensors. A pickle with code in it is never run.
"""

import json
import pickle
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save as to_bytes
from torch import Tensor

from la.config import ModelConfig
from la.data.download import AUTHORS, PUBLISHED
from la.errors import MissingFile, UserError
from la.files import write_whole
from la.model.backbone import (
    UNUSED,
    empty_backbone,
    file_sha256,
    load_encoder,
    load_strictly,
    spelled_as_published,
)
from la.model.label_anything import LabelAnything
from la.types import ModelCard

QUICK = Path(__file__).parents[1] / "weights" / "quick.safetensors"
FILE = "model.safetensors"  # of a published model's folder
MIXERS = ("class", "example", "class_example")


@dataclass(frozen=True)
class KnownModel:
    """A model that `load` knows by name; other ids on the Hugging Face hub load as well."""

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
    """A model in evaluation mode, from a known name, an id on the hub, a folder or a file.

    A hub model is fetched once, at the commit that is the newest then or that the id names after an
    `@`, and stays that one: what is new on the hub changes no result here. With an image encoder
    among the tensors `model.backbone` is set, else None; `model.card` says which weights they are.

    Raises ValueError if the file is no checkpoint or a tensor is missing, unexpected or mis-shaped,
    FileNotFoundError if there is nothing of that name.
    """
    path = _find(str(source))
    weights, options = _read(path)
    if weights and all(key.startswith("model.") for key in weights):
        weights = {key.removeprefix("model."): value for key, value in weights.items()}
    config = ModelConfig(**options["la"]) if "la" in options else infer(weights, options)
    prefix = "image_encoder."
    encoder = {k.removeprefix(prefix): v for k, v in weights.items() if k.startswith(prefix)}
    rest = {k: v for k, v in weights.items() if not k.startswith(prefix)}
    model = LabelAnything.empty(config)
    load_strictly(model, rest, str(source))
    if encoder:
        model.backbone = empty_backbone(config)
        load_encoder(model.backbone.encoder, encoder, str(source))
    known = next((k.trained_on for k in KNOWN if k.name == str(source)), "unknown data")
    name = path.name if path == Path(source) else str(source)
    model.card = ModelCard(name, file_sha256(path), options.get("trained_on") or known)
    return model.eval()


def infer(weights: dict[str, Tensor], options: dict) -> ModelConfig:
    """The configuration of a published model, read off its tensors, else off its options."""

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


def save(model: LabelAnything, path: Path, *, trained_on: str = "") -> None:
    """Write our own layout, without backbone: that is frozen and has weights of its own."""
    told = {"model": asdict(model.config), "trained_on": trained_on}
    metadata = {"la": json.dumps(told, sort_keys=True)}  # of two entries the order would vary
    write_whole(path, as_bytes(_without_backbone(model), metadata))


def save_official(model: LabelAnything, folder: Path) -> None:
    """Write model.safetensors and config.json into `folder`, in the published layout."""
    config, weights = model.config, _without_backbone(model)
    if model.backbone is not None:
        encoder = model.backbone.encoder.state_dict()
        encoder = {spelled_as_published(k): v for k, v in encoder.items()}
        encoder |= {k: torch.zeros(shape) for k, shape in UNUSED[config.backbone].items()}
        weights |= {f"image_encoder.{key}": value for key, value in encoder.items()}
    options = {
        "encoder": "vit_b_mae" if config.backbone == "mae_vit_b" else "vit_b",
        "image_size": config.image_size,
        "image_embed_dim": config.backbone_dim,
        "embed_dim": config.embed_dim,
        "custom_preprocess": config.resize == "pad",
        "class_attention": "class" in config.mixers,
        "example_attention": "example" in config.mixers,
        "example_class_attention": "class_example" in config.mixers,
        "fusion_transformer": "TwoWayTransformer",
        "spatial_convs": 3 if config.spatial_convs else None,
    }
    if config.token_pool:
        bank = {"bank_size": config.token_pool, "embed_dim": config.embed_dim}
        options["class_encoder"] = {"name": "RandomMatrixEncoder", **bank}
    write_whole(folder / "config.json", json.dumps(options, indent=2))
    write_whole(folder / FILE, as_bytes({f"model.{k}": v for k, v in weights.items()}))


def as_bytes(tensors: dict[str, Tensor], metadata: dict[str, str] | None = None) -> bytes:
    """A safetensors file's content."""
    tensors = {key: value.detach().cpu().contiguous() for key, value in tensors.items()}
    return to_bytes(tensors, metadata)


def _without_backbone(model: LabelAnything) -> dict[str, Tensor]:
    weights = model.state_dict().items()
    return {key: value for key, value in weights if not key.startswith("backbone.")}


def _find(source: str) -> Path:
    """The file with the tensors; a hub's is downloaded once and then found without a network."""
    path = QUICK if source == "quick" else Path(source)
    for candidate in (path, path / FILE):
        if candidate.is_file():
            return candidate
    if path.exists() or source.count("/") != 1 or path.suffix:
        known = ", ".join(model.name for model in KNOWN)
        raise MissingFile(
            f"no checkpoint at {source}; give a file, a folder with {FILE}, an id on "
            f"the Hugging Face hub, or one of: {known}"
        )
    from huggingface_hub import hf_hub_download, try_to_load_from_cache

    name, _, commit = source.partition("@")
    pin = {"repo_id": name, "revision": commit or "main"}
    try:
        if isinstance(kept := try_to_load_from_cache(filename=FILE, **pin), str):
            return Path(kept)
        hf_hub_download(filename="config.json", **pin)
        return Path(hf_hub_download(filename=FILE, **pin))
    except (OSError, ValueError) as error:
        raise MissingFile(
            f"{name} is not in the local cache, and the Hugging Face hub does not give it: {error}"
        ) from error


def _read(path: Path) -> tuple[dict[str, Tensor], dict]:
    """Tensors of a file, and its options: "la", ours, where it holds them, else the authors'."""
    config = path.parent / "config.json"
    if path.suffix == ".safetensors":
        try:
            with safe_open(path, "pt") as file:
                own = json.loads((file.metadata() or {}).get("la", "{}"))
                weights = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
        except SafetensorError as error:
            raise UserError(f"{path} is not a whole safetensors file: {error}") from None
        if own:
            model = {k: tuple(v) if isinstance(v, list) else v for k, v in own["model"].items()}
            return weights, {"la": model, "trained_on": own["trained_on"]}
    else:
        try:
            weights = torch.load(path, map_location="cpu", weights_only=True)
        except (pickle.UnpicklingError, RuntimeError, EOFError):
            raise UserError(
                f"{path} is refused: it is damaged, or a pickle that holds more than tensors and "
                "might run code when opened; ask for a .safetensors file, or save its state dict "
                "alone"
            ) from None
        if not (isinstance(weights, dict) and all(isinstance(v, Tensor) for v in weights.values())):
            raise UserError(f"{path} is not a state dict: expected names and tensors alone")
    return weights, json.loads(config.read_text()) if config.exists() else {}
