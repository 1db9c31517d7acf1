"""Memory for features, which is reused for the next batch.

The kernel clears each page that a process touches for the first time, which takes twice as long as
reading features into it.
"""

import math
import threading
import weakref

import numpy as np
import torch
from torch import Tensor

KEPT = 6  # free arrays: as many as batches that are read ahead, and those in use


class Memory:
    """Tensors of float16 or bytes; an array is free again when nothing holds its tensor."""

    def __init__(self) -> None:
        self._returned: list[np.ndarray] = []
        self._free: list[np.ndarray] = []  # the smallest first
        self._lock = threading.Lock()

    def tensor(
        self,
        shape: tuple[int, ...],
        dtype: torch.dtype,
        *,
        pin_memory: bool = False,
    ) -> Tensor:
        """A tensor whose values are not set.

        Page-locked memory comes from torch. It is reused, too, but not before the copies to
        the GPU that read it have ended.
        """
        n_bytes = dtype.itemsize * math.prod(shape)
        if pin_memory or n_bytes == 0:
            return torch.empty(shape, dtype=dtype, pin_memory=pin_memory)
        array = self._array(n_bytes)
        held = array[:n_bytes]  # an object that the tensor and all of its views hold
        # A finalizer may run anywhere, so it must not take the lock.
        weakref.finalize(held, self._returned.append, array).atexit = False
        return torch.from_numpy(held).view(dtype).view(shape)

    def _array(self, n_bytes: int) -> np.ndarray:
        """An array of at least `n_bytes`; if too many are free, the smallest are dropped."""
        with self._lock:
            while self._returned:
                self._free.append(self._returned.pop())
            self._free.sort(key=len)
            del self._free[:-KEPT]
            for position, array in enumerate(self._free):
                if len(array) >= n_bytes:
                    return self._free.pop(position)
        # numpy allocates huge pages, which are filled twice as fast as those of torch.empty.
        array = np.empty(n_bytes, np.uint8)
        array[::4096] = 0  # reading into pages that were touched before is twice as fast
        return array
