"""The command line: `python -m la COMMAND`. Commands are in `la.commands`."""

import logging
import sys
from typing import Any

import typer

from la.commands import assets, experiments, own_data  # noqa: F401  they register their commands
from la.commands.app import app
from la.errors import UserError, in_words

INTERRUPTED = 130  # the exit status of a command that Ctrl+C ended
# Raised for any wrong command line; typer exports only this subclass of it.
UsageError: Any = typer.BadParameter.__bases__[0]


def main(words: list[str] | None = None) -> int:
    """Run one command and return its exit status.

    A user's mistake, or an error of the disk or the network, is one sentence on stderr and
    status 2. Any other exception keeps its traceback.
    """
    words = sys.argv[1:] if words is None else words
    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    try:
        status = app(words, prog_name="python -m la", standalone_mode=False) or 0
    except typer.Abort:  # Ctrl+C in older versions of typer, which otherwise return its status
        status = INTERRUPTED
    except UsageError as error:
        error.show()
        return error.exit_code
    except UserError as error:
        print(f"la {words[0]}: {error}", file=sys.stderr)
        return 2
    except OSError as error:
        print(f"la {words[0]}: {in_words(error)}", file=sys.stderr)
        return 2
    if status == INTERRUPTED:
        print("stopped; the same command resumes", file=sys.stderr)
    return status


if __name__ == "__main__":
    sys.exit(main())
