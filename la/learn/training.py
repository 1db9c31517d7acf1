"""Episodic training (paper 3.3, 4.2): deterministic from (seed, step), stopped and resumed exactly.

A step averages the gradient over `micro_batches` batches, each of one (B, N, K) drawn at random.
They are split over the processes, so that two processes with one each take the very step of one
process with two.
"""

import json
import math
import signal
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import asdict
from pathlib import Path

import torch
from accelerate import Accelerator, DistributedDataParallelKwargs
from accelerate.tracking import GeneralTracker, filter_trackers
from torch import Tensor, nn
from torch.nn import functional as F

from la.config import TrainConfig
from la.errors import UserError
from la.files import claim, write_whole
from la.learn.evaluation import at_least_float32, original_scores
from la.learn.losses import class_weights, focal_loss, official_focal_loss
from la.learn.states import load_newest, save_best, save_state
from la.types import Batch, Episode, to_device

REQUEUE = 75  # exit status that asks a queue to run the same command again (EX_TEMPFAIL)
LOOK_EVERY = 50  # steps between looks at the losses; each look waits for the device
AGREE_EVERY = 8  # steps between the processes' agreements on whether to stop


class Stopped(UserError):
    """Training was asked to stop, saved its state and can be resumed by the same call."""


class BatchTooLarge(UserError, torch.OutOfMemoryError):
    """A batch of these (B, N, K) does not fit into the memory of the device."""


class Diverged(UserError):
    """The loss or its gradient is not finite; the last good state is kept."""


def learning_rate(step: int, config: TrainConfig) -> float:
    """Linear warm-up, then a cosine to 0 over the remaining steps, or constant [P 4.2]."""
    if step < config.warmup_steps:
        return config.lr * (step + 1) / config.warmup_steps
    if config.schedule == "constant":
        return config.lr
    done = (step - config.warmup_steps) / max(1, config.steps - config.warmup_steps)
    return config.lr * 0.5 * (1 + math.cos(math.pi * done))


def batch_loss(model: nn.Module, batch: Batch, config: TrainConfig) -> Tensor:
    """Eq. 6 on the target's own grid.

    With `target_side` None that is the query's original pixels, and the loss is divided by all of
    them, as the published code does; what pads a batch counts too there, up to its largest query
    here, to its largest image there.
    """
    padded = ~batch.class_valid[:, :, None, None]
    logits = at_least_float32(model(batch))
    height, width = batch.target.shape[-2:]
    if config.target_side is None:
        frame = getattr(model, "module", model).config  # DistributedDataParallel hides it
        maps = original_scores(logits, batch, frame)
        logits = torch.stack(
            [F.pad(m, (0, width - m.shape[-1], 0, height - m.shape[-2])) for m in maps]
        )
    else:
        logits = logits.masked_fill(padded, 0)  # interpolating -inf would make NaN
        logits = F.interpolate(logits, size=(height, width), mode="bilinear")
    logits = logits.masked_fill(padded, -math.inf)
    weights = class_weights(
        batch.target, batch.n_rows, config.class_weight, config.weight_power, logits.dtype
    )
    loss = official_focal_loss if config.target_side is None else focal_loss
    return loss(logits, batch.target, weights, config.gamma)


def fit(
    model: nn.Module,
    batches: Callable[[list[int]], Iterable[Batch]],
    config: TrainConfig,
    folder: Path,
    *,
    stop_after: int | None = None,
    tracker: str | GeneralTracker | None = None,
    report: Callable[[int], None] = lambda steps: None,
    episodes: Callable[[int], Sequence[Episode]] | None = None,
    validate: Callable[[nn.Module], float] | None = None,
) -> list[dict]:
    """Train to `config.steps`, from the newest state in `folder` if there is one.

    Another process that trains in the same folder is waited for, and its work is taken over.

    Args:
        batches: yields the batches of the given numbers, in their order; step s of the run takes
            numbers s * micro_batches and on, each process its own share of them.
        folder: for the states, and for the history as JSON lines.
        stop_after: save and raise `Stopped` after this many steps of this call.
        tracker: what accelerate knows by this name, such as "tensorboard", gets the history too.
        report: called with the number of steps done since the last call.
        episodes: the episodes of a batch number, to be written out if its step diverges.
        validate: a score on *seen* classes, asked for whenever the state is saved; the weights with
            the highest are kept as `best.safetensors`.

    Returns:
        The history: a record a step with step, loss, lr, gradient norm, and validation if asked.

    Raises:
        ValueError: the batches of a step cannot be shared out, the state is another model's, or the
            tracker is not installed.
        Stopped: on SIGTERM or `stop_after`, after saving.
        Diverged: the loss or its gradient became NaN or infinite; `diverged.json` names the step.
        BatchTooLarge: with the (B, N, K) that did not fit.
    """
    if tracker and not filter_trackers(tracker, folder):
        raise UserError(f"{tracker} is not installed; pip install {tracker}, or train without it")
    accelerator = Accelerator(
        cpu=not torch.cuda.is_available(), log_with=tracker, project_dir=folder,
        kwargs_handlers=[DistributedDataParallelKwargs(find_unused_parameters=True)],
    )  # fmt: skip
    world, main = accelerator.num_processes, accelerator.is_main_process
    if config.micro_batches % world:
        raise UserError(
            f"micro_batches={config.micro_batches} cannot be shared by {world} processes; make it "
            f"a multiple of {world}"
        )
    mine = range(accelerator.process_index, config.micro_batches, world)
    turn = claim(folder / "training", wait=True) if main else nullcontext()
    with turn, _sigterm() as asked, _tracked(accelerator):
        accelerator.wait_for_everyone()
        model.to(accelerator.device).train()
        optimizer = torch.optim.AdamW(
            model.parameters(), lr=config.lr, weight_decay=config.weight_decay
        )
        first, history = load_newest(model, optimizer, folder)
        report(first)
        wrapped, optimizer = accelerator.prepare(model, optimizer)
        steps = range(first, config.steps)
        source = iter(batches([step * config.micro_batches + n for step in steps for n in mine]))
        pending: list[tuple[int, Tensor, Tensor]] = []
        for step in steps:
            for group in optimizer.param_groups:
                group["lr"] = learning_rate(step, config)
            share = [next(source) for _ in mine]
            pending.append((step, *_step(wrapped, optimizer, share, config, accelerator)))
            report(1)
            done, last = step + 1, step + 1 == config.steps
            stop = done - first == stop_after or _agreed(asked, done, accelerator)
            saves = last or stop or done % config.checkpoint_every == 0
            if saves or done % LOOK_EVERY == 0:
                new, pending = _records(pending, config, folder if main else None, episodes), []
                history += new
                if saves and main:
                    _validate(validate, model, folder, history)
                    save_state(model, optimizer, folder, done, history)
                for record in new:
                    accelerator.log(record, step=record["step"])
            if saves:
                accelerator.wait_for_everyone()
            if stop and not last:
                raise Stopped(f"saved at step {done} of {config.steps}; run again to go on")
    return history


def _step(wrapped, optimizer, share: list[Batch], config, accelerator) -> tuple[Tensor, Tensor]:
    """One optimiser step; returns the mean loss over all processes and the gradient norm."""
    losses = []
    optimizer.zero_grad(set_to_none=True)
    bfloat16 = config.precision == "bfloat16"
    for position, batch in enumerate(share):
        last = position + 1 == len(share)
        try:
            with nullcontext() if last else accelerator.no_sync(wrapped):
                batch = to_device(batch, accelerator.device)
                with torch.autocast(accelerator.device.type, torch.bfloat16, enabled=bfloat16):
                    loss = batch_loss(wrapped, batch, config) / len(share)
                accelerator.backward(loss)
        except torch.OutOfMemoryError as error:
            raise BatchTooLarge(_too_large(batch, config)) from error
        losses.append(loss.detach())
    norm = accelerator.clip_grad_norm_(wrapped.parameters(), config.clip or math.inf)
    optimizer.step()
    return accelerator.reduce(torch.stack(losses).sum(), "mean"), torch.as_tensor(norm)


def _too_large(batch: Batch, config: TrainConfig) -> str:
    n_episodes, n_supports = len(batch.query_size), len(batch.support_episode)
    n_ways = int(batch.class_valid.sum()) - n_episodes  # of all episodes together
    shape = n_episodes, batch.n_rows - 1, math.ceil(n_supports / max(1, n_ways))
    less = "" if config.precision == "bfloat16" else 'precision="bfloat16", or '
    return (
        f"the device has no memory left for (B, N, K) = {shape} with {n_supports} support images "
        f"and {len(batch.prompts.example_row)} examples; use {less}a smaller B in "
        "EpisodeConfig.shapes with as many more micro_batches, which keeps the size of a step"
    )


def _agreed(asked: threading.Event, done: int, accelerator: Accelerator) -> bool:
    """Whether all processes stop here: a signal that reached one counts for all."""
    if accelerator.num_processes == 1:
        return asked.is_set()
    if done % AGREE_EVERY:
        return False
    flag = torch.tensor(float(asked.is_set()), device=accelerator.device)
    return bool(accelerator.reduce(flag, "sum") > 0)


def _records(
    pending: list[tuple[int, Tensor, Tensor]],
    config: TrainConfig,
    folder: Path | None,
    episodes: Callable[[int], Sequence[Episode]] | None,
) -> list[dict]:
    """Losses leave the device together: no synchronisation within most steps."""
    records = [
        {"step": step, "loss": float(loss), "norm": float(norm), "lr": learning_rate(step, config)}
        for step, loss, norm in pending
    ]
    finite = (math.isfinite(r["loss"]) and math.isfinite(r["norm"]) for r in records)
    bad = next((r for r, good in zip(records, finite, strict=True) if not good), None)
    if bad is None:
        return records
    first = bad["step"] * config.micro_batches
    numbers = list(range(first, first + config.micro_batches))
    note = {key: str(value) for key, value in bad.items()} | {"batches": numbers}
    if episodes is not None:
        note["episodes"] = [[asdict(e) for e in episodes(number)] for number in numbers]
    if folder is not None:
        write_whole(folder / "diverged.json", json.dumps(note))
    raise Diverged(
        f"step {bad['step']}: loss {bad['loss']}, gradient norm {bad['norm']}; the last good state "
        f"is kept, and diverged.json beside it names batches {numbers}. Lower the learning rate or "
        "set clip, or look at those episodes"
    )


def _validate(validate, model: nn.Module, folder: Path, history: list[dict]) -> None:
    """Add the score to the newest record; keep the weights if there is none higher."""
    if validate is None:
        return
    model.eval()
    with torch.inference_mode():
        score = history[-1]["validation"] = float(validate(model))
    model.train()
    if score >= max(record.get("validation", -math.inf) for record in history):
        save_best(model, folder)


@contextmanager
def _tracked(accelerator: Accelerator) -> Iterator[None]:
    """What watches a run is closed however the run ends."""
    accelerator.init_trackers("tracked")
    try:
        yield
    finally:
        for tracker in accelerator.trackers:
            tracker.finish()


@contextmanager
def _sigterm() -> Iterator[threading.Event]:
    """An event that SIGTERM sets, so that the step in progress ends and is saved."""
    asked, caught = threading.Event(), threading.current_thread() is threading.main_thread()
    before = signal.signal(signal.SIGTERM, lambda *_: asked.set()) if caught else None
    try:
        yield asked
    finally:
        if caught:
            signal.signal(signal.SIGTERM, before)
