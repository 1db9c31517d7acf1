"""How features are rounded where `LA_FEATURES` does not say it: float16, or int8 on a short disk.

int8 takes half the bytes. Runs and results of the two are apart, so a workbench keeps to the
features that its cache holds. Only where nothing is made yet can the disk decide, and then
`settle` makes the empty folder from which every later process knows the choice.
"""

import logging
import os
from pathlib import Path
from typing import TYPE_CHECKING

from la.config import Config
from la.data.features import FeatureKey
from la.data.packing import FORMATS, Numbers, chosen_numbers
from la.errors import MissingFile
from la.files import check_disk

if TYPE_CHECKING:
    from la.experiment.workbench import Workbench

log = logging.getLogger(__name__)

SHORT_DISK = (
    "The disk is too small for features in float16, so they are rounded to int8, which takes half "
    "the bytes; LA_FEATURES=float16 prevents it."
)
AS_BEFORE = (
    "Features are rounded to int8, as those in the cache are; LA_FEATURES=float16 makes others."
)


def feature_bytes(config: Config, features: str) -> int:
    """Bytes of an image in the cache; 0 where nothing is kept."""
    model = config.model
    cells = model.image_size // model.patch_size
    if features == "none":
        return 0
    return FORMATS[features]((model.backbone_dim, cells, cells)).n_bytes


def feature_root(bench: "Workbench") -> Path:
    """Where the feature caches of all backbones are."""
    return bench.home / "cache" / "features"


def feature_key(bench: "Workbench", numbers: Numbers) -> FeatureKey:
    """Names the cache of a profile's features that are rounded in one way.

    Raises:
        MissingFile: the backbone's weights are not on this machine.
    """
    model = bench.config.model
    return FeatureKey(
        model.backbone, bench.backbone_sha256, model.image_size, model.resize, numbers
    )


def numbers_of(bench: "Workbench") -> Numbers:
    """What `LA_FEATURES` says; else int8 where only a cache of that exists, and float16 elsewhere.

    Raises:
        UserError: there is no such format.
    """
    if is_told(bench) or _exists(bench, "float16"):
        return chosen_numbers()
    return "int8" if _exists(bench, "int8") else "float16"


def is_told(bench: "Workbench") -> bool:
    """Whether no cache and no disk can change the format.

    The results of the embedded data that come with the package are of float16, and their
    features are small.
    """
    embedded = bench.config.data == "embedded" and bench.source is None
    return embedded or bool(os.environ.get("LA_FEATURES"))


def may_settle(bench: "Workbench") -> bool:
    """Whether the disk may decide, because no features of the profile are there."""
    return not (is_told(bench) or _exists(bench, "float16") or _exists(bench, "int8"))


def settle(bench: "Workbench", numbers: Numbers) -> None:
    """From now on the profile's features have the planned format; one rank calls this for all."""
    if numbers == bench.numbers:
        return
    log.warning(SHORT_DISK)
    folder = feature_root(bench) / feature_key(bench, numbers).folder
    folder.mkdir(parents=True, exist_ok=True)


def settle_if_short(bench: "Workbench", n_images: int) -> None:
    """Settle where the disk has no room for the features of so many images in float16."""
    if not may_settle(bench):
        return
    try:
        check_disk({bench.home: n_images * feature_bytes(bench.config, "float16")})
    except OSError:
        settle(bench, "int8")


def _exists(bench: "Workbench", numbers: Numbers) -> bool:
    """Whether there is a cache of this format, be it empty."""
    root = feature_root(bench)
    if not root.is_dir():  # then the weights need not be read
        return False
    try:
        key = feature_key(bench, numbers)
    except MissingFile:
        return False
    return (root / key.folder).is_dir()
