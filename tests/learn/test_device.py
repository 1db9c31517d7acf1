from dataclasses import replace

import pytest
import torch
from training_run import noise_batch

from la.learn.device import to_device
from la.types import Features


def test_types_and_values_are_kept():
    sent = replace(noise_batch(0), token_rows=torch.tensor([[0, 9, 1], [0, 3, 2]]))
    moved = to_device(sent, "cpu")
    assert moved.token_rows.tolist() == [[0, 9, 1], [0, 3, 2]]
    assert moved.class_valid.dtype == torch.bool and moved.n_rows == 3


@pytest.mark.parametrize("half", [torch.float16, torch.bfloat16])
def test_features_are_widened_on_arrival_but_not_under_autocast(half):
    stored = Features(torch.ones(2, 4, 4, 4, dtype=half), torch.ones(3, 4, 4, 4, dtype=half))
    target = torch.zeros(2, 8, 8, dtype=torch.int16)
    sent = replace(noise_batch(0), source=stored, target=target)
    assert to_device(sent, "cpu").source.query.dtype == torch.float32
    with torch.autocast("cpu", torch.bfloat16):
        moved = to_device(sent, "cpu")
    assert moved.source.query.dtype == moved.source.support.dtype == half
    assert moved.target.dtype == torch.int64 and moved.prompts.points.dtype == torch.float32
