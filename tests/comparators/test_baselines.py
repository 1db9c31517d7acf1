"""Baselines against their formulas written with loops, and against the grid ceiling."""

import math
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F

from la.comparators.baselines import (
    Affinity,
    ClassPrior,
    Floor,
    PartPrototypes,
    Prototype,
    Ridge,
    ThresholdPrototype,
    TokenGrid,
    tokens,
)
from la.comparators.raster import Raster
from la.config import ModelConfig
from la.data.geometry import Frame
from la.experiment.methods import METHODS
from la.learn.metrics import Scores, counts_by_bias
from la.types import IGNORE, Batch, Features, Pixels, Prompts

SIDE, GRID, WIDTH = 32, 4, 6  # input pixels, tokens a side, V
MAPS = Raster(SIDE, SIDE)


def baselines(side: int) -> dict:
    """The methods of the tables that need no training, for an input of this side."""
    model = ModelConfig(image_size=side, mask_size=side, resize="squash")
    return {name: m.build(model) for name, m in METHODS.items() if m.build}


def make_prompts(masks, supports, rows):
    n = len(masks)
    return Prompts(
        masks=masks.float(),
        mask_example=torch.arange(n),
        points=torch.zeros(n, 1, 2),
        point_labels=torch.zeros(n, 1, dtype=torch.int64),
        boxes=torch.zeros(n, 1, 4),
        boxes_valid=torch.zeros(n, 1, dtype=torch.bool),
        example_support=torch.tensor(supports),
        example_row=torch.tensor(rows),
    )


@pytest.fixture
def batch():
    """Episode 0: two classes, three supports, one of them with both; episode 1: one class, one."""
    g = torch.Generator().manual_seed(0)
    masks = torch.zeros(5, SIDE, SIDE)
    for e, (y, x) in enumerate([(2, 3), (10, 8), (8, 15), (0, 20), (11, 9)]):
        masks[e, y : y + 13, x : x + 11] = 1
    target = torch.randint(0, 3, (2, SIDE, SIDE), generator=g)
    target[1].clamp_(max=1)
    return Batch(
        source=Features(
            query=torch.randn(2, WIDTH, GRID, GRID, generator=g),
            support=torch.randn(4, WIDTH, GRID, GRID, generator=g),
        ),
        support_episode=torch.tensor([0, 0, 0, 1]),
        prompts=make_prompts(masks, supports=[0, 0, 1, 2, 3], rows=[1, 2, 1, 2, 1]),
        token_rows=torch.zeros(2, 3, dtype=torch.int64),
        class_valid=torch.tensor([[True, True, True], [True, True, False]]),
        target=target,
        query_size=torch.tensor([[SIDE, SIDE]] * 2),
    )


def weights_in_loops(batch, b):
    """{support: (C, tokens)} of episode b: the share of each 8 px token under each mask."""
    cell, out = SIDE // GRID, {}
    for s in range(4):
        if batch.support_episode[s] == b:
            v = torch.zeros(3, GRID * GRID)
            for e in range(5):
                if batch.prompts.example_support[e] == s:
                    for y in range(GRID):
                        for x in range(GRID):
                            part = batch.prompts.masks[
                                e, y * cell : (y + 1) * cell, x * cell : (x + 1) * cell
                            ]
                            v[batch.prompts.example_row[e], y * GRID + x] = part.mean()
            v[0] = 1 - v.max(0).values
            out[s] = v
    return out


def cosine(a, b):
    return float(a @ b / (a.norm() * b.norm()))


def prototypes_in_loops(batch, b):
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


def test_prototype_is_its_formula_written_out(batch):
    scores = Prototype(MAPS)(batch)
    for b in range(2):
        query = batch.source.query[b].flatten(1)
        for c, p in enumerate(prototypes_in_loops(batch, b)):
            expected = [20 * cosine(query[:, i], p) for i in range(GRID**2)]
            assert scores[b, c].flatten().tolist() == pytest.approx(expected, abs=1e-4)


def test_the_threshold_prototype_has_the_threshold_where_the_other_has_background(batch):
    scores, with_background = ThresholdPrototype(MAPS, threshold=0.3)(batch), Prototype(MAPS)(batch)
    assert (scores[:, 0] == 0.3).all()
    torch.testing.assert_close(scores[0, 1:], with_background[0, 1:] / 20)


def test_affinity_is_its_formula_written_out(batch):
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


def test_ridge_solves_its_least_squares(batch):
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


def test_one_part_is_the_mean_direction_and_more_parts_find_the_halves_of_a_class(batch):
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


def test_class_prior_counts_coverage_and_floor_is_all_background(batch):
    prior = ClassPrior(MAPS)(batch)
    weights = weights_in_loops(batch, 1)[3]
    expected = (weights / weights.sum(0))[:2].view(2, GRID, GRID)
    torch.testing.assert_close(prior[1, :2], expected)
    assert Floor()(batch).argmax(1).eq(0).all()


@pytest.mark.parametrize("name", baselines(SIDE))
def test_rows_that_an_episode_does_not_have_are_minus_infinity_and_the_others_finite(batch, name):
    scores = baselines(SIDE)[name](batch)
    valid = batch.class_valid[:, :, None, None].expand_as(scores)
    assert scores[valid].isfinite().all() and (scores[~valid] == -torch.inf).all()


@pytest.mark.parametrize("name", baselines(SIDE))
def test_an_episode_scores_the_same_alone_and_in_a_batch(batch, name):
    together = baselines(SIDE)[name](batch)[1, :2]
    alone = Batch(
        source=Features(batch.source.query[1:], batch.source.support[3:]),
        support_episode=torch.tensor([0]),
        prompts=make_prompts(batch.prompts.masks[4:], supports=[0], rows=[1]),
        token_rows=batch.token_rows[1:, :2],
        class_valid=batch.class_valid[1:, :2],
        target=batch.target[1:],
        query_size=batch.query_size[1:],
    )
    torch.testing.assert_close(baselines(SIDE)[name](alone)[0], together, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("name", baselines(SIDE))
def test_permuted_classes_permute_the_scores(batch, name):
    swap = torch.tensor([0, 2, 1])
    swapped = replace(
        batch,
        prompts=replace(batch.prompts, example_row=swap[batch.prompts.example_row]),
        class_valid=batch.class_valid[:, swap],
        target=swap[batch.target],
    )
    segmenter = baselines(SIDE)[name]
    torch.testing.assert_close(
        segmenter(swapped)[0, swap], segmenter(batch)[0], atol=1e-4, rtol=1e-4
    )


def test_another_raster_is_used_where_one_is_given(batch):
    def everything(prompts, size):
        return torch.ones(len(prompts.example_row), *size)

    scores = ClassPrior(everything)(batch)
    assert (scores[1, 1] == 1).all() and (scores[1, 0] == 0).all()


def test_the_token_grid_averages_the_truth_that_lies_in_each_token(batch):
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


def test_the_token_grid_looks_only_at_the_picture_in_a_padded_query(batch):
    """A query of 16 x 32 fills the upper half of the input; what pads the target is never read."""
    target = torch.full((2, SIDE, SIDE), IGNORE)
    target[:, :16] = 1
    padded = replace(batch, target=target, query_size=torch.tensor([[16, 32]] * 2))
    got = TokenGrid(SIDE, "pad")(padded)
    assert (got[0, 1, :2] == 1).all() and (got[0, 1, 2:] == 0).all() and (got[0, 0, 2:] == 1).all()


def blobs(seed, n_episodes=12):
    """One-way episodes on a 64 px input whose features tell the classes well, with some noise."""
    g = torch.Generator().manual_seed(seed)
    side, grid = 64, 16
    y, x = torch.meshgrid(torch.arange(side), torch.arange(side), indexing="ij")
    centres, radii = (
        torch.rand(2 * n_episodes, 2, generator=g) * 40 + 12,
        8 + 8 * torch.rand(2 * n_episodes, generator=g),
    )
    far = (y - centres[:, 0, None, None]) ** 2 + (x - centres[:, 1, None, None]) ** 2
    masks = (far < radii[:, None, None] ** 2).float()
    share = F.adaptive_avg_pool2d(masks, grid)[:, None]
    direction = F.normalize(torch.randn(2, WIDTH, generator=g), dim=1)[:, :, None, None]
    features = share * direction[0] + (1 - share) * direction[1]
    features = features + 0.1 * torch.randn(features.shape, generator=g)
    query, support = features.chunk(2)
    return Batch(
        source=Features(query, support),
        support_episode=torch.arange(n_episodes),
        prompts=make_prompts(masks[n_episodes:], list(range(n_episodes)), [1] * n_episodes),
        token_rows=torch.zeros(n_episodes, 2, dtype=torch.int64),
        class_valid=torch.ones(n_episodes, 2, dtype=torch.bool),
        target=masks[:n_episodes].long(),
        query_size=torch.tensor([[side, side]] * n_episodes),
    )


def miou(segmenter, batch):
    maps = Frame((64, 64), 64, "squash").original_logits(segmenter(batch))
    pairs = zip(maps, batch.target, strict=True)
    counts = [counts_by_bias(m, t, torch.zeros(1))[0] for m, t in pairs]
    return Scores.of([((1,), c) for c in counts], [1]).miou_star


def test_the_token_grid_bounds_every_method_without_a_decoder_and_the_floor_is_below():
    batch, methods = blobs(0), baselines(64)
    methods["threshold_prototype"] = replace(methods["threshold_prototype"], threshold=0.5)
    got = {name: miou(segmenter, batch) for name, segmenter in methods.items()}
    assert got["floor"] == 0 and got["token_grid"] > 0.9
    for name in ("prototype", "threshold_prototype", "part_prototypes", "affinity", "ridge"):
        assert 0.5 < got[name] < got["token_grid"], (name, got)
        assert got[name] > got["class_prior"]


def test_a_batch_of_pixels_is_refused(batch):
    pixels = replace(batch, source=Pixels(torch.zeros(2, 3, 8, 8), torch.zeros(4, 3, 8, 8)))
    with pytest.raises(TypeError, match="feature cache"):
        Prototype(MAPS)(pixels)
