"""Memory is used again once nothing holds it, and never while a view of it is alive."""

import gc

import pytest
import torch

from la.data.feature_cache.memory import KEPT, Memory

SHAPE = (4, 3, 5)


def place(tensor: torch.Tensor) -> int:
    return tensor.untyped_storage().data_ptr()


def test_memory_of_a_dropped_tensor_is_used_for_the_next():
    memory = Memory()
    tensor = memory.tensor(SHAPE, torch.float16)
    assert tensor.shape == SHAPE and tensor.dtype == torch.float16 and tensor.is_contiguous()
    before = place(tensor)
    del tensor
    assert place(memory.tensor((2, 3, 5), torch.float16)) == before  # a smaller one fits


@pytest.mark.parametrize(
    "view",
    [
        lambda tensor: tensor[1:],
        lambda tensor: tensor.numpy(),
        lambda tensor: tensor.numpy()[2],
        lambda tensor: tensor.flatten(1).unbind()[0],
        lambda tensor: tensor.view(torch.uint8),
    ],
    ids=["slice", "array", "row of an array", "unbound", "bytes"],
)
def test_a_view_holds_the_memory(view):
    memory = Memory()
    tensor = memory.tensor(SHAPE, torch.float16).fill_(1)
    held = view(tensor)
    before = torch.as_tensor(held).clone()
    del tensor
    gc.collect()
    memory.tensor(SHAPE, torch.float16).fill_(2)
    assert torch.equal(torch.as_tensor(held), before)


def test_two_tensors_never_share_memory_and_few_free_arrays_are_kept():
    memory = Memory()
    tensors = [memory.tensor((8 + n,), torch.uint8) for n in range(KEPT + 3)]
    assert len({place(tensor) for tensor in tensors}) == len(tensors)
    kept = {place(tensor) for tensor in tensors[3:]}  # the largest
    tensors.clear()
    again = [memory.tensor((8,), torch.uint8) for _ in range(KEPT)]
    assert {place(tensor) for tensor in again} == kept
