"""Files that appear whole or not at all, also when a writer is killed or two write the same one.

A file is written under a temporary name beside its place and renamed when it is complete. The writer
holds a lock on the temporary file; the kernel drops the lock with the process, so whoever writes next
in the same folder can tell what was left behind from what is still being written.
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
    file = _locked_file(path.parent)
    try:
        with file:
            yield file
            file.flush()
            os.fsync(file.fileno())
            os.chmod(file.name, 0o644)
            os.replace(file.name, path)
    except BaseException:
        with suppress(FileNotFoundError):
            os.unlink(file.name)
        raise


def sweep(folder: Path) -> int:
    """Remove the temporary files in `folder` whose writer is gone; how many these were."""
    removed = 0
    for path in folder.glob(PREFIX + "*"):
        with suppress(OSError), path.open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)  # refused while its writer lives
            path.unlink()
            removed += 1
    return removed


def _locked_file(folder: Path) -> BinaryIO:
    while True:
        number, name = tempfile.mkstemp(prefix=PREFIX, dir=folder)
        file = open(name, "wb", closefd=True)
        os.close(number)
        with suppress(OSError):  # a file system without locks: nobody can sweep there either
            fcntl.flock(file, fcntl.LOCK_EX)
        if os.path.exists(name):  # not swept between its making and its locking
            return file
        file.close()
