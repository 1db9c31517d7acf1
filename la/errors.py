"""Errors whose message is all that a user needs: what is wrong, where, and how to fix it.

The command line prints only the message and exits with status 2. Any other exception is a bug and
keeps its traceback.
"""

import errno
from pathlib import Path

MENDS = {  # advice by the operating system's error number
    errno.EACCES: "allow it, or choose another place",
    errno.EEXIST: "a file has the name of a folder that is needed; choose another place",
    errno.EISDIR: "give the name of a file",
    errno.ENOSPC: "make room, or choose a folder on another disk",
    errno.ENOTDIR: "a file has the name of a folder that is needed; choose another place",
    errno.EPERM: "allow it, or choose another place",
    errno.EROFS: "choose another place",
}


class UserError(ValueError):
    """An argument, a file or a setting that the user can correct."""


class MissingFile(UserError, FileNotFoundError):
    """A file or a folder that the user named, or has to provide, does not exist."""


def no_folder(path: Path, mend: str) -> MissingFile:
    """The error for a path that leads to no folder, and what to do about it."""
    fault = f"{path} is a file" if path.is_file() else f"no folder {path}"
    return MissingFile(f"{fault}; {mend}")


def in_words(error: OSError) -> str:
    """The operating system's message about a file, with advice from `MENDS` if there is any."""
    if error.filename is None or not error.strerror:
        return str(error)
    mend = MENDS.get(error.errno or 0)
    said = f"{error.filename}: {error.strerror}"
    return f"{said}; {mend}" if mend else said
