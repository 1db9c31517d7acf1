"""The published model's golden files and dense inputs, converted to our types."""

import functools
import hashlib
import json
import zlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from la.config import ModelConfig
from la.types import Batch, Features, Prompts
from tests.dense_reference import DenseInputs

SHRINK = {"mae480": 0.08, "mae256eca": 0.08, "sam1024": 0.05}


def unit(name: str, shape: tuple[int, ...]) -> np.ndarray:
    """The golden files' pseudo-random numbers of zero mean and unit variance."""
    with np.errstate(over="ignore"):
        z = np.uint64(zlib.crc32(name.encode()) << 32) + np.arange(np.prod(shape), dtype=np.uint64)
        z = (z + np.uint64(1)) * np.uint64(0x9E3779B97F4A7C15)
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        z = z ^ (z >> np.uint64(31))
    uniform = (z >> np.uint64(40)).astype(np.float64) / 2**24
    return ((uniform - 0.5) * np.sqrt(12)).astype(np.float32).reshape(shape)


@functools.cache
def weight(tag: str, key: str, shape: tuple[int, ...]) -> Tensor:
    """The weight or buffer `key` that belongs to a golden file's tag."""
    value = torch.from_numpy(unit(f"{tag}/{key}", shape))
    if key.endswith("gaussian_matrix") or (len(shape) >= 2 and shape[0] == 1):
        return value
    if len(shape) == 1 and key.endswith(".weight"):
        return 1 + 0.1 * value
    return SHRINK[tag] * value


def config_of(options: dict) -> ModelConfig:
    """The configuration that a golden file's options mean."""
    mixers = {
        "class_attention": "class",
        "example_attention": "example",
        "example_class_attention": "class_example",
    }
    padded = options["custom_preprocess"]
    return ModelConfig(
        backbone="sam_vit_b" if padded else "mae_vit_b",
        image_size=options["image_size"],
        resize="pad" if padded else "squash",
        embed_dim=options["embed_dim"],
        mixers=tuple(mixer for key, mixer in mixers.items() if options[key]),
        token_pool=options.get("class_encoder", {}).get("bank_size", 0),
        mode="exact",
    )


class GoldenFile:
    """One file: options, inputs and outputs."""

    def __init__(self, path: Path) -> None:
        self.arrays = dict(np.load(path))
        configuration, self.case = path.stem.split("__", 1)
        self.tag, self.size = configuration.split("_at_")
        self.config = config_of(json.loads(str(self.arrays["config_json"])))

    def weights(self, model: nn.Module) -> dict[str, Tensor]:
        """What the formula makes of the model's state dict."""
        return {key: weight(self.tag, key, tuple(x.shape)) for key, x in model.state_dict().items()}

    def __getitem__(self, key: str) -> Tensor:
        return torch.from_numpy(self.arrays[key])

    def inputs(self) -> DenseInputs:
        if "in/embeddings" in self.arrays:
            features = self["in/embeddings"]
        else:
            name = f"in/{self.tag}@{self.size}/{self.case}/embeddings"
            features = torch.from_numpy(unit(name, tuple(self.arrays["in/embeddings__shape"])))
        return DenseInputs(
            features=features,
            points=self["in/prompt_points"],
            point_flags=self["in/flag_points"],
            boxes=self["in/prompt_bboxes"],
            box_flags=self["in/flag_bboxes"],
            masks=torch.from_numpy(
                np.unpackbits(self.arrays["in/prompt_masks__packbits"], axis=-1)
            ).float(),
            mask_flags=self["in/flag_masks"],
            example_flags=self["in/flag_examples"],
            bank_rows=self["out/bank_rows"] if "out/bank_rows" in self.arrays else None,
            class_valid=self["in/flag_gts"].bool() if "in/flag_gts" in self.arrays else None,
        )

    @property
    def sizes(self) -> Tensor:
        """(B, 1 + M, 2) original sizes, the query's first."""
        return self["in/dims"]


class Trajectory:
    """One file of training steps: options, batches and what the official code made of them."""

    def __init__(self, path: Path) -> None:
        self.arrays = dict(np.load(path))
        self.tag = str(self.arrays["tag"])
        self.config = config_of(json.loads(str(self.arrays["config_json"])))
        self.schedule = self.arrays["schedule"].tolist()  # the batch of each step
        self.param_names = self.arrays["param_names"].tolist()

    def __getitem__(self, key: str) -> Tensor:
        return torch.from_numpy(self.arrays[key])

    def weights(self, model: nn.Module) -> dict[str, Tensor]:
        """What the formula makes of the model's state dict, in the model's precision."""
        state = model.state_dict().items()
        return {key: weight(self.tag, key, tuple(x.shape)).to(x.dtype) for key, x in state}

    def batch(self, step: int) -> Batch:
        """The batch of a step, with its target and the token rows of that step."""
        place = f"in/{self.schedule[step]}"
        name = str(self.arrays[f"{place}/embeddings__name"])
        features = unit(name, tuple(self.arrays[f"{place}/embeddings__shape"]))
        checksum = str(self.arrays[f"{place}/embeddings__sha256"])
        assert hashlib.sha256(features.tobytes()).hexdigest() == checksum
        packed = self.arrays[f"{place}/prompt_masks__packbits"]
        rows = self["in/bank_rows"][step]
        inputs = DenseInputs(
            features=torch.from_numpy(features),
            points=self[f"{place}/prompt_points"],
            point_flags=self[f"{place}/flag_points"],
            boxes=self[f"{place}/prompt_bboxes"],
            box_flags=self[f"{place}/flag_bboxes"],
            masks=torch.from_numpy(np.unpackbits(packed, axis=-1)).float(),
            mask_flags=self[f"{place}/flag_masks"],
            example_flags=self[f"{place}/flag_examples"],
            bank_rows=rows[rows >= 0].long() if len(rows) else None,
            class_valid=self[f"{place}/flag_gts"].bool(),
        )
        return replace(
            to_batch(inputs),
            target=self[f"{place}/target"].long(),
            query_size=self[f"{place}/dims"][:, 0],
        )


def to_batch(x: DenseInputs) -> Batch:
    """The dense inputs as a batch: only flagged examples, and no kind that nothing in it has."""
    b, m, c = x.example_flags.shape
    assert bool(x.example_flags[..., 0].all()), "every support image has a background pair"
    episode, support, row = x.example_flags[..., 1:].nonzero().unbind(1)
    row = row + 1
    at = (episode, support, row)
    n_points = x.points.shape[3] if bool((x.point_flags != 0).any()) else 0
    n_boxes = x.boxes.shape[3] if bool((x.box_flags != 0).any()) else 0
    (masked,) = x.mask_flags[at].nonzero(as_tuple=True)
    prompts = Prompts(
        masks=x.masks[at][masked],
        mask_example=masked,
        points=x.points[at][:, :n_points],
        point_labels=x.point_flags[at][:, :n_points].long(),
        boxes=x.boxes[at][:, :n_boxes],
        boxes_valid=x.box_flags[at][:, :n_boxes] != 0,
        example_support=episode * m + support,
        example_row=row,
    )
    rows = torch.zeros(c, dtype=torch.int64) if x.bank_rows is None else x.bank_rows
    valid = torch.ones(b, c, dtype=torch.bool) if x.class_valid is None else x.class_valid
    return Batch(
        source=Features(query=x.features[:, 0], support=x.features[:, 1:].flatten(0, 1)),
        support_episode=torch.arange(b).repeat_interleave(m),
        prompts=prompts,
        token_rows=rows.expand(b, c),
        class_valid=valid,
        target=torch.zeros(b, 1, 1, dtype=torch.int64),
        query_size=torch.zeros(b, 2, dtype=torch.int64),
    )


def small(config: ModelConfig, **changes) -> ModelConfig:
    """The architecture of `config` at a size for tests."""
    sizes = {"embed_dim": 32, "backbone_dim": 24, "mlp_dim": 48, "image_size": 96, "token_pool": 0}
    return replace(config, **(sizes | changes))


def official_logits(
    logits: Tensor, sizes: Tensor, canvas: tuple[int, int], image_size: int, padded: bool
) -> Tensor:
    """Logits (B, C, h, w) at the original sizes (B, 2), through the input frame, as published.

    They lie on a `canvas` (H, W) that holds all images of the batch, supports too; outside of its
    image a query is background. `padded`: the input was padded to a square, not squashed into one.
    """
    result = logits.new_full((*logits.shape[:2], *canvas), -torch.inf)
    result[:, 0] = 0
    square = _resize(logits, (image_size, image_size))
    for i, (height, width) in enumerate(sizes.tolist()):
        image = square[i : i + 1]
        if padded:
            scale = image_size / max(height, width)
            image = image[..., : int(height * scale + 0.5), : int(width * scale + 0.5)]
        result[i, :, :height, :width] = _resize(image, (height, width))[0]
    return result


def _resize(logits: Tensor, size: tuple[int, int]) -> Tensor:
    return F.interpolate(logits, size, mode="bilinear", align_corners=False)
