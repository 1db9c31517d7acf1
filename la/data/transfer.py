"""Downloading one file and unpacking an archive; every file is complete or absent.

A file grows as `NAME.part` and is renamed when its size and checksum are right. The next call
resumes where the last one stopped. Archives are unpacked file by file, in the same way.
"""

import hashlib
import logging
import os
import re
import shutil
import zlib
from dataclasses import dataclass
from pathlib import Path, PureWindowsPath
from urllib.parse import urlsplit
from zipfile import BadZipFile, ZipFile

from la.errors import UserError
from la.files import check_disk, claim, named, progress_bar

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Remote:
    """A published file; if it is an archive, `files` of its entries match `pattern`."""

    url: str
    size: int  # bytes
    checksum: str  # "md5:...", "sha256:...", or "" where none is published
    pattern: str = ""
    files: int = 0


def download(
    remote: Remote,
    path: Path,
    *,
    mirror: str | None = None,
) -> Path:
    """The file at `path`, downloaded if it is not there; its size and checksum are verified.

    Args:
        mirror: scheme and host to use instead of the publisher's, with the same path.

    Raises:
        UserError: the file there, or the one that the server sent, is not the published one.
        OSError: the disk has no room, the server lacks the file, or the connection keeps breaking.
    """
    url = remote.url
    if mirror is not None:
        if urlsplit(mirror).scheme not in ("http", "https"):
            raise UserError(
                f"the mirror {mirror!r} is not an address; give one like https://host/folder"
            )
        url = mirror.rstrip("/") + urlsplit(url).path
    with claim(path, wait=True):
        if path.exists():
            fault = _fault(path, remote)
            if fault:
                raise UserError(f"{path} {fault}; delete it and fetch it again")
            return path
        part = part_of(path)
        check_disk({path.parent: remote.size - size_of(part)})
        for _ in range(2):
            _append(url, part, remote.size)
            fault = _fault(part, remote)
            if not fault:
                os.replace(part, path)
                return path
            log.warning("the file that %s sent %s", url, fault)
            part.unlink()
        raise UserError(f"the file that {url} sent {fault}, twice; try later, or name a --mirror")


def unpack(archive: Path, root: Path, pattern: str) -> None:
    """Unpack the entries whose names match `pattern` below `root`; complete files are kept.

    Raises:
        UserError: the archive is damaged, or one of its names points outside `root`.
        OSError: the disk has no room.
    """
    try:
        with ZipFile(archive) as zipped:
            for name in zipped.namelist():
                path = PureWindowsPath(name)  # takes / and \ for separators
                if path.anchor or ".." in path.parts:
                    raise UserError(
                        f"{archive} is not unpacked, because its entry {name!r} points outside "
                        "the folder; delete the archive and fetch it again"
                    )
            entries = [e for e in zipped.infolist() if re.fullmatch(pattern, e.filename)]
            missing = [e for e in entries if size_of(root / e.filename) != e.file_size]
            check_disk({root: sum(entry.file_size for entry in missing)})
            for entry in progress_bar(missing, f"unpack {archive.name}", unit="file"):
                place = root / entry.filename
                part = part_of(place)
                part.parent.mkdir(parents=True, exist_ok=True)
                with named(part), zipped.open(entry) as source, part.open("wb") as file:
                    shutil.copyfileobj(source, file)
                os.replace(part, place)
    except (BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError) as error:
        raise UserError(
            f"{archive} is not a complete archive ({error}); delete it and fetch it again"
        ) from None


def part_of(path: Path) -> Path:
    """Where a file grows until it is complete."""
    return path.with_name(path.name + ".part")


def size_of(path: Path) -> int:
    """Bytes of a file; 0 if there is none."""
    return path.stat().st_size if path.is_file() else 0


def _append(url: str, part: Path, size: int) -> None:
    """Download what `part` lacks; the hub's client retries as long as bytes arrive."""
    from huggingface_hub.file_download import http_get

    part.parent.mkdir(parents=True, exist_ok=True)
    if size_of(part) > size:
        part.unlink()
    try:
        with named(part), part.open("ab") as file:
            http_get(
                url,
                file,
                resume_size=file.tell(),
                expected_size=size,
                displayed_filename=part.stem,
            )
    except Exception as error:  # the network errors differ between releases of the hub's client
        if isinstance(error, OSError) and error.errno:  # the disk's, not the network's
            raise
        reason = str(error).splitlines()[0]
        raise ConnectionError(
            f"{url} could not be downloaded; it stopped at {size_of(part)} of {size} bytes "
            f"({reason}); run the same command again to resume, or name a --mirror"
        ) from None


def _fault(path: Path, remote: Remote) -> str:
    """What is wrong with a file, as the end of a sentence; "" if nothing."""
    size = size_of(path)
    if size != remote.size:
        return f"has {size} bytes and the published file {remote.size}"
    if not remote.checksum:
        return ""
    algorithm, _, published = remote.checksum.partition(":")
    with path.open("rb") as file:
        actual = hashlib.file_digest(file, algorithm).hexdigest()
    if actual != published:
        return f"has the {algorithm} {actual} and the published file {published}"
    return ""
