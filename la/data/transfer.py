"""One file from a publisher, whole or not at all, and the files of an archive.

A file grows as `NAME.part` and gets its name when its size and checksum are right; the next call
goes on where the last one broke off. Archives are unpacked file by file, each under its name only
when whole.
"""

import hashlib
import logging
import os
import re
import shutil
import zlib
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit
from zipfile import BadZipFile, ZipFile

from la.errors import UserError
from la.files import claim, named, progress_bar

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Remote:
    """A file at its publisher; of an archive, `wanted` matches the `files` entries to unpack."""

    url: str
    size: int  # bytes
    checksum: str  # "md5:...", "sha256:...", or "" where none is published
    wanted: str = ""
    files: int = 0


def download(remote: Remote, path: Path, *, mirror: str | None = None) -> Path:
    """The file at `path`, checked; fetched if it is not there.

    Raises:
        ValueError: there, or given by the server, is another file than the published one.
        OSError: no room on the disk, the server has no such file, or the connection keeps breaking.
    """
    url = remote.url
    if mirror is not None:
        if urlsplit(mirror).scheme not in ("http", "https"):
            raise UserError(
                f"the mirror {mirror!r} is no address; give one like https://host/folder"
            )
        url = mirror.rstrip("/") + urlsplit(url).path
    with claim(path, wait=True):
        if path.exists():
            if fault := _fault(path, remote):
                raise UserError(f"{path} {fault}; delete it and fetch it again")
            return path
        part = part_of(path)
        check_disk({path.parent: remote.size - size_of(part)})
        for _ in range(2):
            _append(url, part, remote.size)
            if not (fault := _fault(part, remote)):
                os.replace(part, path)
                return path
            log.warning("what %s gave %s", url, fault)
            part.unlink()
        raise UserError(f"what {url} gave {fault}, twice; try later, or name a --mirror")


def unpack(archive: Path, root: Path, wanted: str) -> None:
    """Unpack the entries whose names match `wanted` under `root`; what is there already stays.

    Raises:
        ValueError: the archive is damaged, or one of its names leads out of `root`.
        OSError: no room on the disk.
    """
    try:
        with ZipFile(archive) as zipped:
            for name in zipped.namelist():
                if re.search(r"(^|[/\\])\.\.([/\\]|$)|^[/\\]|^\w:", name):
                    raise UserError(
                        f"{archive} is refused: its entry {name!r} leads out of the folder; delete "
                        "the archive and fetch it again"
                    )
            chosen = [e for e in zipped.infolist() if re.fullmatch(wanted, e.filename)]
            chosen = [e for e in chosen if size_of(root / e.filename) != e.file_size]
            check_disk({root: sum(e.file_size for e in chosen)})
            for entry in progress_bar(chosen, f"unpack {archive.name}", unit="file"):
                part = part_of(root / entry.filename)
                part.parent.mkdir(parents=True, exist_ok=True)
                with named(part), zipped.open(entry) as source, part.open("wb") as file:
                    shutil.copyfileobj(source, file)
                os.replace(part, root / entry.filename)
    except (BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError) as error:
        fault = f"{archive} is no whole archive ({error}); delete it and fetch it again"
        raise UserError(fault) from None


def check_disk(needs: dict[Path, int]) -> None:
    """Nothing, if each folder has room for so many bytes; folders may share a disk.

    Raises:
        OSError: one has not.
    """
    there = {f: next(p for p in (f, *f.absolute().parents) if p.exists()) for f in needs}
    disk = {folder: path.stat().st_dev for folder, path in there.items()}
    for folder in needs:
        needed = sum(n for other, n in needs.items() if disk[other] == disk[folder])
        free = shutil.disk_usage(there[folder]).free
        if needed > free:
            raise OSError(
                f"{folder} needs {needed / 1e9:.1f} GB and has {free / 1e9:.1f} GB free; make "
                "room, or choose a folder on another disk"
            )


def _append(url: str, part: Path, size: int) -> None:
    """Fetch what `part` lacks; the hub's client tries again as long as bytes come."""
    from huggingface_hub.file_download import http_get

    part.parent.mkdir(parents=True, exist_ok=True)
    if size_of(part) > size:
        part.unlink()
    try:
        with named(part), part.open("ab") as file:
            http_get(url, file, resume_size=file.tell(), expected_size=size,
                     displayed_filename=part.stem)  # fmt: skip
    except Exception as error:  # each release of the hub's client has network errors of its own
        if isinstance(error, OSError) and error.errno:  # the disk's, not the network's
            raise
        raise ConnectionError(
            f"{url} is not to be had or broke off at {size_of(part)} of {size} bytes "
            f"({str(error).splitlines()[0]}); run the same command again to go on from there, or "
            "name a --mirror"
        ) from None


def _fault(path: Path, remote: Remote) -> str:
    """What is wrong with a file, as the end of a sentence; "" if nothing."""
    if size_of(path) != remote.size:
        return f"has {size_of(path)} bytes and the published file {remote.size}"
    if not remote.checksum:
        return ""
    algorithm, _, wanted = remote.checksum.partition(":")
    with path.open("rb") as file:
        found = hashlib.file_digest(file, algorithm).hexdigest()
    return "" if found == wanted else f"has the {algorithm} {found} and the published file {wanted}"


def part_of(path: Path) -> Path:
    """Where a file grows until it is whole."""
    return path.with_name(path.name + ".part")


def size_of(path: Path) -> int:
    """Bytes of a file; 0 where there is none."""
    return path.stat().st_size if path.is_file() else 0
