"""A measurement, one number of a table; its result; and the files of results.

A table has one file of JSON lines, sorted, which several processes may change at the same time. A
result that two tables share is computed once and stored in the files of both.
"""

import base64
import json
import zlib
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, fields, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np

from la.code import is_todays
from la.config import digest, settings
from la.errors import UserError
from la.files import claim, write_whole
from la.learn.metrics import Scores
from la.types import PromptKind

Supports = Literal["own", "exchanged"]
Classes = Literal["unseen", "seen"]
COUNTS = ("class_ids", "confusion", "raw_confusion")  # arrays of a result


@dataclass(frozen=True)
class Measurement:
    """One number of a table: a method on one fold, in one setting, with one seed."""

    method: str
    fold: int
    n_ways: int
    k_shots: int
    seed: int  # of the episode list, and of the training where the profile trains several models
    episodes: int
    kinds: tuple[PromptKind, ...] = (PromptKind.MASK,)
    protocol: str = "clean"
    # "exchanged" gives each query the supports of another episode, with other classes: a
    # method that reads its prompts must then fail.
    supports: Supports = "own"
    classes: Classes = "unseen"  # of the fold; "seen" are those that models train on

    @property
    def setting(self) -> str:
        """As the paper's tables print it."""
        return f"{self.n_ways}-way {self.k_shots}-shot"

    @property
    def one_episode(self) -> "Measurement":
        """The same setting with a single episode, which is equal for all methods and seeds."""
        return replace(self, method="", seed=0, episodes=1)

    def to_json(self) -> dict[str, Any]:
        """Plain values, as a line of the store has them."""
        return asdict(self) | {"kinds": [kind.value for kind in self.kinds]}

    def key(self, identity: str) -> str:
        """A name for this measurement and `identity`, all else that its number depends on."""
        return digest({"measurement": settings(self), "identity": identity})


@dataclass(frozen=True)
class Fit:
    """What was chosen for a method in one setting, on episodes of seen classes."""

    bias: float  # added to the background's score
    raw_bias: float = 0.0  # the bias without calibration; not 0 where the method has a threshold
    option: float | None = None  # the method's hyper-parameter, if it has one
    episodes_sha256: str = ""  # of the list on which both were chosen; "" if nothing was

    def __str__(self) -> str:
        option = "" if self.option is None else f", hyper-parameter {self.option:g}"
        return f"bias {self.bias:g}{option}"


@dataclass(frozen=True)
class Result:
    """A measurement with the counts of its episodes, and where they come from."""

    measurement: Measurement
    classes: tuple[int, ...]  # category ids of the fold
    class_ids: np.ndarray  # (episodes, N)
    confusion: np.ndarray  # (episodes, C, C) int64 [target, prediction], with the fitted bias
    raw_confusion: np.ndarray  # the same with the raw bias
    fit: Fit
    episodes_sha256: str
    checkpoint_sha256: str  # "" for a method without weights
    data: str  # name and fingerprint of the data set
    code: str  # digest of the code that computed it
    seconds: float
    provenance: dict[str, str]

    @cached_property
    def scores(self) -> Scores:
        """Every score, with the fitted bias."""
        return Scores.of(zip(self.class_ids, self.confusion, strict=True), self.classes)

    @cached_property
    def raw(self) -> Scores:
        """Every score without calibration."""
        return Scores.of(zip(self.class_ids, self.raw_confusion, strict=True), self.classes)

    def to_json(self) -> dict[str, Any]:
        """Plain values; counts are compressed."""
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        return values | {
            "classes": list(self.classes),
            "measurement": self.measurement.to_json(),
            "fit": asdict(self.fit),
            "miou_star": self.scores.miou_star,
            "raw_miou_star": self.raw.miou_star,
            **{name: _packed(values[name]) for name in COUNTS},
        }

    @classmethod
    def from_json(cls, plain: dict[str, Any]) -> "Result":
        """The inverse of `to_json`.

        Raises:
            KeyError, TypeError, ValueError, zlib.error: an entry is missing or damaged.
        """
        values = {field.name: plain[field.name] for field in fields(cls)}
        kinds = tuple(PromptKind(kind) for kind in plain["measurement"]["kinds"])
        values["measurement"] = Measurement(**plain["measurement"] | {"kinds": kinds})
        values["classes"] = tuple(plain["classes"])
        values["fit"] = Fit(**plain["fit"])
        for name in COUNTS:
            values[name] = _unpacked(plain[name])
        result = cls(**values)
        if not len(result.class_ids) == len(result.confusion) == len(result.raw_confusion):
            raise ValueError("its counts are cut short")
        return result


def _packed(counts: np.ndarray) -> dict[str, Any]:
    """Counts as text: zlib, then base85; a hundred kilobytes become ten."""
    plain = counts.astype("<i4").tobytes()
    text = base64.b85encode(zlib.compress(plain, 9)).decode()
    return {"shape": list(counts.shape), "int32_zlib_base85": text}


def _unpacked(packed: dict[str, Any]) -> np.ndarray:
    raw = zlib.decompress(base64.b85decode(packed["int32_zlib_base85"]))
    return np.frombuffer(raw, "<i4").reshape(packed["shape"]).astype(np.int64)


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
        codes: Mapping[str, str] | None = None,
    ) -> dict[str, Result]:
        """Return the results that are stored under some of these keys, by key.

        Args:
            table: its file is read first.
            codes: digests of today's code, by key. A result of today's code in the file of
                another table is preferred to an older one of `table`.

        Raises:
            UserError: a line is damaged.
        """
        undecided, results = set(keys), {}
        for path in sorted(self.folder.glob("*.jsonl"), key=lambda path: path.stem != table):
            if not undecided:
                break
            lines = read_lines(path)
            for key in undecided & lines.keys():
                code = str(lines[key].get("code"))
                current = codes is None or is_todays(code, codes[key])
                if current or key not in results:
                    results[key] = _result(path, key, lines[key])
                if current:
                    undecided.discard(key)
        return results

    def add(self, table: str, results: Mapping[str, Result]) -> None:
        """Add results to the file of a table; a result with the same key is replaced."""
        with self._changed(table) as lines:
            lines |= {key: result.to_json() for key, result in results.items()}

    def complete(self, table: str, results: Mapping[str, Result]) -> None:
        """Add what the file of a table lacks of its results, and drop what they replace.

        A line is replaced if other code computed it, or if it measures the same under another
        key, because data, weights or configuration were others. Lines of other folds, lists or
        methods stay, so a part of a table can be computed without losing the rest.
        """
        measured = [result.measurement.to_json() for result in results.values()]
        with self._changed(table) as lines:
            for key in lines.keys() - results.keys():
                if lines[key]["measurement"] in measured:
                    del lines[key]
            for key, result in results.items():
                if key not in lines or lines[key].get("code") != result.code:
                    lines[key] = result.to_json()

    @contextmanager
    def _changed(self, table: str) -> Iterator[dict[str, dict[str, Any]]]:
        """The lines of a table's file by key; written whole, sorted, if the block changes them."""
        path = self.path(table)
        with claim(path, wait=True):
            before = read_lines(path) if path.exists() else {}
            lines = dict(before)
            yield lines
            if lines != before:
                ordered = sorted(lines.items(), key=lambda item: _place(*item))
                texts = (json.dumps({"key": key} | line, sort_keys=True) for key, line in ordered)
                write_whole(path, "".join(f"{text}\n" for text in texts))


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
                f"{path}, line {number}, is not a result ({error}); delete the line and run again"
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
