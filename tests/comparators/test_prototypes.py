"""Class means against their formula written with loops."""

import pytest
import torch
from torch import Tensor

from la.comparators.prototypes import Prototype, ThresholdPrototype
from la.types import Batch
from tests.comparators.episodes import GRID, MAPS, cosine, weights_in_loops


def prototypes_in_loops(batch: Batch, b: int) -> list[Tensor]:
    """p_c of the rows that episode b has, one average per shot."""
    weights, n_rows = weights_in_loops(batch, b), int(batch.class_valid[b].sum())
    result = []
    for c in range(n_rows):
        shots = []
        for s, v in weights.items():
            if v[c].sum() > 0:
                feature = batch.source.support[s].flatten(1)
                shots.append(sum(v[c, j] * feature[:, j] for j in range(GRID**2)) / v[c].sum())
        result.append(sum(shots) / len(shots))
    return result


def test_prototype_is_its_formula_written_out(batch: Batch) -> None:
    scores = Prototype(MAPS)(batch)
    for b in range(2):
        query = batch.source.query[b].flatten(1)
        for c, p in enumerate(prototypes_in_loops(batch, b)):
            expected = [20 * cosine(query[:, i], p) for i in range(GRID**2)]
            assert scores[b, c].flatten().tolist() == pytest.approx(expected, abs=1e-4)


def test_the_threshold_prototype_has_the_threshold_where_the_other_has_background(
    batch: Batch,
) -> None:
    scores, with_background = ThresholdPrototype(MAPS, threshold=0.3)(batch), Prototype(MAPS)(batch)
    assert (scores[:, 0] == 0.3).all()
    torch.testing.assert_close(scores[0, 1:], with_background[0, 1:] / 20)
