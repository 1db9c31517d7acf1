"""INSID3-style matching and clusters, on hand-made features and positions."""

import math
from dataclasses import replace
from functools import cached_property

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

import la
from la.comparators.insid3 import Insid3, cluster_scores, in_mask, match
from la.comparators.tokens import tokens
from tests.comparators.episodes import MAPS
from tests.comparators.rival_episodes import CONFIG, WIDE, exchanged, iou, twins, wide_episodes


class OfPositions(Insid3):
    """With random directions of position instead of a backbone's."""

    @cached_property
    def positions(self) -> Tensor:
        noise = torch.randn(WIDE, WIDE, generator=torch.Generator().manual_seed(0))
        return torch.linalg.qr(noise)[0][:, : self.rank]


def test_the_quick_backbone_gives_orthonormal_directions_of_position() -> None:
    model = la.profile("quick").model
    u = Insid3(MAPS, model, rank=5).positions
    torch.testing.assert_close(u.T @ u, torch.eye(5), atol=1e-5, rtol=0)


def test_no_position_is_left_and_rank_0_changes_nothing() -> None:
    token = F.normalize(torch.randn(6, WIDE), dim=1)
    method = OfPositions(MAPS, CONFIG, rank=4)
    debiased = method.without_position(token)
    assert (debiased @ method.positions).abs().max() < 1e-5
    torch.testing.assert_close(OfPositions(MAPS, CONFIG, rank=0).without_position(token), token)


def test_two_objects_are_told_apart_by_their_prompts() -> None:
    batch, method = twins(), OfPositions(MAPS, CONFIG, rank=0)
    scores = method(batch)
    scores[:, 0] = 0.2
    assert iou(scores, batch) > 0.8  # what upsampling leaves of a perfect mask on the grid
    other = method(exchanged(batch))
    other[:, 0] = 0.2
    assert iou(other, batch) < 0.1


def test_a_row_is_scored_the_same_with_and_without_other_rows() -> None:
    batch, method = wide_episodes(), OfPositions(MAPS, CONFIG)
    swap = torch.tensor([0, 2, 1])
    prompts = replace(batch.prompts, example_row=swap[batch.prompts.example_row])
    swapped = replace(batch, prompts=prompts, class_valid=batch.class_valid[:, swap])
    torch.testing.assert_close(method(swapped)[0, swap], method(batch)[0])


def test_candidates_are_like_the_class_and_matched_in_half_of_the_shots() -> None:
    t = tokens(wide_episodes(), MAPS)
    query, support = t.query_hat[0], F.normalize(t.support[0], dim=-1)
    masks = in_mask(t.weights[0, :, :, 1])[:2]
    support = support[:2]
    prototype = F.normalize(sum(s[m].mean(0) for s, m in zip(support, masks, strict=True)), dim=0)
    phi, candidates = match(query, support, masks)
    for i, q in enumerate(query):
        votes = 0
        for s, m in zip(support, masks, strict=True):
            votes += bool(m[max(range(16), key=lambda j: float(q @ s[j]))])
        likeness = float(q @ prototype)
        assert float(phi[i]) == pytest.approx(likeness, abs=1e-5)
        assert bool(candidates[i]) == (likeness > 0 and votes >= 1)


def test_cells_more_than_half_covered_are_in_the_mask_or_the_most_covered() -> None:
    coverage = torch.tensor([[0.6, 0.5, 0.9], [0.1, 0.3, 0.0]])
    assert in_mask(coverage).tolist() == [[True, False, True], [False, True, False]]


def test_the_score_of_a_cluster_is_its_definition_written_out() -> None:
    g = torch.Generator().manual_seed(0)
    plain, debiased = F.normalize(torch.randn(2, 6, 4, generator=g), dim=-1)
    clusters = [0, 1, 1, 2, 2, 2]
    candidates = torch.tensor([False, True, False, True, True, False])
    phi = torch.rand(6, generator=g)
    prototype = F.normalize(torch.randn(4, generator=g), dim=0)
    members = [[i for i in range(6) if clusters[i] == k] for k in range(3)]

    def mean(tokens: Tensor, k: int) -> Tensor:
        return F.normalize(tokens[members[k]].mean(0), dim=0)

    seed = max((1, 2), key=lambda k: float(mean(debiased, k) @ prototype))
    expected = []
    for k in range(3):
        share = 1.0 if k == seed else float(candidates[members[k]].float().mean())
        likeness = float(mean(plain, seed) @ mean(plain, k))
        expected.append(float(phi[members[k]].mean()) * likeness * share)
    got = cluster_scores(
        phi,
        candidates,
        torch.tensor(clusters),
        plain=plain,
        debiased=debiased,
        prototype=prototype,
    )
    assert got.tolist() == pytest.approx([expected[k] for k in clusters], abs=1e-5)
    nothing = torch.zeros(6, dtype=torch.bool)
    got = cluster_scores(
        phi, nothing, torch.tensor(clusters), plain=plain, debiased=debiased, prototype=prototype
    )
    assert math.isclose(got.max(), -1.0)
