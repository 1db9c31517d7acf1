"""Files that are complete or absent, even if writers are killed or write at the same time.

A file is written under a temporary name in its folder and renamed when it is complete. Its writer
holds a lock on it, which the kernel releases when the process ends, so the next writer in the
folder can tell abandoned files from those that are still being written. On a file system without
locks nothing is removed and every claim is granted: work may be done twice, but files stay whole.
"""

import errno
import fcntl
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import BinaryIO, cast

from tqdm.auto import tqdm

PREFIX = ".writing-"

# One line, redrawn at most once a second, so that logs stay short.
progress_bar = partial(tqdm, mininterval=1)


@contextmanager
def atomic_write(path: Path) -> Iterator[BinaryIO]:
    """An open binary file that becomes `path` when the block ends, or is removed if it raises.

    Raises:
        OSError: the folder cannot be written, or its disk is full.
    """
    with named(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        sweep(path.parent)
        file = _temporary_file(path.parent)
        while _lock(file, wait=True) is False:  # another process removed it before it was locked
            file.close()
            file = _temporary_file(path.parent)
    try:
        with named(path), file:
            yield file
            file.flush()
            os.fsync(file.fileno())
            os.chmod(file.name, 0o644)
            os.replace(file.name, path)
    except BaseException:
        with suppress(OSError):
            os.unlink(file.name)
        raise


def write_whole(path: Path, content: bytes | str) -> None:
    """`atomic_write` for content that is in memory; text is encoded in UTF-8."""
    with atomic_write(path) as file:
        file.write(content.encode() if isinstance(content, str) else content)


@contextmanager
def named(path: Path) -> Iterator[None]:
    """Names the file in an OSError that names none, or that names the temporary file."""
    try:
        yield
    except OSError as error:
        is_temporary = Path(str(error.filename)).name.startswith(PREFIX)
        if error.errno and (error.filename is None or is_temporary):
            error.filename = str(path)
            error.filename2 = None
        raise


def check_writable(path: Path) -> None:
    """Check, before the work, that a file can be written at its end.

    Raises:
        OSError: a folder has this name, or its own folder cannot be made or written.
    """
    if path.is_dir():
        raise _system_error(errno.EISDIR, path)
    check_folder(path.absolute().parent)


def check_folder(folder: Path) -> None:
    """Check that files can be written to a folder, which may not exist yet.

    Raises:
        OSError: a file has its name or that of a folder above it, or it may not be written.
    """
    above = (folder, *folder.absolute().parents)
    existing = next(place for place in above if place.exists())
    if not existing.is_dir():
        raise _system_error(errno.ENOTDIR, existing)
    if not os.access(existing, os.W_OK):
        raise _system_error(errno.EACCES, existing)


def _system_error(number: int, path: Path) -> OSError:
    """The OSError that the operating system raises for a path."""
    return OSError(number, os.strerror(number), str(path))


@contextmanager
def claim(path: Path, *, wait: bool) -> Iterator[bool]:
    """Whether this process may make `path` now; False if another process is making it.

    Args:
        path: the file or folder to make; it is not touched.
        wait: wait until the other process has finished or died, and then yield True.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    place = path.parent / f"{PREFIX}{path.name}.claim"
    while (locked := _lock(file := place.open("wb"), wait=wait)) is False and wait:
        file.close()
    with file:
        try:
            yield locked is not False
        finally:
            if locked is not False:
                place.unlink(missing_ok=True)


def sweep(folder: Path) -> None:
    """Remove the temporary files in `folder` whose writer has ended."""
    for path in folder.glob(PREFIX + "*"):
        with suppress(OSError), path.open("rb+") as file:
            if _lock(file, wait=False):
                path.unlink()


def check_disk(needs: dict[Path, int]) -> None:
    """Check that each folder has room for the given bytes; folders may share a disk.

    Raises:
        OSError: the disk of one of them has too little room.
    """
    existing = {}  # the folder, or the nearest one above it that exists
    needed_on: dict[int, int] = {}  # bytes by device number
    for folder, n_bytes in needs.items():
        above = (folder, *folder.absolute().parents)
        existing[folder] = next(path for path in above if path.exists())
        disk = existing[folder].stat().st_dev
        needed_on[disk] = needed_on.get(disk, 0) + n_bytes
    for folder in needs:
        needed = needed_on[existing[folder].stat().st_dev]
        free = shutil.disk_usage(existing[folder]).free
        if needed > free:
            raise OSError(
                f"{folder} needs {needed / 1e9:.1f} GB and has {free / 1e9:.1f} GB free; make "
                "room, or choose a folder on another disk"
            )


def _temporary_file(folder: Path) -> BinaryIO:
    return cast(BinaryIO, NamedTemporaryFile(prefix=PREFIX, dir=folder, delete=False))


def _lock(file: BinaryIO, *, wait: bool) -> bool | None:
    """Whether `file` is locked now and still has its name; None where there are no locks.

    A process that waited for a lock may get it on a file that its owner has removed meanwhile.
    """
    try:
        fcntl.flock(file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
    except BlockingIOError:
        return False
    except OSError:
        return None
    with suppress(FileNotFoundError):
        return os.path.samestat(os.fstat(file.fileno()), os.stat(file.name))
    return False
