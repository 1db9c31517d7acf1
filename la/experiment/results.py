"""Results as data: one JSON file a cell, from which every table is drawn."""

import base64
import importlib.metadata
import json
import platform
import re
import subprocess
import zlib
from dataclasses import asdict, dataclass
from functools import cache, cached_property
from pathlib import Path

import numpy as np
import torch

from la.config import digest
from la.errors import UserError
from la.files import write_whole
from la.learn.metrics import Scores
from la.types import PromptKind

VERSION = 1  # of what a cell holds and how it is scored; another number makes every cell anew


@dataclass(frozen=True)
class Cell:
    """What one number of a table is: a method, on one fold, in one setting, with one seed."""

    method: str
    fold: int
    n_ways: int
    k_shots: int
    seed: int
    episodes: int
    kinds: tuple[PromptKind, ...] = (PromptKind.MASK,)
    protocol: str = "clean"

    @property
    def setting(self) -> str:
        """As the paper's tables print it."""
        return f"{self.n_ways}-way {self.k_shots}-shot"

    def file_name(self, identity: str) -> str:
        """Readable, and different for whatever else (`identity`) the number depends on."""
        kinds = "+".join(self.kinds)
        key = digest({"cell": asdict(self), "identity": identity, "version": VERSION})
        where = f"fold{self.fold}_{self.n_ways}way_{self.k_shots}shot_{kinds}_seed{self.seed}"
        method = re.sub(r"[^a-z0-9+_]+", "-", self.method.lower())
        return f"{method}_{where}_{key}.json"


@dataclass(frozen=True)
class CellResult:
    """A cell with the counts of its episodes, and where they come from."""

    cell: Cell
    classes: tuple[int, ...]  # category ids of the fold
    class_ids: np.ndarray  # (episodes, N)
    confusion: np.ndarray  # (episodes, C, C) int64 [target, prediction]
    episodes_sha256: str
    checkpoint_sha256: str  # "" for a method without weights
    data: str  # name and fingerprint of the data set
    bias: float  # added to the background, chosen on seen classes
    seconds: float
    provenance: dict[str, str]

    @cached_property
    def scores(self) -> Scores:
        """Every score of this cell."""
        return Scores.of(zip(self.class_ids, self.confusion, strict=True), self.classes)


def save_cell(result: CellResult, path: Path) -> None:
    """Write one cell; whole or not at all."""
    raw = asdict(result) | {
        "version": VERSION,
        "miou_star": result.scores.miou_star,
        "class_ids": _packed(result.class_ids),
        "confusion": _packed(result.confusion),
    }
    write_whole(path, json.dumps(raw, indent=1, sort_keys=True) + "\n")


def load_cell(path: Path) -> CellResult:
    """Read one cell.

    Raises:
        ValueError: the file is damaged or of another version; deleting it makes it anew.
    """
    try:
        raw = json.loads(path.read_text())
        if raw.pop("version") != VERSION:
            raise ValueError("it is of another version")
        raw.pop("miou_star")
        kinds = tuple(map(PromptKind, raw["cell"]["kinds"]))
        result = CellResult(
            **raw
            | {"cell": Cell(**raw["cell"] | {"kinds": kinds}), "classes": tuple(raw["classes"])}
            | {name: _unpacked(raw[name]) for name in ("class_ids", "confusion")}
        )
        if len(result.class_ids) != len(result.confusion):
            raise ValueError("its counts are cut short")
        return result
    except (KeyError, TypeError, ValueError, zlib.error) as error:
        raise UserError(f"{path} is no result ({error}); delete it and run again") from None


@cache
def provenance() -> dict[str, str]:
    """What a reader needs to make the numbers again: commit, versions, device."""
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else platform.machine()
    packages = ("torch", "numpy", "pycocotools", "transformers")
    return {
        "commit": _commit(), "python": platform.python_version(), "device": device,
        **{name: importlib.metadata.version(name) for name in packages},
    }  # fmt: skip


def _commit() -> str:
    """The commit of the checkout that runs, with a plus if `la` differs from it."""
    git = ["git", "-C", str(Path(__file__).parents[1])]
    quiet = {"text": True, "stderr": subprocess.DEVNULL}
    try:
        commit = subprocess.check_output([*git, "rev-parse", "--short=12", "HEAD"], **quiet)
        changed = subprocess.check_output([*git, "status", "--short", "."], **quiet)
        return commit.strip() + ("+" if changed else "")
    except (OSError, subprocess.CalledProcessError):
        return "unknown"


def _packed(counts: np.ndarray) -> dict:
    """int64 counts as text: zlib, then base85; a hundred kilobytes become ten."""
    text = base64.b85encode(zlib.compress(counts.astype("<i4").tobytes(), 9)).decode()
    return {"shape": list(counts.shape), "int32_zlib_base85": text}


def _unpacked(packed: dict) -> np.ndarray:
    raw = zlib.decompress(base64.b85decode(packed["int32_zlib_base85"]))
    return np.frombuffer(raw, "<i4").reshape(packed["shape"]).astype(np.int64)
