"""The states of a training run: written whole, checked when read, the last two kept.

A state file holds the weights and AdamW's moments; its name has the number of steps done
and a checksum of its bytes.
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
from la.learn.checkpoints import as_bytes

log = logging.getLogger(__name__)

STATES = "state-????????-????????.safetensors"
MOMENTS = ("step", "exp_avg", "exp_avg_sq")  # AdamW's state of a parameter


def save_state(
    model: nn.Module, optimizer: Optimizer, folder: Path, step: int, history: list[dict]
) -> None:
    """Save history, weights and optimizer state after `step` steps; keep one older state."""
    tensors = {f"model/{name}": value for name, value in model.state_dict().items()}
    for name, parameter in model.named_parameters():
        if parameter in optimizer.state:  # not if it had no gradient yet
            for moment in MOMENTS:
                tensors[f"{moment}/{name}"] = optimizer.state[parameter][moment]
    raw = as_bytes(tensors)
    save_history(folder, history)
    write_whole(folder / f"state-{step:08d}-{zlib.crc32(raw):08x}.safetensors", raw)
    for old in sorted(folder.glob(STATES))[:-2]:
        old.unlink()


def save_history(folder: Path, history: list[dict]) -> None:
    """Write the records as JSON lines."""
    lines = [json.dumps(record) + "\n" for record in history]
    write_whole(folder / "history.jsonl", "".join(lines))


def load_newest(model: nn.Module, optimizer: Optimizer, folder: Path) -> tuple[int, list[dict]]:
    """Load the newest state that is undamaged into model and optimizer.

    Returns:
        The number of steps done and the history up to there; (0, []) without a state.

    Raises:
        UserError: it is the state of another model.
    """
    for path in sorted(folder.glob(STATES), reverse=True):
        _, step, checksum = path.stem.split("-")
        raw = path.read_bytes()
        if zlib.crc32(raw) != int(checksum, 16):
            log.warning("%s is damaged; taking the state before it", path)
            continue
        _load(model, optimizer, load(raw), path)
        lines = (folder / "history.jsonl").read_text().splitlines()
        return int(step), [json.loads(line) for line in lines[: int(step)]]
    return 0, []


def _load(model: nn.Module, optimizer: Optimizer, tensors: dict[str, Tensor], path: Path) -> None:
    """Set weights and optimizer state from the tensors of a state file."""
    try:
        model.load_state_dict({name: tensors[f"model/{name}"] for name in model.state_dict()})
    except (KeyError, RuntimeError) as error:
        raise UserError(
            f"{path} is the state of another model ({error}); train in another folder"
        ) from None
    for name, parameter in model.named_parameters():
        if f"step/{name}" in tensors:
            device = parameter.device
            optimizer.state[parameter] = {
                "step": tensors[f"step/{name}"],  # a counter that AdamW keeps on the CPU
                "exp_avg": tensors[f"exp_avg/{name}"].to(device),
                "exp_avg_sq": tensors[f"exp_avg_sq/{name}"].to(device),
            }


def save_best(model: nn.Module, folder: Path) -> None:
    """Save the weights alone, as `best.safetensors`."""
    write_whole(folder / "best.safetensors", as_bytes(model.state_dict()))
