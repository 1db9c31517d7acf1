"""What this machine offers the workbook: a table for a notebook's first page."""

import platform
import shutil
from importlib import metadata
from pathlib import Path

import pandas as pd
import torch
from packaging.requirements import Requirement

from la.checkpoints import QUICK
from la.model.backbone import TINY_WEIGHTS

PACKAGE = "label-anything-workbook"


def environment(folder: Path = Path(".")) -> pd.DataFrame:
    """Parts, what was found, and what to do about those that are missing ("" where nothing is)."""
    free = shutil.disk_usage(folder).free / 1e9
    device = f"CPU, {torch.get_num_threads()} threads, for quick; the paper's profiles want a GPU"
    if torch.cuda.is_available():
        device = f"{torch.cuda.get_device_name()}, for every profile"
    rows = [
        ("Python", platform.python_version(), ""),
        ("device", device, ""),
        ("disk", f"{free:.0f} GB free", "" if free > 5 else "quick wants 5 GB"),
    ]
    for name, path in (("tiny backbone", TINY_WEIGHTS), ("quick model", QUICK)):
        size = f"{path.stat().st_size / 1e6:.1f} MB" if path.is_file() else ""
        mend = "" if size else f"reinstall: {path.name} is part of the package"
        rows.append((name, size or "missing", mend))
    for wanted in map(Requirement, metadata.requires(PACKAGE) or ()):
        if wanted.marker is not None and not wanted.marker.evaluate({"extra": ""}):
            continue
        try:
            found = metadata.version(wanted.name)
        except metadata.PackageNotFoundError:
            found = "missing"
        fits = found != "missing" and wanted.specifier.contains(found, prereleases=True)
        rows.append((wanted.name, found, "" if fits else f"pip install '{wanted}'"))
    return pd.DataFrame(rows, columns=["part", "found", "to do"]).set_index("part")
