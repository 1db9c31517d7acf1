"""Runs `python -m la` in forked processes, whose packages are loaded, to kill or limit it."""

import os
import resource
import sys
import threading
from multiprocessing.connection import Connection
from pathlib import Path

from tests.forks import FORK

ROOT = Path(__file__).resolve().parent.parent


class Command:
    """A running command; `changes` is code that it and its child processes execute first."""

    def __init__(
        self, home: Path, words: list[str], *, changes: str = "", largest_file: int | None = None
    ) -> None:
        site = home.parent / "site"
        site.mkdir(exist_ok=True)
        (site / "sitecustomize.py").write_text(changes)
        reader, writer = FORK.Pipe(duplex=False)
        self._said: list[bytes] = []
        self.process = FORK.Process(
            target=_main, args=(home, site, words, changes, largest_file, writer)
        )
        self.process.start()
        writer.close()
        self._listener = threading.Thread(target=self._listen, args=(reader,), daemon=True)
        self._listener.start()

    def _listen(self, reader: Connection) -> None:
        with reader:
            while block := os.read(reader.fileno(), 1 << 16):
                self._said.append(block)

    @property
    def said(self) -> str:
        """What it printed on both streams."""
        return b"".join(self._said).decode()

    def end(self, kill_after: float | None = None) -> int:
        """Its exit status; it gets SIGKILL if it still runs after `kill_after` seconds."""
        self.process.join(kill_after)
        if self.process.is_alive():
            self.process.kill()
            self.process.join()
        elif kill_after is None:
            self._listener.join()
        return self.process.exitcode


def _main(home, site, words, changes, largest_file, writer: Connection) -> None:
    os.environ |= {"LA_HOME": str(home), "PYTHONPATH": f"{site}:{ROOT}"}
    for stream in (1, 2):
        os.dup2(writer.fileno(), stream)
    if largest_file is not None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (largest_file, largest_file))
    assert "la" not in sys.modules, "the package has read the environment of the tests"
    exec(changes)
    from la.__main__ import main

    sys.exit(main(words))
