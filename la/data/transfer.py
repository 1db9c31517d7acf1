"""Files over HTTP and out of archives: resumed after a break, checked, never half there.

A file grows as `NAME.part` and gets its name when its size and checksum are right; the next call
goes on where the last one broke off, which pooch does not do. Archives are unpacked file by file,
each under its name only when whole.
"""

import errno
import hashlib
import logging
import os
import re
import shutil
import stat
import time
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.client import HTTPException
from pathlib import Path, PurePosixPath
from ssl import SSLError
from urllib.error import HTTPError, URLError
from urllib.parse import urlsplit
from urllib.request import Request, urlopen
from zipfile import BadZipFile, ZipFile, ZipInfo

from tqdm.auto import tqdm

from la.data.atomic import claim

log = logging.getLogger(__name__)

PATIENCE = 5  # attempts in a row that bring no byte
PAUSE = 2.0  # seconds before the second of them, and so much more before each further one
BLOCK = 1 << 20  # bytes
BROKEN = (HTTPException, ConnectionError, TimeoutError, SSLError, URLError)


@dataclass(frozen=True)
class Remote:
    """A file at its publisher; of an archive, `wanted` matches the `files` entries to unpack."""

    url: str
    size: int  # bytes
    checksum: str  # "md5:..." or "sha256:..."
    wanted: str = ""
    files: int = 0


def download(
    remote: Remote, path: Path, *, mirror: str | None = None, progress: bool = True
) -> Path:
    """The file at `path`, checked; fetched if it is not there.

    Args:
        mirror: what stands for the publisher's scheme and host; the path behind them stays.

    Raises:
        ValueError: there, or given by the server, is another file than the published one.
        FileNotFoundError: the server has no such file.
        OSError: no room on the disk, or the connection keeps breaking.
    """
    url = remote.url if mirror is None else _mirrored(remote.url, mirror)
    part = path.with_name(path.name + ".part")
    with claim(path, wait=True):
        if path.exists():
            if fault := _fault(path, remote):
                raise ValueError(f"{path} {fault}; delete it and fetch it again")
            return path
        check_disk(path.parent, remote.size - file_size(part))
        _complete(url, part, remote.size, progress)
        if fault := _fault(part, remote):
            log.warning("what %s gave %s; fetching it once more", url, fault)
            part.unlink()
            _complete(url, part, remote.size, progress)
        if fault := _fault(part, remote):
            part.unlink()
            raise ValueError(f"what {url} gave {fault}, twice; try later, or name a --mirror")
        os.replace(part, path)
    return path


def unpack(archive: Path, root: Path, wanted: str, *, progress: bool = True) -> None:
    """Unpack the entries whose names match `wanted` under `root`; what is there already stays.

    Raises:
        ValueError: the archive is damaged, or holds a link or a name that leads out of `root`.
        OSError: no room on the disk.
    """
    try:
        with ZipFile(archive) as zipped:
            for entry in zipped.infolist():
                if _escapes(entry):
                    raise ValueError(
                        f"{archive} is refused: its entry {entry.filename!r} is a link or leads "
                        "out of the folder; delete the archive and fetch it again"
                    )
            chosen = [e for e in zipped.infolist() if re.fullmatch(wanted, e.filename)]
            chosen = [e for e in chosen if file_size(root / e.filename) != e.file_size]
            check_disk(root, sum(e.file_size for e in chosen))
            for entry in tqdm(chosen, f"unpack {archive.name}", unit="file", disable=not progress):
                target = root / entry.filename
                part = target.with_name(target.name + ".part")
                part.parent.mkdir(parents=True, exist_ok=True)
                with _room(part), zipped.open(entry) as source, part.open("wb") as file:
                    shutil.copyfileobj(source, file, BLOCK)
                os.replace(part, target)
    except (BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError) as error:
        fault = f"{archive} is no whole archive ({error}); delete it and fetch it again"
        raise ValueError(fault) from None


def check_disk(folder: Path, needed: int) -> None:
    """Nothing, if `folder` has room for so many bytes.

    Raises:
        OSError: it has not.
    """
    there = next(p for p in (folder, *folder.absolute().parents) if p.exists())
    free = shutil.disk_usage(there).free
    if needed > free:
        raise OSError(
            f"{folder} needs {needed / 1e9:.1f} GB and has {free / 1e9:.1f} GB free; make room, or "
            "choose a folder on another disk"
        )


def file_size(path: Path) -> int:
    """Bytes of a file; -1 where there is none."""
    return path.stat().st_size if path.is_file() else -1


def _complete(url: str, part: Path, size: int, progress: bool) -> None:
    """Fetch what `part` lacks, again and again while that brings bytes."""
    part.parent.mkdir(parents=True, exist_ok=True)
    if file_size(part) > size:
        part.unlink()
    barren, fault = 0, ""
    with tqdm(total=size, unit="B", unit_scale=True, desc=part.stem, disable=not progress) as bar:
        while (had := max(0, file_size(part))) < size:
            try:
                _append(url, part, size, bar)
            except HTTPError as error:
                if error.code in (401, 403, 404, 410):
                    raise FileNotFoundError(
                        f"{url} is not to be had ({error}); name a --mirror"
                    ) from None
                fault = error
            except BROKEN as error:
                fault = error
            barren = 0 if file_size(part) > had else barren + 1
            if barren == PATIENCE:
                raise ConnectionError(
                    f"{url} broke off at {had} of {size} bytes ({fault or 'closed early'}); run "
                    "the same command again to go on from there, or name a --mirror"
                )
            time.sleep(PAUSE * barren)


def _append(url: str, part: Path, size: int, bar: tqdm) -> None:
    """One request; a server that cannot resume starts the file anew."""
    had = max(0, file_size(part))
    request = Request(
        url, headers={"Range": f"bytes={had}-", "User-Agent": "label-anything-workbook"}
    )
    with urlopen(request, timeout=30) as answer:
        resumed = answer.headers.get("Content-Range", "").startswith(f"bytes {had}-")
        had = had if resumed else 0
        total = had + int(answer.headers.get("Content-Length", size - had))
        if total != size:
            raise ValueError(
                f"{url} has {total} bytes where the published file has {size}; name a --mirror"
            )
        bar.n = had
        with part.open("ab" if resumed else "wb") as file:
            while block := answer.read(BLOCK):
                with _room(part):
                    file.write(block)
                bar.update(len(block))


@contextmanager
def _room(path: Path) -> Iterator[None]:
    """Says which file a full disk cut short."""
    try:
        yield
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        raise OSError(
            f"the disk is full at {path}; make room and run the same command again"
        ) from None


def _fault(path: Path, remote: Remote) -> str:
    """What is wrong with a file, as the end of a sentence; "" if nothing."""
    if path.stat().st_size != remote.size:
        return f"has {path.stat().st_size} bytes and the published file {remote.size}"
    algorithm, _, wanted = remote.checksum.partition(":")
    with path.open("rb") as file:
        found = hashlib.file_digest(file, algorithm).hexdigest()
    return "" if found == wanted else f"has the {algorithm} {found} and the published file {wanted}"


def _mirrored(url: str, mirror: str) -> str:
    if urlsplit(mirror).scheme not in ("http", "https"):
        raise ValueError(f"the mirror {mirror!r} is no address; give one like https://host/folder")
    return mirror.rstrip("/") + urlsplit(url).path


def _escapes(entry: ZipInfo) -> bool:
    """Whether an entry is a link, or its name is absolute or climbs."""
    name = entry.filename.replace("\\", "/")
    climbs = ".." in name.split("/") or PurePosixPath(name).is_absolute() or name[1:2] == ":"
    return climbs or stat.S_ISLNK(entry.external_attr >> 16)
