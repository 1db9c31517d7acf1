"""Encodes images with the frozen backbone: once, into the feature cache, or at each use."""

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import cache
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from la.config import ModelConfig
from la.data.coco.index import CocoIndex
from la.data.feature_cache.image_features import ImageFeatures
from la.data.sampling.geometry import Frame
from la.learn.device import to_device
from la.learn.precision import tf32
from la.model.backbone import Backbone, build_backbone
from la.types import Batch, Episode, Features, Pixels

if TYPE_CHECKING:  # la.learn.run imports pandas, which a command about data does not need
    from la.learn.run import Batches

THREADS = 4  # that read images


def keeps_features() -> bool:
    """Whether features are cached on disk; with `LA_FEATURES=none` nothing is kept."""
    return os.environ.get("LA_FEATURES") != "none"


def input_image(index: CocoIndex, image_id: int, model: ModelConfig) -> Tensor:
    """(3, S, S): an image as the backbone's input."""
    image = index.read_image(image_id)
    size = image.height, image.width
    return Frame(size, model.image_size, model.resize).image(image)


def cache_features(
    store: ImageFeatures, image_ids: Iterable[int], model: ModelConfig, device: torch.device
) -> None:
    """Encode the images that the cache lacks.

    A GPU encodes them with TF32, whose 10 bits of mantissa are as many as float16 stores.
    """
    backbone = build_backbone(model).to(device)

    def load(image_id: int) -> Tensor:
        return input_image(store.index, image_id, model)

    def encode(images: Tensor) -> Tensor:
        return backbone(images.to(device))

    with tf32(True):
        store.write(image_ids, load, encode, batch_size=backbone.spec.batch_size(device))


def encode(images: Tensor, model: ModelConfig, device: torch.device) -> Tensor:
    """(n, 3, S, S) -> features (n, V, h, w) float16 on the device; a GPU computes in bfloat16."""
    backbone = _backbone(model, device)
    parts = []
    with torch.autocast(device.type, torch.bfloat16, enabled=device.type == "cuda"):
        for part in images.split(backbone.spec.batch_size(device)):
            parts.append(backbone(to_device(part, device)).half())
    return torch.cat(parts)


@dataclass(frozen=True)
class EncodedImages:
    """The features of an index's images, encoded each time they are read."""

    index: CocoIndex
    model: ModelConfig
    device: torch.device

    def read(self, image_ids: Sequence[int]) -> Tensor:
        """Features (n, V, h, w) in float16, in the order of the ids."""
        unique = list(dict.fromkeys(image_ids))
        with ThreadPoolExecutor(THREADS) as pool:
            images = list(pool.map(self._load, unique))
        features = encode(torch.stack(images), self.model, self.device).cpu()
        return features[[unique.index(image_id) for image_id in image_ids]]

    def _load(self, image_id: int) -> Tensor:
        # Rounded as in training, so that an image has the same features in both.
        return input_image(self.index, image_id, self.model).half()


@dataclass(frozen=True)
class HalfPixels:
    """Loads batches of pixels in float16, half the bytes that go from a worker to the GPU."""

    loader: Callable[[list[Episode]], Batch]

    def __call__(self, episodes: list[Episode]) -> Batch:
        """The batch of the episodes."""
        batch = self.loader(episodes)
        source = Pixels(batch.source.query.half(), batch.source.support.half())
        return replace(batch, source=source)


def encoded(batches: "Batches", model: ModelConfig, device: torch.device) -> "Batches":
    """Batches of pixels as batches of features, encoded in the process that trains."""

    def load(numbers: list[int]) -> Iterator[Batch]:
        for batch in batches(numbers):
            images = torch.cat([batch.source.query, batch.source.support])
            features = encode(images, model, device)
            n_queries = len(batch.source.query)
            yield replace(batch, source=Features(features[:n_queries], features[n_queries:]))

    return load


@cache
def _backbone(model: ModelConfig, device: torch.device) -> Backbone:
    """The backbone on the device, built once."""
    return build_backbone(model).to(device)
