"""How a short disk decides that features are rounded to int8, where `LA_FEATURES` does not say it.

Only where nothing is made yet can the disk decide, and then `settle` makes the empty folder from
which every later process knows the choice.
"""

import logging

from la.config import Config
from la.data.packing import FORMATS, Numbers
from la.experiment.workbench import Workbench
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
    """Whether the disk may decide, because no features of the profile are there."""
    cache = bench.cache
    return not (cache.is_told or cache.exists("float16") or cache.exists("int8"))


def settle(bench: Workbench, numbers: Numbers) -> None:
    """From now on the profile's features have the planned format; one rank calls this for all."""
    if numbers == bench.numbers:
        return
    log.warning(SHORT_DISK)
    folder = bench.cache.folder / bench.cache.key(numbers).folder
    folder.mkdir(parents=True, exist_ok=True)


def settle_if_short(bench: Workbench, n_images: int) -> None:
    """Settle where the disk has no room for the features of so many images in float16."""
    if not may_settle(bench):
        return
    try:
        check_disk({bench.home: n_images * feature_bytes(bench.config, "float16")})
    except OSError:
        settle(bench, "int8")
