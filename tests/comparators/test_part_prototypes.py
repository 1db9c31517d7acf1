"""Parts of a class: one part is a mean, two parts are found where there are two."""

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F

from la.comparators.part_prototypes import PartPrototypes
from la.comparators.tokens import tokens
from la.types import Batch, Features
from tests.comparators.episodes import GRID, MAPS, WIDTH


def test_one_part_is_the_mean_direction_and_more_parts_find_the_halves_of_a_class(
    batch: Batch,
) -> None:
    t = tokens(batch, MAPS)
    centre = torch.einsum("bjc,bjv->bcv", t.weights.flatten(1, 2), t.support_hat)
    expected = t.query_hat @ F.normalize(centre, dim=-1).transpose(1, 2)
    one = PartPrototypes(MAPS, parts=1)(batch)
    torch.testing.assert_close(one[0].flatten(1).T, expected[0])

    halves = torch.zeros(4, WIDTH, GRID, GRID)
    halves[:, 0, :, 0::2] = 1  # every class shows two orthogonal features, interleaved
    halves[:, 1, :, 1::2] = 1
    query = torch.zeros(2, WIDTH, GRID, GRID)
    query[:, 1] = 1
    both = replace(batch, source=Features(query, halves))
    assert PartPrototypes(MAPS, parts=2)(both)[0].min() == pytest.approx(1, abs=1e-4)
    assert PartPrototypes(MAPS, parts=1)(both)[0].max() < 0.95
