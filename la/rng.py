"""Random streams that depend only on their arguments, never on order, worker or process."""

import zlib

import numpy as np


def stream(seed: int, purpose: str, index: int = 0) -> np.random.Generator:
    """Generator for item `index` of `purpose`, the same in any order or worker."""
    return np.random.default_rng((seed, zlib.crc32(purpose.encode()), index))
