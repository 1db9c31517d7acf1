"""What this machine offers the workbook: a table for a notebook's first page."""

import platform
import shutil
from importlib import metadata
from pathlib import Path

import pandas as pd
import torch
from packaging.requirements import Requirement

from la.checkpoints import QUICK
from la.model.tiny import WEIGHTS

PACKAGE = "label-anything-workbook"


def environment(folder: Path = Path(".")) -> pd.DataFrame:
    """Parts, what was found, and what to do about those that are missing ("" where nothing is)."""
    rows = [("Python", platform.python_version(), ""), _device(), *_weights(), *_packages()]
    free = shutil.disk_usage(folder).free / 1e9
    rows.insert(2, ("disk", f"{free:.0f} GB free", "" if free > 5 else "quick wants 5 GB"))
    return pd.DataFrame(rows, columns=["part", "found", "to do"]).set_index("part")


def _device() -> tuple[str, str, str]:
    if torch.cuda.is_available():
        return "device", f"{torch.cuda.get_device_name()}, for every profile", ""
    threads = torch.get_num_threads()
    return "device", f"CPU, {threads} threads, for quick; the paper's profiles want a GPU", ""


def _weights() -> list[tuple[str, str, str]]:
    rows = []
    for name, path in (("tiny backbone", WEIGHTS), ("quick model", QUICK)):
        there = path.is_file()
        found = f"{path.stat().st_size / 1e6:.1f} MB" if there else "missing"
        rows.append(
            (name, found, "" if there else f"reinstall: {path.name} is part of the package")
        )
    return rows


def _packages() -> list[tuple[str, str, str]]:
    rows = []
    for line in metadata.requires(PACKAGE) or ():
        wanted = Requirement(line)
        if wanted.marker is not None and not wanted.marker.evaluate({"extra": ""}):
            continue
        try:
            version = metadata.version(wanted.name)
        except metadata.PackageNotFoundError:
            rows.append((wanted.name, "missing", f"pip install '{wanted}'"))
            continue
        fits = wanted.specifier.contains(version, prereleases=True)
        rows.append((wanted.name, version, "" if fits else f"pip install '{wanted}'"))
    return rows
