"""Peak memory of one step, in a process of its own: `python -m tests.bench.memory MODEL ARM ...`.

The peak is that of the resident memory, inputs and what the step makes of them included, above what
was resident when imports, weights and a step on a toy size were done.
"""

import gc
import json
import os
import resource
import subprocess
import sys
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import torch

from tests.bench.steps import (
    Shape,
    config_of,
    dense,
    episodes,
    learner,
    our_logits,
    reference_logits,
    step,
)

REPOSITORY = Path(__file__).resolve().parents[2]
MB = 1e6


def peak_mb(name: str, arm: str, shape: Shape, *, train: bool, threads: int) -> tuple[float, float]:
    """MB above the weights, and of the whole process, at the peak of a step of a fresh process.

    Raises:
        RuntimeError: the process died, perhaps for want of memory.
    """
    asked = json.dumps([name, arm, shape, train, threads])
    command = [sys.executable, "-m", "tests.bench.memory", asked]
    environment = os.environ | {"OMP_NUM_THREADS": str(threads)}
    done = subprocess.run(
        command, cwd=REPOSITORY, env=environment, capture_output=True, text=True, check=False
    )
    if done.returncode:
        said = done.stderr.strip().splitlines()[-1:]
        raise RuntimeError(f"{arm} at {name} {shape} ended with {done.returncode}: {said}")
    above, whole = json.loads(done.stdout)
    return above, whole


def measure(name: str, arm: str, shape: Shape, train: bool) -> tuple[float, float]:
    """The same in this process, which should have done nothing else."""
    config = config_of(name, arm)
    model = learner(config)
    toy = replace(config, model=replace(config.model, image_size=64))

    def work(size, shape: Shape) -> None:
        batch = episodes(size, shape)
        if arm == "reference":
            logits = reference_logits(model, dense(batch), train=train)
        else:
            logits = our_logits(model, batch)
        del batch
        step(logits, model, train=train)()

    work(toy, (1, 1, 1))
    gc.collect()
    before = _forget_peak()
    work(config, shape)
    peak = _peak()
    return (peak - before) / MB, peak / MB


def _forget_peak() -> int:
    """Bytes that are resident now; from here on a new peak counts where the system allows it."""
    with suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")
    with suppress(OSError):
        return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()
    return _peak()


def _peak() -> int:
    """Bytes that were resident at most; if need be getrusage's, where an ancestor's count too."""
    with suppress(OSError):
        status = Path("/proc/self/status").read_text()
        return 1024 * int(status.split("VmHWM:")[1].split()[0])
    unit = 1 if sys.platform == "darwin" else 1024
    return unit * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


if __name__ == "__main__":
    name, arm, shape, train, threads = json.loads(sys.argv[1])
    torch.set_num_threads(threads)
    print(json.dumps(measure(name, arm, tuple(shape), train)))
