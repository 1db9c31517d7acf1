"""A training run in progress: its model and optimizer, its history, and its folder."""

import json
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict
from pathlib import Path

import torch
from accelerate import Accelerator
from torch import Tensor, nn

from la.config import TrainConfig
from la.errors import UserError
from la.files import write_whole
from la.learn.steps import learning_rate, take_step
from la.learn.weights.states import load_newest, save_best, save_history, save_state
from la.types import Batch, Episode

Batches = Callable[[list[int]], Iterable[Batch]]
Episodes = Callable[[int], Sequence[Episode]]  # those of a batch number
Validate = Callable[[nn.Module], float]

READ_EVERY = 50  # steps between readings of the losses; each reading waits for the device


class Diverged(UserError):
    """The loss or its gradient is not finite; the last good state is kept."""


class Run:
    """A run in progress: model, optimizer and history, resumed from the newest state."""

    def __init__(
        self,
        model: nn.Module,
        config: TrainConfig,
        folder: Path,
        accelerator: Accelerator,
        episodes: Episodes | None,
        validate: Validate | None,
    ) -> None:
        self.model = model.to(accelerator.device).train()
        self.config = config
        self.folder = folder
        self.accelerator = accelerator
        self.episodes = episodes
        self.validate = validate
        # On a CPU the fused update of the quick model takes 2.4 ms instead of 11.4, which is a
        # twentieth of a step.
        optimizer = torch.optim.AdamW(
            model.parameters(),
            lr=config.lr,
            weight_decay=config.weight_decay,
            fused=accelerator.device.type == "cpu",
        )
        self.step, self.history = load_newest(model, optimizer, folder)
        self.unread: list[Tensor] = []  # (2,) loss and norm of the last steps, on the device
        self.n_logged = len(self.history)
        # The optimizer state stays where `load_newest` put it: AdamW would wait for step
        # counters on a GPU in every step.
        self.wrapped, self.optimizer = accelerator.prepare(
            model, optimizer, device_placement=[True, False]
        )

    def remaining(self, batches: Batches) -> Iterator[list[Batch]]:
        """This process's micro-batches of each step that is left."""
        n_micro = self.config.micro_batches
        rank, world = self.accelerator.process_index, self.accelerator.num_processes
        share = range(rank, n_micro, world)
        steps = range(self.step, self.config.steps)
        numbers = [step * n_micro + n for step in steps for n in share]
        source = iter(batches(numbers))
        for _ in steps:
            yield [next(source) for _ in share]

    def take_step(self, micro_batches: list[Batch]) -> None:
        """Update the weights; loss and gradient norm stay on the device, to be read later."""
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate(self.step, self.config)
        loss, norm = take_step(
            self.wrapped,
            self.optimizer,
            micro_batches,
            self.config,
            self.accelerator,
        )
        self.unread.append(torch.stack([loss, norm]))
        self.step += 1

    def settle(self, stop: bool) -> None:
        """Read losses, save, validate and log, each if it is due after this step.

        A run that stops saves its state and skips the validation, for which a queue that
        sent SIGTERM may not wait; the call that resumes the run computes it.
        """
        if stop or self._is_saved or self.step % READ_EVERY == 0:
            self._read_losses()
        if stop or self._is_saved:
            if self.accelerator.is_main_process:
                save_state(
                    self.model,
                    self.optimizer,
                    self.folder,
                    self.step,
                    self.history,
                )
            self.accelerator.wait_for_everyone()
        if not stop:
            self.validate_if_due()
        for record in self.history[self.n_logged :]:
            self.accelerator.log(record, step=int(record["step"]))
        self.n_logged = len(self.history)

    def validate_if_due(self) -> None:
        """Add a score to the newest record if it has none; keep the best weights."""
        if self.validate is None or not self._is_saved or not self.history:
            return
        newest = self.history[-1]
        if "validation" in newest:
            return
        if self.accelerator.is_main_process:
            self.model.eval()
            with torch.inference_mode():
                newest["validation"] = float(self.validate(self.model))
            self.model.train()
            best = max(record.get("validation", -math.inf) for record in self.history)
            # The weights first: a kill in between only repeats the validation.
            if newest["validation"] == best:
                save_best(self.model, self.folder)
            save_history(self.folder, self.history)
        self.accelerator.wait_for_everyone()

    @property
    def _is_saved(self) -> bool:
        """Whether the state after this step is saved although no stop is asked for."""
        if self.step == self.config.steps:
            return True
        return self.step % self.config.checkpoint_every == 0

    def _read_losses(self) -> None:
        """Add the unread steps to the history; raise `Diverged` if one is not finite."""
        if not self.unread:
            return
        first = self.step - len(self.unread)
        values = torch.stack(self.unread).tolist()  # waits for the device once
        for step, (loss, norm) in enumerate(values, start=first):
            rate = learning_rate(step, self.config)
            record = {"step": step, "loss": loss, "norm": norm, "lr": rate}
            if not (math.isfinite(loss) and math.isfinite(norm)):
                self._raise_diverged(record)
            self.history.append(record)
        self.unread = []

    def _raise_diverged(self, record: dict[str, float]) -> None:
        """Write `diverged.json` and raise `Diverged`."""
        start = int(record["step"]) * self.config.micro_batches
        numbers = list(range(start, start + self.config.micro_batches))
        note: dict[str, object] = {key: str(value) for key, value in record.items()}
        note["batches"] = numbers
        if self.episodes is not None:
            note["episodes"] = [[asdict(e) for e in self.episodes(n)] for n in numbers]
        if self.accelerator.is_main_process:
            write_whole(self.folder / "diverged.json", json.dumps(note))
        raise Diverged(
            f"step {record['step']}: loss {record['loss']}, gradient norm {record['norm']}; the "
            f"last good state is kept, and diverged.json beside it names batches {numbers}. Lower "
            "the learning rate or set clip, or look at those episodes"
        )
