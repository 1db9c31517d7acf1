"""Files that appear whole or not at all, though writers are killed or meet on the same file.

A file is written under a temporary name beside its place and renamed when it is complete. Its
writer holds a lock on it, which the kernel drops with the process; so the next writer in the folder
can tell what was left behind from what is still being written. On a file system without locks
nothing is swept, and claims are granted to everybody: work may be done twice, files stay whole.
"""

import fcntl
import os
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
    """An open binary file that becomes `path` when the block ends, and vanishes when it raises.

    Raises:
        OSError: the folder cannot be written, or its disk is full.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    sweep(path.parent)
    file = _temporary_file(path.parent)
    while _lock(file, wait=True) is False:  # another process swept it before it was locked
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
    """`atomic_write` of what is at hand; text in UTF-8."""
    with atomic_write(path) as file:
        file.write(content.encode() if isinstance(content, str) else content)


@contextmanager
def named(path: Path) -> Iterator[None]:
    """An error of the disk names the file that it befell, as that of a full disk does not."""
    try:
        yield
    except OSError as error:
        if error.errno and error.filename is None:
            error.filename = str(path)
        raise


@contextmanager
def claim(path: Path, *, wait: bool) -> Iterator[bool]:
    """Whether this process may make `path` now; False when another one is at it.

    Args:
        path: the file to make; it is not touched.
        wait: until the other process is done or dead, and then True.
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
    """Remove the temporary files in `folder` whose writer is gone."""
    for path in folder.glob(PREFIX + "*"):
        with suppress(OSError), path.open("rb+") as file:
            if _lock(file, wait=False):
                path.unlink()


def _temporary_file(folder: Path) -> BinaryIO:
    return cast(BinaryIO, NamedTemporaryFile(prefix=PREFIX, dir=folder, delete=False))


def _lock(file: BinaryIO, *, wait: bool) -> bool | None:
    """Whether `file` is locked now and still has its name; None where there are no locks.

    Who waited for a lock may get it on a file that its owner removed, whose name is another's now.
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
