"""Stored results: one file of JSON lines for each table, sorted, and safe for several writers.

A file is rewritten whole under a lock, merged with what other processes have added meanwhile. A
result that two tables share is computed once and stored in the files of both.
"""

import json
import zlib
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from la.errors import UserError
from la.experiment.measurements import Result
from la.files import claim, write_whole


class Store:
    """The results of a profile on a data set, in `folder`/<table>.jsonl."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def path(self, table: str) -> Path:
        """The file of a table; it need not exist."""
        return self.folder / f"{table}.jsonl"

    def find(
        self,
        keys: Iterable[str],
        table: str = "",
        is_current: Callable[[str, str], bool] = lambda key, code: True,
    ) -> dict[str, Result]:
        """Return the stored results among these, by key.

        Args:
            table: its file is read first.
            is_current: whether a code digest is that of today's code for a key. A current result
                in the file of another table is preferred to an older one of `table`.

        Raises:
            UserError: a line is damaged.
        """
        undecided, results = set(keys), {}
        for path in sorted(self.folder.glob("*.jsonl"), key=lambda path: path.stem != table):
            if not undecided:
                break
            lines = read_lines(path)
            for key in undecided & lines.keys():
                current = is_current(key, str(lines[key].get("code")))
                if current or key not in results:
                    results[key] = _result(path, key, lines[key])
                if current:
                    undecided.discard(key)
        return results

    def add(self, table: str, results: Mapping[str, Result]) -> None:
        """Add results to the file of a table; a result with the same key is replaced."""
        if not results:
            return
        path = self.path(table)
        with claim(path, wait=True):
            lines = read_lines(path) if path.exists() else {}
            lines |= {key: result.to_json() for key, result in results.items()}
            _write_lines(path, lines)

    def lacks(
        self,
        table: str,
        results: Mapping[str, Result],
    ) -> dict[str, Result]:
        """Return the results that the file of a table lacks, or holds in another version."""
        path = self.path(table)
        lines = read_lines(path) if path.exists() else {}
        lacking = {}
        for key, result in results.items():
            if key not in lines or lines[key].get("code") != result.code:
                lacking[key] = result
        return lacking

    def drop_replaced(
        self,
        table: str,
        results: Mapping[str, Result],
    ) -> None:
        """Drop lines that measure the same as one of `results` under another key.

        They are of other data, weights or configurations. Lines of other folds, lists or methods
        stay, so a part of a table can be computed without losing the rest.
        """
        path = self.path(table)
        measured = [result.measurement.to_json() for result in results.values()]
        with claim(path, wait=True):
            lines = read_lines(path)
            kept = {
                key: line
                for key, line in lines.items()
                if key in results or line["measurement"] not in measured
            }
            if len(kept) < len(lines):
                _write_lines(path, kept)


def _write_lines(path: Path, lines: Mapping[str, dict[str, Any]]) -> None:
    """A table's file from its lines, sorted."""
    ordered = sorted(lines.items(), key=lambda item: _place(*item))
    text = ""
    for key, line in ordered:
        text += json.dumps({"key": key} | line, sort_keys=True) + "\n"
    write_whole(path, text)


def read_lines(path: Path) -> dict[str, dict[str, Any]]:
    """The lines of a table's file, by key.

    Raises:
        UserError: a line is not JSON, or has no key.
    """
    lines: dict[str, dict[str, Any]] = {}
    for number, text in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        try:
            line = json.loads(text)
            lines[line.pop("key")] = line
        except (KeyError, TypeError, ValueError) as error:
            raise UserError(
                f"{path}, line {number}, is no result ({error}); delete the line and run again"
            ) from None
    return lines


def _result(path: Path, key: str, line: dict[str, Any]) -> Result:
    try:
        return Result.from_json(line)
    except (KeyError, TypeError, ValueError, zlib.error) as error:
        raise UserError(
            f"{path} holds a damaged result, {key} ({error}); delete its line and run again"
        ) from None


def _place(key: str, line: dict[str, Any]) -> tuple[Any, ...]:
    """The sort key of a line: what was measured, in the words that a diff shows."""
    m = line["measurement"]
    setting = (m["method"], m["n_ways"], m["k_shots"], " ".join(m["kinds"]))
    rules = (m["protocol"], m["supports"], m["classes"])
    return (*setting, *rules, m["fold"], m["seed"], key)
