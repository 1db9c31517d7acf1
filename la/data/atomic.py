"""Files that appear whole or not at all, though writers are killed or meet on the same file.

A file is written under a temporary name beside its place and renamed when it is complete. Its
writer holds a lock on it, which the kernel drops with the process; so the next writer in the folder
can tell what was left behind from what is still being written. On a file system without locks
nothing is swept, and claims are granted to everybody: work may be done twice, files stay whole.
"""

import fcntl
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

PREFIX = ".writing-"


@contextmanager
def atomic_write(path: Path) -> Iterator[BinaryIO]:
    """An open binary file that becomes `path` when the block ends, and vanishes when it raises.

    Raises:
        OSError: the folder cannot be written, or its disk is full.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    sweep(path.parent)
    file = _new_locked_file(path.parent)
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
    with open(path.parent / f"{PREFIX}{path.name}.claim", "wb") as file:
        granted = True
        try:
            fcntl.flock(file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        except BlockingIOError:
            granted = False
        except OSError:  # no locks here
            pass
        try:
            yield granted
        finally:
            if granted:
                with suppress(OSError):
                    os.unlink(file.name)


def sweep(folder: Path) -> int:
    """Remove the temporary files in `folder` whose writer is gone; how many these were."""
    removed = 0
    for path in folder.glob(PREFIX + "*"):
        with suppress(OSError), path.open("rb+") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)  # refused while its writer lives
            path.unlink()
            removed += 1
    return removed


def _new_locked_file(folder: Path) -> BinaryIO:
    while True:
        number, name = tempfile.mkstemp(prefix=PREFIX, dir=folder)
        os.close(number)
        try:
            file = open(name, "rb+")  # noqa: SIM115  its user closes it
        except FileNotFoundError:  # swept between its making and its locking
            continue
        with suppress(OSError):
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if os.path.exists(name):
            return file
        file.close()
