"""The time and memory that a prediction takes (the curves over N and K)."""

import time
import weakref
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from la.types import Batch, Segmenter


@dataclass(frozen=True)
class Cost:
    """The cost of one query with its support set."""

    milliseconds: float  # median over the batches
    peak_mb: float  # largest sum of live tensors beyond weights and inputs, over the batches


@torch.inference_mode()
def cost(segmenter: Segmenter, batches: Sequence[Batch]) -> Cost:
    """Measure a segmenter on batches of one episode each, on one thread, after a warm-up.

    Raises:
        ValueError: a batch holds several episodes.
    """
    if any(len(batch.class_valid) != 1 for batch in batches):
        raise ValueError("cost measures one query at a time; give batches of one episode")
    n_threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        peak = max(_peak_bytes(segmenter, batch) for batch in batches)  # also a warm-up
        seconds = [_seconds(segmenter, batch) for batch in batches]
    finally:
        torch.set_num_threads(n_threads)
    return Cost(1000 * median(seconds), peak / 2**20)


def _seconds(segmenter: Segmenter, batch: Batch) -> float:
    """CPU time of one call, so that other load does not matter; wall time on a GPU."""
    if not batch.class_valid.is_cuda:
        started = time.process_time()
        segmenter(batch)
        return time.process_time() - started
    torch.cuda.synchronize()
    started = time.perf_counter()
    segmenter(batch)
    torch.cuda.synchronize()
    return time.perf_counter() - started


def _peak_bytes(segmenter: Segmenter, batch: Batch) -> int:
    """The most bytes that tensors of one call hold at one time."""
    if batch.class_valid.is_cuda:
        before = torch.cuda.memory_allocated()
        torch.cuda.reset_peak_memory_stats()
        segmenter(batch)
        return torch.cuda.max_memory_allocated() - before
    with _Allocated() as allocated:
        segmenter(batch)
    return allocated.peak


class _Allocated(TorchDispatchMode):
    """Counts the bytes of every storage that operators return, until it is freed.

    Memory that an operator allocates and frees internally is not counted.
    """

    def __init__(self) -> None:
        super().__init__()
        self.alive: dict[int, int] = {}  # bytes by address
        self.peak = 0

    def __torch_dispatch__(
        self,
        func: Any,
        types: Any,
        args: tuple = (),
        kwargs: dict | None = None,
    ) -> Any:
        inputs = _storages((args, kwargs))
        out = func(*args, **(kwargs or {}))
        for address, storage in _storages(out).items():
            if address not in self.alive and address not in inputs:
                self.alive[address] = storage.nbytes()
                weakref.finalize(storage, self.alive.pop, address)
        self.peak = max(self.peak, sum(self.alive.values()))
        return out


def _storages(tree: Any) -> dict[int, torch.UntypedStorage]:
    """The storages of all tensors in nested containers, by address."""
    tensors = [leaf for leaf in tree_leaves(tree) if isinstance(leaf, Tensor)]
    storages = [tensor.untyped_storage() for tensor in tensors]
    return {storage._cdata: storage for storage in storages}
