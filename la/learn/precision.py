"""TF32, the reduced precision of float32 products on a GPU: chosen here, not left to defaults."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch.cuda import is_available as has_gpu


@contextmanager
def tf32(enabled: bool) -> Iterator[None]:
    """In this block float32 matrix products and convolutions on a GPU use TF32, or do not.

    TF32 keeps 10 bits of mantissa. torch's defaults allow it in convolutions and not in
    matrix products. Nothing changes on a CPU.
    """
    matmul = torch.get_float32_matmul_precision()
    convolution = torch.backends.cudnn.allow_tf32
    if has_gpu():
        torch.set_float32_matmul_precision("high" if enabled else "highest")
        torch.backends.cudnn.allow_tf32 = enabled
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(matmul)
        torch.backends.cudnn.allow_tf32 = convolution
