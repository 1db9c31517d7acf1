"""A measurement, one number of a table, and its result: counts, and where they come from."""

import base64
import importlib.metadata
import platform
import subprocess
import zlib
from dataclasses import asdict, dataclass
from functools import cache, cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch

from la.config import digest, settings
from la.learn.metrics import Scores
from la.types import PromptKind

Supports = Literal["own", "exchanged"]
Classes = Literal["unseen", "seen"]


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

    def to_json(self) -> dict[str, Any]:
        """Plain values, as a line of the store has them."""
        return asdict(self) | {"kinds": [kind.value for kind in self.kinds]}

    def key(self, identity: str) -> str:
        """A name that also depends on `identity`: all else that the number depends on."""
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
        return self._scores(self.confusion)

    @cached_property
    def raw(self) -> Scores:
        """Every score without calibration."""
        return self._scores(self.raw_confusion)

    def _scores(self, confusion: np.ndarray) -> Scores:
        return Scores.of(zip(self.class_ids, confusion, strict=True), self.classes)

    def to_json(self) -> dict[str, Any]:
        """Plain values; counts are compressed."""
        plain = {
            name: value
            for name, value in vars(self).items()
            if name not in ("scores", "raw", "measurement", "fit")
        }
        counts = ("class_ids", "confusion", "raw_confusion")
        return plain | {
            "classes": list(self.classes),
            "measurement": self.measurement.to_json(),
            "fit": asdict(self.fit),
            "miou_star": self.scores.miou_star,
            "raw_miou_star": self.raw.miou_star,
            **{name: _packed(plain[name]) for name in counts},
        }

    @classmethod
    def from_json(cls, plain: dict[str, Any]) -> "Result":
        """The inverse of `to_json`.

        Raises:
            KeyError, TypeError, ValueError, zlib.error: an entry is missing or damaged.
        """
        measurement = dict(plain["measurement"])
        measurement["kinds"] = tuple(PromptKind(kind) for kind in measurement["kinds"])
        result = cls(
            measurement=Measurement(**measurement),
            classes=tuple(plain["classes"]),
            class_ids=_unpacked(plain["class_ids"]),
            confusion=_unpacked(plain["confusion"]),
            raw_confusion=_unpacked(plain["raw_confusion"]),
            fit=Fit(**plain["fit"]),
            episodes_sha256=plain["episodes_sha256"],
            checkpoint_sha256=plain["checkpoint_sha256"],
            data=plain["data"],
            code=plain["code"],
            seconds=plain["seconds"],
            provenance=plain["provenance"],
        )
        if not len(result.class_ids) == len(result.confusion) == len(result.raw_confusion):
            raise ValueError("its counts are cut short")
        return result


@cache
def provenance() -> dict[str, str]:
    """What a reader needs to make the numbers again: commit, versions, device."""
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else processor()
    packages = ("torch", "numpy", "pycocotools", "transformers")
    return {
        "commit": _commit(),
        "python": platform.python_version(),
        "device": device,
        **{name: importlib.metadata.version(name) for name in packages},
    }


def processor() -> str:
    """The name of the CPU, as Linux gives it; elsewhere its architecture."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    for line in lines:
        if line.startswith("model name"):
            return line.split(":")[1].strip()
    return platform.processor() or platform.machine()


def _commit() -> str:
    """The commit of the checkout that runs, with a plus sign if `la` differs from it."""
    package = Path(__file__).parents[1]
    try:
        commit = _git("rev-parse", "--short=12", "HEAD", folder=package)
        changed = _git("status", "--short", ".", folder=package)
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return commit + ("+" if changed else "")


def _git(*words: str, folder: Path) -> str:
    command = ["git", "-C", str(folder), *words]
    return subprocess.check_output(command, text=True, stderr=subprocess.DEVNULL).strip()


def _packed(counts: np.ndarray) -> dict[str, Any]:
    """Counts as text: zlib, then base85; a hundred kilobytes become ten."""
    plain = counts.astype("<i4").tobytes()
    text = base64.b85encode(zlib.compress(plain, 9)).decode()
    return {"shape": list(counts.shape), "int32_zlib_base85": text}


def _unpacked(packed: dict[str, Any]) -> np.ndarray:
    raw = zlib.decompress(base64.b85decode(packed["int32_zlib_base85"]))
    return np.frombuffer(raw, "<i4").reshape(packed["shape"]).astype(np.int64)
