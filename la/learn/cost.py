"""What a prediction costs: time and memory of a segmenter (the curves over N and K)."""

import time
import weakref
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from la.types import Batch, Segmenter


@dataclass(frozen=True)
class Cost:
    """Of one query with its support set."""

    milliseconds: float  # median over the batches
    peak_mb: float  # that tensors held at one time beyond weights and inputs, in the largest batch


@torch.inference_mode()
def cost(segmenter: Segmenter, batches: Sequence[Batch]) -> Cost:
    """Cost of a segmenter on batches of one episode each, after one call to warm up, on one thread.

    Raises:
        ValueError: a batch holds several episodes.
    """
    if any(len(batch.class_valid) != 1 for batch in batches):
        raise ValueError("cost measures one query at a time; give batches of one episode")
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        peak = max(_peak_bytes(segmenter, batch) for batch in batches)
        seconds = [_seconds(segmenter, batch) for batch in batches]
    finally:
        torch.set_num_threads(threads)
    return Cost(1000 * median(seconds), peak / 2**20)


def _seconds(segmenter: Segmenter, batch: Batch) -> float:
    if not batch.class_valid.is_cuda:  # of one thread: what waits for a busy core does not count
        started = time.process_time()
        segmenter(batch)
        return time.process_time() - started
    torch.cuda.synchronize()
    started = time.perf_counter()
    segmenter(batch)
    torch.cuda.synchronize()
    return time.perf_counter() - started


def _peak_bytes(segmenter: Segmenter, batch: Batch) -> int:
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

    What an operator allocates and frees inside itself is not seen.
    """

    def __init__(self) -> None:
        super().__init__()
        self.alive: dict[int, int] = {}  # bytes by address
        self.peak = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        known = _storages((args, kwargs)).keys()
        out = func(*args, **(kwargs or {}))
        for address, storage in _storages(out).items():
            if address not in self.alive and address not in known:
                self.alive[address] = storage.nbytes()
                weakref.finalize(storage, self.alive.pop, address)
        self.peak = max(self.peak, sum(self.alive.values()))
        return out


def _storages(tree) -> dict[int, torch.UntypedStorage]:
    tensors = (leaf for leaf in tree_leaves(tree) if isinstance(leaf, Tensor))
    return {s._cdata: s for s in (tensor.untyped_storage() for tensor in tensors)}
