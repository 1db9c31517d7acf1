"""PANet against the training-free prototype, and its alignment loss written with loops."""

import math

import pytest
import torch

from la.comparators.panet import PANet
from la.comparators.prototypes import Prototype
from la.comparators.tokens import Tokens, tokens
from la.types import Batch
from tests.comparators.episodes import MAPS, cosine
from tests.comparators.rival_episodes import CONFIG, WIDE, shaken, wide_episodes


def test_with_an_adapter_that_changes_nothing_the_rows_are_those_of_the_prototype() -> None:
    batch = wide_episodes()
    model = PANet(CONFIG).eval()
    model.adapter = torch.nn.Identity()
    torch.testing.assert_close(model(batch), Prototype(MAPS)(batch))


def test_an_adapter_starts_with_an_orthonormal_projection() -> None:
    adapter = PANet(CONFIG).adapter
    rows = adapter.project.weight.flatten(1)
    torch.testing.assert_close(rows @ rows.T, torch.eye(len(rows)), atol=1e-5, rtol=0)
    features = torch.randn(2, WIDE, 4, 4)
    torch.testing.assert_close(adapter(features), adapter.project(features))


def alignment_in_loops(t: Tokens, scores: torch.Tensor, batch: Batch) -> float:
    """The loss for each example, from cosines of single pairs of vectors."""
    losses = []
    for b in range(len(t.query)):
        n_rows = int(batch.class_valid[b].sum())
        predicted = scores[b, :, :n_rows].argmax(1)
        pooled = {}
        for c in range(n_rows):
            if (predicted == c).any():
                pooled[c] = t.query[b, predicted == c].mean(0)
        for support, weights in zip(t.support[b], t.weights[b], strict=True):
            for c in range(1, n_rows):
                if weights[:, c].sum() == 0:
                    continue  # no example
                if not {0, c} <= pooled.keys():
                    losses.append(0.0)
                    continue
                total, mass = 0.0, 0.0
                for token, v in zip(support, weights, strict=True):
                    background = math.exp(20 * cosine(token, pooled[0]))
                    foreground = math.exp(20 * cosine(token, pooled[c]))
                    p = foreground / (foreground + background)
                    total -= float(v[c]) * math.log(p) + float(v[0]) * math.log(1 - p)
                    mass += float(v[c] + v[0])
                losses.append(total / mass)
    return sum(losses) / len(losses)


@torch.inference_mode()
def test_the_alignment_loss_is_its_definition_written_out() -> None:
    batch = wide_episodes()
    model = shaken(PANet)
    t = tokens(batch, model.raster, model.adapter)
    scores = model.score(t)
    expected = alignment_in_loops(t, scores, batch)
    got = model.alignment_loss(t, scores, batch.class_valid)
    assert got.item() == pytest.approx(expected, rel=1e-3)


def test_a_query_that_is_its_support_and_perfectly_predicted_gives_the_same_prototypes() -> None:
    g = torch.Generator().manual_seed(0)
    rows = torch.tensor([0, 1, 2, 0, 1, 2, 0, 0])
    weights = torch.nn.functional.one_hot(rows)[None, None].float()
    query = torch.randn(1, 8, 24, generator=g)
    t = Tokens(query, query[:, None], weights, size=(2, 4))
    model = PANet(CONFIG)
    seen = []
    model.compare = lambda swapped: seen.append(swapped.prototypes) or model.score(swapped)
    model.alignment_loss(t, weights[:, 0], torch.ones(1, 3, dtype=torch.bool))
    torch.testing.assert_close(seen[0], t.prototypes)
