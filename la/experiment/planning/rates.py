"""What feeds the model: how fast this machine reads features and decodes images."""

import io
import math
import os
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from tempfile import NamedTemporaryFile, TemporaryDirectory

import numpy as np
import torch
from PIL import Image

from la.config import Config
from la.data.feature_cache.features import FeatureKey, FeatureStore
from la.data.feature_cache.packing import Numbers
from la.data.sampling.geometry import Frame
from la.rng import stream

DISK_BYTES = 2**28  # written and read once
BLOCK = 2**22  # about as many bytes as the features of an image
READERS = 8  # of the disk at the same time, one for each loader worker
IMAGES = 4  # whose features are read from memory
PHOTOGRAPH = (480, 640)  # the usual size of COCO
MEMORY_SHARE = 0.6  # of the memory that can hold files


@dataclass(frozen=True)
class Rates:
    """How fast this machine reads and decodes the images of a profile."""

    disk: float  # bytes a second that all workers together read from the disk, not from memory
    read: float  # seconds of one worker to read the features of an image that are in memory
    decoded: float  # seconds of one worker to decode an image, where no features are kept
    memory: float  # bytes of memory that can hold files
    workers: int  # processes that load batches


def measure_rates(config: Config, folder: Path, numbers: Numbers) -> Rates:
    """The rates of this machine, with temporary files in `folder`, where features would lie."""
    existing = next(path for path in (folder, *folder.absolute().parents) if path.exists())
    pages = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return Rates(
        disk=disk_rate(existing),
        read=_reading(config, existing, numbers),
        decoded=_decoding(config),
        memory=MEMORY_SHARE * pages,
        workers=os.cpu_count() or 1,
    )


def disk_rate(folder: Path) -> float:
    """How many bytes a second are read from a file in the folder; NaN where it cannot be measured.

    The file is written and dropped from the page cache first.
    """
    if not hasattr(os, "posix_fadvise"):
        return math.nan
    content = stream(0, "disk").bytes(BLOCK)
    places = range(0, DISK_BYTES, BLOCK)
    try:
        with NamedTemporaryFile(dir=folder) as file, ThreadPoolExecutor(READERS) as pool:
            descriptor = file.fileno()
            for _ in places:
                file.write(content)
            file.flush()
            os.fsync(descriptor)
            os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
            started = time.perf_counter()
            n_read = sum(pool.map(lambda place: len(os.pread(descriptor, BLOCK, place)), places))
            return n_read / (time.perf_counter() - started)
    except OSError:  # a full disk, or one that cannot be written
        return math.nan


def _reading(config: Config, folder: Path, numbers: Numbers) -> float:
    """Seconds for the features of an image that are in memory."""
    model = config.model
    cells = model.image_size // model.patch_size
    features = torch.randn(1, model.backbone_dim, cells, cells)
    key = FeatureKey("random", "0" * 64, model.image_size, model.resize, numbers)
    pictures = [str(number) for number in range(IMAGES)]
    try:
        with TemporaryDirectory(dir=folder) as name:
            store = FeatureStore(Path(name), key)
            store.write(
                {picture: int(picture) for picture in pictures},
                lambda image_id: torch.zeros(1),
                lambda images: features.expand(len(images), -1, -1, -1),
                progress=False,
            )
            return _seconds(lambda: store.read(pictures)) / IMAGES
    except OSError:
        return math.nan


def _decoding(config: Config) -> float:
    """Seconds to decode a photograph of usual size, resize and normalise it."""
    small = stream(0, "photograph").integers(256, size=(48, 64, 3), dtype=np.uint8)
    height, width = PHOTOGRAPH
    held = io.BytesIO()
    Image.fromarray(small).resize((width, height)).save(held, "JPEG", quality=90)
    frame = Frame(PHOTOGRAPH, config.model.image_size, config.model.resize)
    return _seconds(lambda: frame.image(Image.open(held).convert("RGB")))


def _seconds(work: Callable[[], object]) -> float:
    """CPU time of the second call; the first one reads from the disk."""
    work()
    started = time.process_time()
    work()
    return time.process_time() - started
