"""What a reader needs to make numbers again: the commit, the versions and the device."""

import importlib.metadata
import platform
import subprocess
from functools import cache
from pathlib import Path

import torch


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
    package = Path(__file__).parent
    try:
        commit = _git("rev-parse", "--short=12", "HEAD", folder=package)
        changed = _git("status", "--short", ".", folder=package)
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return commit + ("+" if changed else "")


def _git(*words: str, folder: Path) -> str:
    command = ["git", "-C", str(folder), *words]
    return subprocess.check_output(command, text=True, stderr=subprocess.DEVNULL).strip()
