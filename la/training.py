"""Episodic training (paper 3.3, 4.2): deterministic from (seed, step), stopped and resumed exactly.

A step averages the gradient over `micro_batches` batches, each of one (B, N, K) drawn at random. They are
split over the processes, so that two processes with one each take the very step of one process with two.
"""

import json
import logging
import math
import signal
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path

import torch
from accelerate import Accelerator, DistributedDataParallelKwargs
from safetensors import safe_open
from safetensors.torch import save
from torch import Tensor, nn
from torch.nn import functional as F

from la.config import TrainConfig
from la.data.atomic import atomic_write, sweep
from la.losses import class_weights, focal_loss
from la.types import Batch, to_device

log = logging.getLogger(__name__)

REQUEUE = 75  # exit status that asks a queue to run the same command again (EX_TEMPFAIL)


class Stopped(Exception):
    """Training was asked to stop, saved its state and can be resumed by the same call."""


class Diverged(RuntimeError):
    """The loss is not finite; the last good state is kept and the batch is named."""


def learning_rate(step: int, config: TrainConfig) -> float:
    """Linear warm-up, then a cosine to 0 over the remaining steps, or constant [P 4.2]."""
    if step < config.warmup_steps:
        return config.lr * (step + 1) / config.warmup_steps
    if config.schedule == "constant":
        return config.lr
    done = (step - config.warmup_steps) / max(1, config.steps - config.warmup_steps)
    return config.lr * 0.5 * (1 + math.cos(math.pi * done))


def batch_loss(model: nn.Module, batch: Batch, config: TrainConfig) -> Tensor:
    """Eq. 6 on the target's own grid."""
    padded = ~batch.class_valid[:, :, None, None]
    logits = model(batch).masked_fill(padded, 0)  # interpolating -inf would make NaN
    logits = F.interpolate(logits, size=batch.target.shape[-2:], mode="bilinear")
    logits = logits.masked_fill(padded, -math.inf)
    weights = class_weights(
        batch.target, batch.n_rows, config.class_weight, config.weight_power
    )
    return focal_loss(logits, batch.target, weights, config.gamma)


def fit(
    model: nn.Module,
    batches: Callable[[list[int]], Iterable[Batch]],
    config: TrainConfig,
    folder: Path,
    *,
    accelerator: Accelerator | None = None,
    stop_after: int | None = None,
    report: Callable[[int], None] = lambda steps: None,
) -> list[dict]:
    """Train to `config.steps`, from the newest state in `folder` if there is one.

    Args:
        batches: yields the batches of the given numbers, in their order; step s of the run takes
            numbers s * micro_batches and on, each process its own share of them.
        folder: states, and the history as JSON lines, are kept here.
        stop_after: save and raise `Stopped` after this many steps of this call.
        report: called with the number of steps done since the last call.

    Returns:
        The history: one record a step with step, loss, lr and gradient norm.

    Raises:
        Stopped: on SIGTERM or `stop_after`, after saving.
        Diverged: the loss became NaN or infinite; the history names the step.
    """
    accelerator = accelerator or Accelerator(
        mixed_precision="bf16" if config.precision == "bfloat16" else "no",
        cpu=not torch.cuda.is_available(),
        # a batch without masks leaves the mask layers without a gradient
        kwargs_handlers=[DistributedDataParallelKwargs(find_unused_parameters=True)],
    )
    mine = range(accelerator.process_index, config.micro_batches, accelerator.num_processes)
    folder.mkdir(parents=True, exist_ok=True)
    optimizer = torch.optim.AdamW(model.parameters(), lr=config.lr, weight_decay=config.weight_decay)
    first, history = _resume(model, optimizer, folder)
    report(first)
    wrapped, optimizer = accelerator.prepare(model, optimizer)
    steps = range(first, config.steps)
    source = iter(batches([step * config.micro_batches + n for step in steps for n in mine]))
    pending: list[tuple[int, Tensor, Tensor]] = []
    with _sigterm() as asked_to_stop:
        for step in steps:
            for group in optimizer.param_groups:
                group["lr"] = learning_rate(step, config)
            share = [next(source) for _ in mine]
            pending.append((step, *_step(wrapped, optimizer, share, config, accelerator)))
            report(1)
            last = step + 1 == config.steps
            stop = asked_to_stop.is_set() or step + 1 - first == stop_after
            if last or stop or (step + 1) % config.checkpoint_every == 0:
                history += _records(pending, config)
                pending = []
                if accelerator.is_main_process:
                    _save(model, optimizer, folder, step + 1, history)
                accelerator.wait_for_everyone()
            if stop and not last:
                raise Stopped(f"saved at step {step + 1} of {config.steps}; run again to go on")
    return history


def _step(wrapped, optimizer, share: list[Batch], config, accelerator) -> tuple[Tensor, Tensor]:
    """One optimiser step; returns the mean loss over all processes and the gradient norm."""
    total = torch.zeros((), device=accelerator.device)
    optimizer.zero_grad(set_to_none=True)
    for position, batch in enumerate(share):
        batch = to_device(batch, accelerator.device)
        last = position + 1 == len(share)
        with nullcontext() if last else accelerator.no_sync(wrapped):
            with accelerator.autocast():
                loss = batch_loss(wrapped, batch, config) / len(share)
            accelerator.backward(loss)
        total += loss.detach()
    norm = accelerator.clip_grad_norm_(wrapped.parameters(), config.clip or math.inf)
    optimizer.step()
    return accelerator.reduce(total, "mean"), torch.as_tensor(norm)


def _records(pending: list[tuple[int, Tensor, Tensor]], config: TrainConfig) -> list[dict]:
    """Losses leave the device together, once per checkpoint: no synchronisation within the loop."""
    records = [
        {"step": step, "loss": float(loss), "norm": float(norm), "lr": learning_rate(step, config)}
        for step, loss, norm in pending
    ]
    for record in records:
        if not math.isfinite(record["loss"]):
            raise Diverged(
                f"the loss of step {record['step']} is {record['loss']}; the last good state is kept. "
                f"Lower the learning rate, or replay that step's episodes to look at them"
            )
    return records


def _save(model, optimizer, folder: Path, step: int, history: list[dict]) -> None:
    """Weights, both AdamW moments and the step in one file, written beside and renamed; two are kept."""
    tensors = {}
    for name, parameter in model.named_parameters():
        tensors[f"model/{name}"] = parameter.detach().cpu().contiguous()
        for key, value in optimizer.state[parameter].items():
            tensors[f"{key}/{name}"] = torch.as_tensor(value).cpu().contiguous()
    with atomic_write(folder / "history.jsonl") as file:
        file.write("".join(json.dumps(r) + "\n" for r in history).encode())
    with atomic_write(folder / f"state-{step:08d}.safetensors") as file:
        file.write(save(tensors, metadata={"step": str(step)}))
    for old in sorted(folder.glob("state-*.safetensors"))[:-2]:
        old.unlink()


def _resume(model, optimizer, folder: Path) -> tuple[int, list[dict]]:
    sweep(folder)
    for path in sorted(folder.glob("state-*.safetensors"), reverse=True):
        try:
            with safe_open(path, "pt") as file:
                step = int(file.metadata()["step"])
                tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
        except Exception as error:  # a broken file, whatever broke it: the older state serves
            log.warning("cannot read %s (%s); taking the state before it", path.name, error)
            continue
        with torch.no_grad():
            for name, parameter in model.named_parameters():
                parameter.copy_(tensors[f"model/{name}"])
                if f"step/{name}" in tensors:  # no prompt kind may have needed it yet
                    optimizer.state[parameter] = {
                        key: tensors[f"{key}/{name}"].to(parameter.device if key != "step" else "cpu")
                        for key in ("step", "exp_avg", "exp_avg_sq")
                    }
        lines = (folder / "history.jsonl").read_text().splitlines()
        return step, [json.loads(line) for line in lines][:step]
    return 0, []


@contextmanager
def _sigterm() -> Iterator[threading.Event]:
    """An event that SIGTERM sets, so that the step in progress ends and is saved."""
    asked = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield asked
        return
    before = signal.signal(signal.SIGTERM, lambda *_: asked.set())
    try:
        yield asked
    finally:
        signal.signal(signal.SIGTERM, before)
