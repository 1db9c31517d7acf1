"""Identifies the picture in a file by its content, not by its name.

The digest of a file is computed once and cached with the file's size and modification time; the
file is read again only when one of the two has changed.
"""

import hashlib
import json
import logging
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from PIL import ExifTags, Image

from la.files import atomic_write, progress_bar

logger = logging.getLogger(__name__)

FORMAT = 2  # of the format of the file that keeps the digests; part of its name
BLANK = "-blank"  # ends the digest of a picture of one colour
FEW = 5_000  # files that are read without a progress bar


def picture_digests(
    paths: Sequence[Path | None],
    folder: Path,
    cache: Path | None = None,
) -> tuple[str, ...]:
    """`picture_digest` of each file; "" for a path that is None.

    Args:
        paths: n image files.
        folder: the folder that contains them.
        cache: a folder that keeps the digests; when omitted, all files are read.

    Raises:
        OSError: a file cannot be read.
    """
    kept = _kept(folder, cache)
    digest_of = _read(kept)
    marks = [None if path is None else _mark(path) for path in paths]
    new = {
        mark: path
        for mark, path in zip(marks, paths, strict=True)
        if mark is not None and mark not in digest_of
    }
    if new:
        with ThreadPoolExecutor(4) as pool:  # hashing and decoding release the interpreter's lock
            bar = progress_bar(
                pool.map(picture_digest, new.values()),
                desc="reading pictures",
                total=len(new),
                unit="image",
                disable=len(new) < FEW,
            )
            digest_of |= dict(zip(new, bar, strict=True))
        _keep(kept, digest_of)
    return tuple("" if mark is None else digest_of[mark] for mark in marks)


def replaced_pictures(folder: Path, cache: Path | None) -> list[str]:
    """Paths of the files that held another picture when they were read before."""
    digests: dict[str, set[str]] = {}
    for mark, digest in _read(_kept(folder, cache)).items():
        path = mark.rsplit("|", 2)[0]
        digests.setdefault(path, set()).add(digest)
    return sorted(path for path, of_path in digests.items() if len(of_path) > 1)


def picture_digest(path: Path) -> str:
    """32 hex digits that change with the picture in a file, and `BLANK` if it has one colour.

    A PNG is identified by its pixels, because two versions of an encoder write different bytes for
    the same picture, as happens with the embedded data set. Any other file is identified by its
    bytes.

    Raises:
        OSError: the file cannot be read.
    """
    if path.suffix.lower() == ".png":
        try:
            with Image.open(path) as image:
                orientation = image.getexif().get(ExifTags.Base.Orientation, 1)
                about = (image.mode, image.size, image.getpalette(), orientation)
                pixels = image.tobytes()
                low_high = np.ravel(image.getextrema()).reshape(-1, 2)  # of each channel
            blank = BLANK if (low_high[:, 0] == low_high[:, 1]).all() else ""
            return hashlib.sha256(repr(about).encode() + pixels).hexdigest()[:32] + blank
        except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
            pass  # damaged; reported when its pixels are needed
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()[:32]


def _kept(folder: Path, cache: Path | None) -> Path | None:
    """The file that keeps the digests of a folder."""
    if cache is None:
        return None
    path = str(folder.resolve())
    name = hashlib.sha256(path.encode()).hexdigest()[:32]
    return cache / f"pictures-{FORMAT}-{name}.json"


def _mark(path: Path) -> str:
    """Changes whenever a file is replaced or written to."""
    stat = path.stat()
    return f"{path}|{stat.st_size}|{stat.st_mtime_ns}"


def _read(kept: Path | None) -> dict[str, str]:
    """The digests by mark; empty if there are none, or if the file is damaged."""
    try:
        return dict(json.loads(kept.read_bytes())) if kept is not None else {}
    except (OSError, ValueError, TypeError):
        return {}


def _keep(kept: Path | None, digest_of: dict[str, str]) -> None:
    """Write the digests; without them everything works, only slower."""
    if kept is None:
        return
    try:
        with atomic_write(kept) as file:
            file.write(json.dumps(digest_of).encode())
    except OSError as error:
        logger.warning("%s cannot be written (%s); pictures are read anew each time", kept, error)
