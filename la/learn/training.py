"""Episodic training (paper 3.3, 4.2): a function of (seed, step) that resumes exactly.

A step averages the gradient over `micro_batches` batches of a random (B, N, K). They are
sharded over the processes, so that two processes with one batch each take the same step
as one process with two.
"""

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path

import torch
from accelerate import Accelerator, DistributedDataParallelKwargs
from accelerate.tracking import GeneralTracker, filter_trackers
from torch import nn

from la.config import TrainConfig
from la.errors import UserError
from la.files import claim
from la.learn.precision import tf32
from la.learn.run import Batches, Episodes, Run, Validate
from la.learn.weights.states import History

REQUEUE = 75  # exit status that asks a queue to run the same command again (EX_TEMPFAIL)
AGREE_EVERY = 8  # steps after which the processes tell each other whether to stop


class Stopped(UserError):
    """Training was asked to stop, saved its state and can be resumed by the same call."""


def fit(
    model: nn.Module,
    batches: Batches,
    config: TrainConfig,
    folder: Path,
    *,
    stop_after: int | None = None,
    tracker: str | GeneralTracker | None = None,
    report: Callable[[int], None] = lambda n_steps: None,
    episodes: Episodes | None = None,
    validate: Validate | None = None,
) -> History:
    """Train to `config.steps`, from the newest state in `folder` if there is one.

    If another process trains in the same folder, this one waits and resumes from its state.

    Args:
        batches: yields the batches of the given numbers, in their order; step s of the
            run takes the `micro_batches` numbers that begin at s * micro_batches, sharded
            over the processes.
        folder: for the states, and for the history as JSON lines.
        stop_after: save and raise `Stopped` after this many steps of this call.
        tracker: one that accelerate supports, such as "tensorboard"; it also gets the history.
        report: called with the number of steps done since the last call.
        episodes: the episodes of a batch number, written out if its step diverges.
        validate: a score on *seen* classes, computed every `checkpoint_every` steps and
            after the last; the best weights are kept as `best.safetensors`.

    Returns:
        The history: step, loss, lr, gradient norm and, where computed, validation score.

    Raises:
        UserError: the micro-batches cannot be divided evenly among the processes, the state
            belongs to another model, or the tracker is not installed.
        Stopped: after SIGTERM or `stop_after` steps, once the state is saved.
        Diverged: the loss or its gradient became NaN or infinite; `diverged.json` names
            the step and its batches.
        BatchTooLarge: a batch does not fit into the device's memory.
    """
    accelerator = _accelerator(config, folder, tracker)
    lock: AbstractContextManager[bool] = nullcontext(True)
    if accelerator.is_main_process:
        lock = claim(folder / "training", wait=True)
    fast = tf32(config.precision == "bfloat16")  # in the operations that autocast leaves in float32
    with lock, _sigterm() as stop_asked, _tracking(accelerator), fast:
        accelerator.wait_for_everyone()
        run = Run(model, config, folder, accelerator, episodes, validate)
        start = run.step
        run.validate_if_due()
        report(start)
        for micro_batches in run.remaining(batches):
            run.take_step(micro_batches)
            report(1)
            stop = run.step - start == stop_after or _agreed(stop_asked, run.step, accelerator)
            stop = stop and run.step < config.steps
            run.settle(stop)
            if stop:
                raise Stopped(f"saved at step {run.step} of {config.steps}; run again to resume")
    return run.history


def _accelerator(
    config: TrainConfig,
    folder: Path,
    tracker: str | GeneralTracker | None,
) -> Accelerator:
    """The device, the processes and the trackers; raises UserError if they do not fit."""
    if tracker and not filter_trackers(tracker, folder):
        raise UserError(f"{tracker} is not installed; pip install {tracker}, or train without it")
    # In a batch without points, their embeddings get no gradient.
    unused = DistributedDataParallelKwargs(find_unused_parameters=True)
    accelerator = Accelerator(
        cpu=not torch.cuda.is_available(),
        log_with=tracker,
        project_dir=folder,
        kwargs_handlers=[unused],
    )
    world = accelerator.num_processes
    if config.micro_batches % world:
        raise UserError(
            f"{world} processes cannot share {config.micro_batches} batches a step equally; start "
            f"as many processes as divide {config.micro_batches}"
        )
    return accelerator


def _agreed(
    asked: threading.Event,
    step: int,
    accelerator: Accelerator,
) -> bool:
    """Whether all processes stop at this step: a signal to one of them stops all."""
    if accelerator.num_processes == 1:
        return asked.is_set()
    if step % AGREE_EVERY:
        return False
    flag = torch.tensor(float(asked.is_set()), device=accelerator.device)
    return bool(accelerator.reduce(flag, "sum") > 0)


@contextmanager
def _tracking(accelerator: Accelerator) -> Iterator[None]:
    """Open the trackers for the run, and close them however it ends."""
    accelerator.init_trackers("tracked")
    try:
        yield
    finally:
        for tracker in accelerator.trackers:
            tracker.finish()


@contextmanager
def _sigterm() -> Iterator[threading.Event]:
    """An event that SIGTERM sets, so that the step in progress is completed and saved."""
    asked = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield asked  # only the main thread may install a handler
        return
    previous = signal.signal(signal.SIGTERM, lambda *_: asked.set())
    try:
        yield asked
    finally:
        signal.signal(signal.SIGTERM, previous)
