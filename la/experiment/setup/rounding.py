"""Features are rounded to int8 where the disk is too small, unless `LA_FEATURES` names a format.

This is decided once, before any features of a profile exist: `settle` makes their empty folder, by
which every later process knows the format.
"""

import logging

from la.config import Config
from la.data.feature_cache.packing import FORMATS, Numbers
from la.experiment.setup.workbench import Workbench
from la.files import check_disk

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


def may_settle(bench: Workbench) -> bool:
    """Whether the format is still open: no features of the profile exist, and none is named."""
    cache = bench.cache
    return not (cache.is_fixed or cache.exists("float16") or cache.exists("int8"))


def settle(bench: Workbench, numbers: Numbers) -> None:
    """Keep the planned format for all later processes; one rank calls this for all."""
    if numbers == bench.numbers:
        return
    log.warning(SHORT_DISK)
    folder = bench.cache.folder / bench.cache.key(numbers).folder
    folder.mkdir(parents=True, exist_ok=True)


def settle_if_short(bench: Workbench, n_images: int) -> None:
    """Round to int8 if the disk has no room for the features of this many images in float16."""
    if not may_settle(bench):
        return
    try:
        check_disk({bench.home: n_images * feature_bytes(bench.config, "float16")})
    except OSError:
        settle(bench, "int8")
