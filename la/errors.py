"""Errors whose message is all that a user needs: what is wrong, where, and how to fix it.

The command line prints only the message and exits with status 2. Any other exception is a bug and
keeps its traceback.
"""


class UserError(ValueError):
    """An argument, a file or a setting that the user can correct."""


class MissingFile(UserError, FileNotFoundError):
    """A file or a folder that the user named, or has to provide, does not exist."""
