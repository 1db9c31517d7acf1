"""What a person with a GPU runs once, to know that the project works there and how fast.

    python -m tests.on_gpu [--only NAME,...] [--out FILE]

Prints a line for each figure as it is measured and for each check as it ends, and goes on after a
check that fails. `--pretend` runs all of it on the CPU at reduced sizes, to test the checks.
The status is 0 if all checks passed, 1 if one failed, and 2 without a GPU.
"""

import argparse
import gc
import json
import os
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import TextIO

os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # of the deterministic run

import torch

from tests.on_gpu import correctness, fitting, loading, resuming, speed, waits, whole
from tests.on_gpu.place import CPU, Check, Place

CHECKS: dict[str, tuple[Check, int]] = {  # and the seconds that a check may take
    "golden": (correctness.golden, 30),
    "scores": (correctness.scores, 30),
    "losses": (fitting.losses, 60),
    "methods": (fitting.methods, 40),
    "features": (correctness.features, 60),
    "predictor": (correctness.predictor, 30),
    "resume": (resuming.resume, 60),
    "workers": (resuming.workers, 60),
    "waits": (waits.waits, 30),
    "steps": (speed.steps, 90),
    "encoders": (speed.encoders, 60),
    "evaluation": (speed.evaluation, 30),
    "clicks": (speed.clicks, 20),
    "loader": (loading.loader, 80),
    "encoding": (loading.encoding, 60),
    "whole": (whole.whole, 90),
    "tried": (speed.tried, 120),
}
UNASKED = ("tried",)  # run only if they are named, because they take long
SLOWER = 5  # a CPU, also at reduced sizes


class TooLong(Exception):
    """A check ran past its limit."""


@contextmanager
def limited(seconds: int) -> Iterator[None]:
    """Raise TooLong if the block takes more seconds."""

    def stop(number: int, frame: FrameType | None) -> None:
        raise TooLong(f"not done after {seconds} s")

    previous = signal.signal(signal.SIGALRM, stop)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, previous)


def run_check(name: str, place: Place, out: TextIO) -> bool:
    """Whether the check passed; its figures are printed and written to `out`."""
    check, seconds = CHECKS[name]
    if place.device.type == "cpu":
        seconds *= SLOWER
    started = time.perf_counter()
    error = ""
    try:
        with limited(seconds):
            for figures in check(place):
                line = json.dumps({"check": name, **figures})
                print("    " + line, flush=True)
                out.write(line + "\n")
                out.flush()
    except Exception as problem:
        print("".join(traceback.format_exception(problem, limit=-4)), flush=True)
        error = f"{type(problem).__name__}: {problem}"[:300]
    spent = round(time.perf_counter() - started, 1)
    print(f"{'FAILED' if error else 'ok':7}{name:12}{spent:6.1f} s  {error}", flush=True)
    out.write(json.dumps({"check": name, "seconds": spent, "error": error}) + "\n")
    out.flush()
    gc.collect()
    if place.device.type == "cuda":
        torch.cuda.empty_cache()
    return not error


def machine(device: torch.device) -> dict[str, object]:
    """The card and the versions, for the first line of the log."""
    figures: dict[str, object] = {"torch": torch.__version__, "cores": os.cpu_count()}
    if device.type == "cuda":
        properties = torch.cuda.get_device_properties(device)
        figures["card"] = properties.name
        figures["memory_gb"] = round(properties.total_memory / 1e9, 1)
        figures["cuda"] = torch.version.cuda
    return figures


def main() -> int:
    """Run the checks and return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", default="", help="names of checks, with commas")
    parser.add_argument("--out", type=Path, default=Path("on_gpu.jsonl"), help="JSON lines")
    parser.add_argument("--pretend", action="store_true", help="on the CPU, at reduced sizes")
    asked = parser.parse_args()
    if not asked.pretend and not torch.cuda.is_available():
        print("torch finds no CUDA device on this machine, so nothing is checked.")
        return 2
    usual = [name for name in CHECKS if name not in UNASKED]
    names = asked.only.split(",") if asked.only else usual
    unknown = [name for name in names if name not in CHECKS]
    if unknown:
        parser.error(f"no checks {', '.join(unknown)}; known: {', '.join(CHECKS)}")
    device = CPU if asked.pretend else torch.device("cuda", 0)
    torch.set_num_threads(1 if asked.pretend else min(8, os.cpu_count() or 1))
    asked.out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder, asked.out.open("a") as out:
        first = json.dumps({"check": "machine", **machine(device)})
        print(first, flush=True)
        out.write(first + "\n")
        place = Place(device, Path(folder), reduced=asked.pretend)
        passed = [run_check(name, place, out) for name in names]
    print(f"{sum(passed)} of {len(passed)} checks passed")
    return 0 if all(passed) else 1


if __name__ == "__main__":
    sys.exit(main())
