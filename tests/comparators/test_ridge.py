"""The closed form against a general least-squares solver."""

import math

import torch
import torch.nn.functional as F

from la.comparators.ridge import Ridge
from la.types import Batch
from tests.comparators.episodes import MAPS, WIDTH, weights_in_loops


def test_ridge_solves_its_least_squares(batch: Batch) -> None:
    """Rows repeated by the root of their weight, handed to a general solver."""
    penalty, b = 0.05, 0
    scores = Ridge(MAPS, penalty=penalty)(batch)[b].flatten(1).T  # (I, C)
    weights = weights_in_loops(batch, b)
    v = torch.cat(list(weights.values()), dim=1).T.double()  # (J, C)
    share = v / v.sum(0)
    x = torch.cat([batch.source.support[s].flatten(1).T for s in weights]).double()
    x = torch.cat([F.normalize(x, dim=1), torch.ones(len(x), 1)], dim=1)
    root = share.sum(1, keepdim=True).sqrt()
    left = torch.cat([root * x, math.sqrt(penalty) * torch.eye(WIDTH + 1)])
    right = torch.cat([share / root, torch.zeros(WIDTH + 1, 3)])
    solution = torch.linalg.lstsq(left, right).solution
    q = F.normalize(batch.source.query[b].flatten(1).T.double(), dim=1)
    expected = torch.cat([q, torch.ones(len(q), 1)], dim=1) @ solution
    torch.testing.assert_close(scores.double(), expected, atol=1e-4, rtol=1e-4)
