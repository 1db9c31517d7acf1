"""Writes a model in the authors' file format: tensors named `model.*` and a config.json."""

import json
from pathlib import Path

import torch

from la.files import write_whole
from la.learn.weights.checkpoints import as_bytes
from la.learn.weights.hub import FILE
from la.model.backbones.vit import NAMES
from la.model.label_anything import LabelAnything

UNUSED = {  # tensors of the authors' encoders that play no role, with their shapes
    "mae_vit_b": {"pooler.dense.weight": (768, 768), "pooler.dense.bias": (768,)},
    "sam_vit_b": {
        "neck.0.weight": (256, 768, 1, 1),
        "neck.1.weight": (256,),
        "neck.1.bias": (256,),
        "neck.2.weight": (256, 256, 3, 3),
        "neck.3.weight": (256,),
        "neck.3.bias": (256,),
    },
}


def published_name(key: str) -> str:
    """The name of a tensor of MAE as transformers 4 and published checkpoints have it."""
    for published, new in NAMES:
        key = key.replace(new, published)
    return key


def write_published(model: LabelAnything, folder: Path, *, without: str = "") -> None:
    """Write model.safetensors and config.json into `folder`, with the encoder if it is set.

    Args:
        model: whose weights are written.
        folder: gets both files.
        without: the name of a tensor that is left out, before it gets its prefix `model.`.
    """
    config = model.config
    weights = {k: v for k, v in model.state_dict().items() if not k.startswith("backbone.")}
    if model.backbone is not None:
        for key, value in model.backbone.encoder.state_dict().items():
            weights[f"image_encoder.{published_name(key)}"] = value
        for key, shape in UNUSED[config.backbone].items():
            weights[f"image_encoder.{key}"] = torch.zeros(shape)
    if without:
        del weights[without]
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
        options["class_encoder"] = {
            "name": "RandomMatrixEncoder",
            "bank_size": config.token_pool,
            "embed_dim": config.embed_dim,
        }
    write_whole(folder / "config.json", json.dumps(options, indent=2))
    write_whole(folder / FILE, as_bytes({f"model.{k}": v for k, v in weights.items()}))
