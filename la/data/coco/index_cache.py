"""The cache of parsed annotation files, so that later starts do not parse them again.

A cache file has one line of JSON and then the bytes of its arrays, which are memory-mapped: they
are read when they are used, and processes share them.
"""

import hashlib
import json
import logging
import re
from collections.abc import Callable
from mmap import ACCESS_READ, mmap
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from la.files import atomic_write

logger = logging.getLogger(__name__)

ALIGNED = 64  # bytes; the first array starts at a multiple of them


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


def save(file: BinaryIO, arrays: dict[str, np.ndarray], words: dict[str, Any]) -> None:
    """Write the arrays, those of the longest numbers first so that all are aligned."""
    ordered = dict(sorted(arrays.items(), key=lambda item: -item[1].itemsize))
    layout = [(name, array.dtype.str, array.shape) for name, array in ordered.items()]
    line = json.dumps([layout, words]).encode()
    file.write(line + b" " * (-(len(line) + 1) % ALIGNED) + b"\n")
    for array in ordered.values():
        file.write(np.ascontiguousarray(array).data)


def load(path: Path | None) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """The cached arrays, memory-mapped, and the cached JSON values.

    Raises:
        OSError: there is no such file.
        ValueError, TypeError: it is damaged.
    """
    if path is None:
        raise FileNotFoundError
    with path.open("rb") as file:
        layout, words = json.loads(file.readline())
        start = file.tell()
        content = mmap(file.fileno(), 0, access=ACCESS_READ)
    arrays = {}
    for name, dtype, shape in layout:
        arrays[name] = np.ndarray(shape, dtype, content, start)
        start += arrays[name].nbytes
    return arrays, words
