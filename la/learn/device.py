"""Moves a batch to the device that computes."""

from dataclasses import replace
from typing import TypeVar, cast

import torch
from torch import Tensor

from la.types import Batch, map_tensors

T = TypeVar("T")


def to_device(value: T, device: torch.device | str) -> T:
    """Move every tensor of a (nested) dataclass; asynchronous from pinned memory.

    Features and targets are copied in 16 bits to halve the transfer and widened on arrival. Under
    autocast features stay in 16 bits, because autocast would narrow them again. `Batch.query_size`
    stays on the CPU: the host computes the sizes of maps from it and would wait for the device.
    """
    device = torch.device(device)
    wide = {torch.int16: torch.int64}
    if not torch.is_autocast_enabled(device.type):
        wide |= {torch.float16: torch.float32, torch.bfloat16: torch.float32}

    def move(tensor: Tensor) -> Tensor:
        return tensor.to(device, wide.get(tensor.dtype), non_blocking=True)

    moved = map_tensors(value, move)
    if isinstance(moved, Batch) and isinstance(value, Batch):
        return cast(T, replace(moved, query_size=value.query_size))
    return moved
