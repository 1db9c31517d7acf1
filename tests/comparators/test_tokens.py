"""Features and prompts as tokens."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from la.comparators.prototypes import Prototype
from la.comparators.references import ClassPrior
from la.types import Batch, Pixels, Prompts
from tests.comparators.episodes import MAPS


def test_another_raster_is_used_where_one_is_given(batch: Batch) -> None:
    def everything(prompts: Prompts, size: tuple[int, int]) -> Tensor:
        return torch.ones(len(prompts.example_row), *size)

    scores = ClassPrior(everything)(batch)
    assert (scores[1, 1] == 1).all() and (scores[1, 0] == 0).all()


def test_a_batch_of_pixels_raises(batch: Batch) -> None:
    pixels = replace(batch, source=Pixels(torch.zeros(2, 3, 8, 8), torch.zeros(4, 3, 8, 8)))
    with pytest.raises(TypeError, match="load the batch with a cache"):
        Prototype(MAPS)(pixels)
