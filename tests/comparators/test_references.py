"""References against counts over pixels."""

from dataclasses import replace

import pytest
import torch

from la.comparators.references import ClassPrior, Floor, TokenGrid
from la.types import IGNORE, Batch
from tests.comparators.episodes import GRID, MAPS, SIDE, weights_in_loops


def test_class_prior_counts_coverage_and_floor_is_all_background(batch: Batch) -> None:
    prior = ClassPrior(MAPS)(batch)
    weights = weights_in_loops(batch, 1)[3]
    expected = (weights / weights.sum(0))[:2].view(2, GRID, GRID)
    torch.testing.assert_close(prior[1, :2], expected)
    assert Floor()(batch).argmax(1).eq(0).all()


def test_the_token_grid_averages_the_truth_that_lies_in_each_token(batch: Batch) -> None:
    truth = batch.target.clone()
    truth[0, :8, :8] = IGNORE
    truth[0, :8, 8:10] = IGNORE
    got = TokenGrid(SIDE, "squash")(replace(batch, target=truth))
    for c in range(3):
        for y in range(GRID):
            for x in range(GRID):
                part = truth[0, y * 8 : (y + 1) * 8, x * 8 : (x + 1) * 8].flatten().tolist()
                counted = [p for p in part if p != IGNORE]
                expected = counted.count(c) / len(counted) if counted else float(c == 0)
                assert got[0, c, y, x].item() == pytest.approx(expected)


def test_the_token_grid_looks_only_at_the_picture_in_a_padded_query(batch: Batch) -> None:
    """A query of 16 x 32 fills the upper half of the input; what pads the target is never read."""
    target = torch.full((2, SIDE, SIDE), IGNORE)
    target[:, :16] = 1
    padded = replace(batch, target=target, query_size=torch.tensor([[16, 32]] * 2))
    got = TokenGrid(SIDE, "pad")(padded)
    assert (got[0, 1, :2] == 1).all() and (got[0, 1, 2:] == 0).all() and (got[0, 0, 2:] == 1).all()
