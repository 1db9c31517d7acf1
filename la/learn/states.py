"""The states of a training run: saved whole, checked when read, the last two kept.

A state file holds the weights and both AdamW moments; its name bears the number of steps done and a
checksum of its bytes.
"""

import json
import logging
import zlib
from pathlib import Path

from safetensors.torch import load
from torch import nn
from torch.optim import Optimizer

from la.errors import UserError
from la.files import write_whole
from la.learn.checkpoints import as_bytes

log = logging.getLogger(__name__)

STATES = "state-????????-????????.safetensors"
MOMENTS = ("step", "exp_avg", "exp_avg_sq")  # what AdamW remembers of a parameter


def save_state(
    model: nn.Module, optimizer: Optimizer, folder: Path, step: int, history: list[dict]
) -> None:
    """Save where a run stands after `step` steps; of older states only the newest stays."""
    tensors = {f"model/{name}": value for name, value in model.state_dict().items()}
    for name, parameter in model.named_parameters():
        remembered = optimizer.state.get(parameter, {})  # nothing of one that had no gradient yet
        tensors |= {f"{key}/{name}": remembered[key] for key in MOMENTS if remembered}
    raw = as_bytes(tensors)
    write_whole(folder / "history.jsonl", "".join(json.dumps(record) + "\n" for record in history))
    write_whole(folder / f"state-{step:08d}-{zlib.crc32(raw):08x}.safetensors", raw)
    for old in sorted(folder.glob(STATES))[:-2]:
        old.unlink()


def load_newest(model: nn.Module, optimizer: Optimizer, folder: Path) -> tuple[int, list[dict]]:
    """Load the newest whole state: its steps, and the history until then; (0, []) without one.

    Raises ValueError if it is the state of another model.
    """
    for path in sorted(folder.glob(STATES), reverse=True):
        _, step, checksum = path.stem.split("-")
        raw = path.read_bytes()
        if zlib.crc32(raw) != int(checksum, 16):
            log.warning("%s is damaged; taking the state before it", path)
            continue
        tensors = load(raw)
        try:
            model.load_state_dict({name: tensors[f"model/{name}"] for name in model.state_dict()})
        except (KeyError, RuntimeError) as error:
            mend = "train in another folder"
            raise UserError(f"{path} is the state of another model ({error}); {mend}") from None
        for name, parameter in model.named_parameters():
            if f"step/{name}" in tensors:  # the step itself stays on the CPU
                remembered = {key: tensors[f"{key}/{name}"] for key in MOMENTS}
                moments = {k: v.to(parameter.device) for k, v in remembered.items() if k != "step"}
                optimizer.state[parameter] = remembered | moments
        lines = (folder / "history.jsonl").read_text().splitlines()
        return int(step), [json.loads(line) for line in lines[: int(step)]]
    return 0, []


def save_best(model: nn.Module, folder: Path) -> None:
    """Keep the weights alone, as `best.safetensors`."""
    write_whole(folder / "best.safetensors", as_bytes(model.state_dict()))
