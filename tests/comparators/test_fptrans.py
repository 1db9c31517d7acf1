"""FPTrans on frozen features: local proxies, the purifier, and the loss over pairs."""

import itertools
import math

import pytest
import torch
import torch.nn.functional as F

from la.comparators import fptrans
from la.comparators.fptrans import (
    FPTrans,
    background_proxies,
    coarser,
    pairwise_loss,
    voronoi,
)
from la.comparators.prototypes import directions
from la.comparators.tokens import Tokens, tokens
from la.types import IGNORE
from tests.comparators.episodes import cosine
from tests.comparators.rival_episodes import CONFIG, wide_episodes


def test_voronoi_covers_each_cell_once_with_the_nearest_of_far_apart_seeds() -> None:
    inside = torch.rand(30, generator=torch.Generator().manual_seed(0)) < 0.6
    places = [(j // 6, j % 6) for j in range(30)]
    cells = [j for j in range(30) if inside[j]]
    seeds = [cells[0]]
    for _ in range(4):
        seeds.append(max(cells, key=lambda j: min(math.dist(places[j], places[s]) for s in seeds)))
    member = voronoi(inside, (5, 6))
    assert member.sum(1).tolist() == inside.float().tolist()
    for j in cells:
        distances = [math.dist(places[j], places[s]) for s in seeds]
        assert member[j].tolist() == F.one_hot(torch.tensor(distances).argmin(), 5).tolist()


def test_a_support_with_few_background_cells_has_proxies_without_members() -> None:
    weights = torch.tensor([[0.0, 1.0], [1.0, 0.0], [0.2, 0.8], [0.9, 0.1]])[None, None]
    support = torch.randn(1, 1, 4, 3)
    t = Tokens(support[:, 0], support, weights, size=(2, 2))
    proxies, empty = background_proxies(t)
    assert empty[0].tolist() == [False, False, True, True, True]
    torch.testing.assert_close(proxies[0, :2], support[0, 0, [1, 3]])


@torch.inference_mode()
def test_one_proxy_of_one_support_and_no_purifier_is_the_cosine_to_the_background_mean(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(fptrans, "PROXIES", 1)
    batch, model = wide_episodes(), FPTrans(CONFIG).eval()
    t = tokens(
        batch, model.raster, lambda maps: F.interpolate(maps, scale_factor=2, mode="bilinear")
    )
    scores = model(batch)[1].flatten(1)  # of the episode with one support
    background = t.support[1, 0, t.weights[1, 0, :, 0] >= 0.5].mean(0)
    for i, q in enumerate(t.query[1]):
        assert float(scores[0, i]) == pytest.approx(20 * cosine(q, background), abs=1e-3)
        class_cosine = float(t.query_hat[1, i] @ directions(t)[1, :, 1])
        assert float(scores[1, i]) == pytest.approx(20 * class_cosine, abs=1e-3)


def test_the_pairwise_loss_is_its_definition_written_out() -> None:
    g = torch.Generator().manual_seed(0)
    query, support = torch.randn(1, 4, 3, generator=g), torch.randn(1, 2, 4, 3, generator=g)
    rows = torch.tensor([[0, 1, IGNORE, 0]])
    of_support = [0, 1, 1, 0]
    weights = torch.zeros(1, 2, 4, 2)  # the second support pads the episode
    weights[0, 0] = F.one_hot(torch.tensor(of_support))
    losses = []
    for i, j in itertools.product((0, 1, 3), range(4)):
        y, z = int(rows[0, i]), of_support[j]
        if y or z:
            p = 1 / (1 + math.exp(-10 * cosine(query[0, i], support[0, 0, j])))
            losses.append(-math.log(p if y == z else 1 - p))
    t = Tokens(query, support, weights, size=(2, 2))
    assert pairwise_loss(t, rows).item() == pytest.approx(sum(losses) / len(losses), rel=1e-4)


def test_coarser_tokens_are_means_of_four_cells() -> None:
    t = tokens(wide_episodes(), FPTrans(CONFIG).raster)
    half = coarser(t)
    assert half.size == (2, 2)
    for b, y, x in itertools.product(range(2), range(2), range(2)):
        cells = [4 * (2 * y + dy) + 2 * x + dx for dy in range(2) for dx in range(2)]
        torch.testing.assert_close(half.query[b, 2 * y + x], t.query[b, cells].mean(0))
        expected = t.weights[b, 1, cells].mean(0)
        torch.testing.assert_close(half.weights[b, 1, 2 * y + x], expected)
