"""Which files of a folder are the user's pictures, and which paths lead to one file."""

import os
from collections.abc import Iterable
from pathlib import Path, PurePath

# Files that are tried; what cannot be read is named.
JPEGS = {".jfif", ".jpe", ".jpeg", ".jpg"}
OTHERS = {".avif", ".bmp", ".gif", ".heic", ".heif", ".jp2", ".png", ".tif", ".tiff", ".webp"}
SUFFIXES = JPEGS | OTHERS


def is_picture(path: PurePath) -> bool:
    """Whether a path, relative to the user's folder, is that of a picture to be used."""
    return path.suffix.lower() in SUFFIXES and not is_hidden(path)


def is_hidden(path: PurePath) -> bool:
    """Whether systems hide a file, by its path relative to the user's folder.

    Archives of macOS hold `._name` and `__MACOSX`, Jupyter makes copies in `.ipynb_checkpoints`.
    """
    return any(part.startswith(".") or part == "__MACOSX" for part in path.parts)


def file_id(path: str | Path) -> tuple[int, int] | str:
    """Equal for all paths, links included, that lead to one file; a link to nothing is itself."""
    try:
        stat = os.stat(path)
    except OSError:
        return str(path)
    return stat.st_dev, stat.st_ino


def distinct(paths: Iterable[str]) -> list[str]:
    """The first path of each file."""
    path_of: dict[tuple[int, int] | str, str] = {}
    for path in paths:
        path_of.setdefault(file_id(path), path)
    return list(path_of.values())
