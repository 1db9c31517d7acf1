"""The cache of parsed annotation files, so that later starts do not parse them again."""

import hashlib
import json
import logging
import re
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

import numpy as np
import torch

from la.files import atomic_write

logger = logging.getLogger(__name__)


def file_sha256(path: Path, cache: Path | None) -> str:
    """SHA-256 of a file, cached by the file's path, size and modification time."""
    stat = path.stat()
    mark = f"{path.resolve()}|{stat.st_size}|{stat.st_mtime_ns}".encode()
    note = cache and Path(cache) / f"known-{hashlib.sha256(mark).hexdigest()[:32]}.txt"
    if note and note.is_file():
        known = note.read_text(errors="replace")
        if re.fullmatch("[0-9a-f]{64}", known):
            return known
    with path.open("rb") as file:
        sha256 = hashlib.file_digest(file, "sha256").hexdigest()
    try_to_keep(note, lambda file: file.write(sha256.encode()))
    return sha256


def try_to_keep(path: Path | None, write: Callable[[BinaryIO], object]) -> None:
    """Write a cache file if possible; without it everything works, only slower."""
    try:
        if path is not None:
            with atomic_write(path) as file:
                write(file)
    except OSError as error:
        logger.warning("%s cannot be written (%s); the file is parsed anew each time", path, error)


def load(path: Path | None) -> tuple[dict[str, np.ndarray], dict]:
    """The cached arrays, memory-mapped, and the cached JSON values."""
    if path is None:
        raise FileNotFoundError
    tensors, words = torch.load(path, mmap=True, weights_only=True)
    return {name: tensor.numpy() for name, tensor in tensors.items()}, json.loads(words)
