"""How often a training step waits for the GPU, and where."""

import traceback
import warnings
from collections import Counter
from collections.abc import Callable, Iterator

import torch

from la.learn.run import Run
from la.types import Batch
from tests.on_gpu.place import Figures, Place, batch_on, computing_on, training_run

STEPS = 4
MOST = 2  # waits a step


def waits(place: Place) -> Iterator[Figures]:
    """Waits of a training step, which torch reports as warnings; the first step may wait more."""
    most = 0.0
    for name in ("quick", "paper-mae", "paper-mae-official"):
        config = place.config(name)
        batch = batch_on(place.device, config, config.episodes.shapes[-1])
        with computing_on(place.device):
            run = training_run(place, config)
            run.take_step([batch])
            places = places_of_waits(place, lambda run=run, batch=batch: _steps(run, batch))
        a_step = sum(places.values()) / STEPS
        yield {"profile": name, "waits_a_step": a_step, "places": dict(places)}
        most = max(most, a_step)
    assert most <= MOST


def _steps(run: Run, batch: Batch) -> None:
    for _ in range(STEPS):
        run.take_step([batch])


def places_of_waits(place: Place, work: Callable[[], object]) -> Counter[str]:
    """How often each line of `la` waits for the device."""
    counted: Counter[str] = Counter()

    def count(message: object, *_: object) -> None:
        if "called a synchronizing" not in str(message):
            return
        frames = [f for f in traceback.extract_stack() if "/la/" in f.filename]
        ours = [f for f in frames if "site-packages" not in f.filename]
        where = "outside of la"
        if ours:
            where = f"{ours[-1].filename.rpartition('/la/')[2]}:{ours[-1].lineno}"
        counted[where] += 1

    with warnings.catch_warnings():
        warnings.simplefilter("always")
        warnings.showwarning = count
        if place.device.type != "cuda":
            work()
            return counted
        torch.cuda.synchronize()
        torch.cuda.set_sync_debug_mode("warn")
        try:
            work()
        finally:
            torch.cuda.set_sync_debug_mode("default")
    return counted
