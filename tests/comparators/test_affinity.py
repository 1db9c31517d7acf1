"""Attention from query to support cells against its formula written with loops."""

import math

import pytest

from la.comparators.affinity import Affinity
from la.types import Batch
from tests.comparators.episodes import GRID, MAPS, cosine, weights_in_loops


def test_affinity_is_its_formula_written_out(batch: Batch) -> None:
    temperature = 0.1
    scores = Affinity(MAPS, temperature=temperature)(batch)
    for b in range(2):
        weights, n_rows = weights_in_loops(batch, b), int(batch.class_valid[b].sum())
        mass = sum(v.sum(1) for v in weights.values())  # (C,)
        query = batch.source.query[b].flatten(1)
        for i in range(GRID**2):
            m, normaliser = [0.0] * n_rows, 0.0
            for s, v in weights.items():
                support = batch.source.support[s].flatten(1)
                for j in range(GRID**2):
                    a = math.exp(cosine(query[:, i], support[:, j]) / temperature)
                    normaliser += a
                    for c in range(n_rows):
                        m[c] += a * float(v[c, j] / mass[c])
            m = [value / normaliser for value in m]
            expected = [value / sum(m) for value in m]
            got = scores[b, :n_rows].flatten(1)[:, i].tolist()
            assert got == pytest.approx(expected, abs=1e-5)
