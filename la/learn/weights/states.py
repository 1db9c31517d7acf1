"""The states of a training run: written atomically, checked when read, the last two kept.

A state file holds the weights and AdamW's moments; its name contains the number of
steps done and a checksum of the file.
"""

import json
import logging
import zlib
from pathlib import Path

from safetensors.torch import load
from torch import Tensor, nn
from torch.optim import Optimizer

from la.errors import UserError
from la.files import write_whole
from la.learn.weights.checkpoints import as_bytes

log = logging.getLogger(__name__)

History = list[dict[str, float]]  # a record for each step

STATES = "state-????????-????????.safetensors"
MOMENTS = ("step", "exp_avg", "exp_avg_sq")  # AdamW's state of a parameter


def save_state(
    model: nn.Module,
    optimizer: Optimizer,
    folder: Path,
    step: int,
    history: History,
) -> None:
    """Save history, weights and optimizer state after `step` steps; keep one older state."""
    tensors = {f"model/{name}": value for name, value in model.state_dict().items()}
    for name, parameter in model.named_parameters():
        if parameter not in optimizer.state:
            continue  # it had no gradient yet
        for moment in MOMENTS:
            tensors[f"{moment}/{name}"] = optimizer.state[parameter][moment]
    content = as_bytes(tensors)
    checksum = zlib.crc32(content)
    save_history(folder, history)
    write_whole(folder / f"state-{step:08d}-{checksum:08x}.safetensors", content)
    for path in sorted(folder.glob(STATES))[:-2]:
        path.unlink()


def save_history(folder: Path, history: History) -> None:
    """Write the records as JSON lines."""
    lines = [json.dumps(record) + "\n" for record in history]
    write_whole(folder / "history.jsonl", "".join(lines))


def load_newest(
    model: nn.Module,
    optimizer: Optimizer,
    folder: Path,
) -> tuple[int, History]:
    """Load the newest undamaged state into model and optimizer.

    Returns:
        The number of steps done and the history up to there; (0, []) without a state.

    Raises:
        UserError: the state belongs to another model.
    """
    for path in sorted(folder.glob(STATES), reverse=True):
        _, step, checksum = path.stem.split("-")
        content = path.read_bytes()
        if zlib.crc32(content) != int(checksum, 16):
            log.warning("%s is damaged; taking the state before it", path)
            continue
        _load(model, optimizer, load(content), path)
        n_steps = int(step)
        lines = (folder / "history.jsonl").read_text().splitlines()
        history = [json.loads(line) for line in lines[:n_steps]]
        return n_steps, history
    return 0, []


def _load(
    model: nn.Module,
    optimizer: Optimizer,
    tensors: dict[str, Tensor],
    path: Path,
) -> None:
    """Set weights and optimizer state from the tensors of a state file."""
    try:
        weights = {name: tensors[f"model/{name}"] for name in model.state_dict()}
        model.load_state_dict(weights)
    except (KeyError, RuntimeError) as error:
        raise UserError(
            f"{path} is the state of another model ({error}); delete {path.parent}, "
            "and the training starts again"
        ) from None
    for name, parameter in model.named_parameters():
        if f"step/{name}" not in tensors:
            continue  # it had no gradient yet
        device = parameter.device
        optimizer.state[parameter] = {
            "step": tensors[f"step/{name}"],  # a counter that AdamW keeps on the CPU
            "exp_avg": tensors[f"exp_avg/{name}"].to(device),
            "exp_avg_sq": tensors[f"exp_avg_sq/{name}"].to(device),
        }


def save_best(model: nn.Module, folder: Path) -> None:
    """Save only the weights, as `best.safetensors`."""
    write_whole(folder / "best.safetensors", as_bytes(model.state_dict()))
