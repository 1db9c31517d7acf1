"""Time and memory of a prediction, against allocations counted by hand."""

from types import SimpleNamespace

import pytest
import torch

from la.learn.cost import cost

MB = 2**20 // 4  # floats


def batch(n=1):
    return SimpleNamespace(class_valid=torch.ones(n, 2, dtype=torch.bool))


def test_the_peak_is_what_is_alive_at_one_time():
    def segmenter(_):
        first = torch.ones(2 * MB)
        second = first + 1
        del first
        third = second.view(2, -1)  # shares memory with the second
        return third[:, : MB // 2] + 1

    assert cost(segmenter, [batch()]).peak_mb == pytest.approx(4)


def test_writing_in_place_takes_no_memory():
    held = torch.zeros(4 * MB)
    assert cost(lambda _: held.add_(1), [batch()]).peak_mb == 0


def test_the_largest_batch_counts_for_memory_and_time_is_positive():
    sizes = iter([1, 3, 1, 3])
    found = cost(lambda _: torch.ones(next(sizes) * MB), [batch(), batch()])
    assert found.peak_mb == pytest.approx(3) and found.milliseconds > 0


def test_threads_are_as_before():
    before = torch.get_num_threads()
    cost(lambda b: b.class_valid, [batch()])
    assert torch.get_num_threads() == before


def test_batches_of_several_episodes_are_refused():
    with pytest.raises(ValueError, match="batches of one episode"):
        cost(lambda b: b.class_valid, [batch(2)])
