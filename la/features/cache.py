"""The cache of features: where those of a profile are, how they are rounded, and what is missing.

`LA_FEATURES` says how they are rounded: float16, or int8, which takes half the bytes. Runs and
results of the two are kept apart, so if it is not set a profile uses the format of its cache.
"""

import os
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path

import torch

from la.config import ModelConfig
from la.data.coco.index import CocoIndex
from la.data.feature_cache.features import FeatureKey, FeatureStore
from la.data.feature_cache.image_features import ImageFeatures
from la.data.feature_cache.packing import Numbers, chosen_numbers
from la.errors import MissingFile
from la.features.encoding import EncodedImages, cache_features, keeps_features
from la.model.backbone import weights_sha256


@dataclass(frozen=True)
class FeatureCache:
    """The features that the frozen backbone of a profile gives in its frame."""

    folder: Path  # of the caches of all backbones
    model: ModelConfig
    embedded: bool  # whether the images are those that come with the package
    rounding: Numbers | None = None  # None: see `numbers`

    @cached_property
    def backbone_sha256(self) -> str:
        """SHA-256 of the frozen backbone's weights."""
        return weights_sha256(self.model)

    @property
    def source(self) -> str:
        """What features depend on besides the image: the backbone, and how they are rounded."""
        if not keeps_features():
            return f"{self.backbone_sha256} on the fly"
        exact = self.numbers == "float16"
        return self.backbone_sha256 if exact else f"{self.backbone_sha256} in {self.numbers}"

    @property
    def numbers(self) -> Numbers:
        """`LA_FEATURES` if it is set, else int8 if a cache exists only in int8, else float16.

        Raises:
            UserError: there is no such format.
        """
        if self.rounding:
            return self.rounding
        if self.is_fixed or self.exists("float16"):
            return chosen_numbers()
        return "int8" if self.exists("int8") else "float16"

    @property
    def is_fixed(self) -> bool:
        """Whether no cache and no disk can change the format.

        The results of the embedded data that come with the package are of float16, and their
        features are small.
        """
        return self.embedded or bool(os.environ.get("LA_FEATURES"))

    def key(self, numbers: Numbers) -> FeatureKey:
        """Names the folder of the features that are rounded in one way.

        Raises:
            MissingFile: the backbone's weights are not on this machine.
        """
        model = self.model
        return FeatureKey(
            model.backbone, self.backbone_sha256, model.image_size, model.resize, numbers
        )

    def exists(self, numbers: Numbers) -> bool:
        """Whether there is a cache of this format, even if it is empty."""
        if not self.folder.is_dir():  # then the weights need not be read
            return False
        try:
            key = self.key(numbers)
        except MissingFile:
            return False
        return (self.folder / key.folder).is_dir()

    def store(self, index: CocoIndex) -> ImageFeatures:
        """The features of an index as they are; nothing is computed."""
        return ImageFeatures(index, _store(self.folder, self.key(self.numbers)))

    def features(
        self, index: CocoIndex, image_ids: Iterable[int] | None, device: torch.device
    ) -> ImageFeatures | EncodedImages:
        """The features of all images of the index, or of these; or what encodes each read."""
        if not keeps_features():
            return EncodedImages(index, self.model, device)
        store = self.store(index)
        missing = store.missing(index.image_ids if image_ids is None else image_ids)
        if missing:
            cache_features(store, missing, self.model, device)
        return store


_store = cache(FeatureStore)
