"""Prompts as soft maps: each kind against its formula written out."""

import math

import pytest
import torch

from la.comparators.raster import Raster
from la.types import Prompts


def prompts_of(points=(), boxes=(), mask=None, labels=None):
    """One example with these prompts."""
    masks = torch.zeros(0, 48, 48) if mask is None else mask[None]
    return Prompts(
        masks=masks,
        mask_example=torch.zeros(len(masks), dtype=torch.int64),
        points=torch.tensor(points).view(1, -1, 2).float(),
        point_labels=torch.tensor(labels or [1] * len(points)).view(1, -1).long(),
        boxes=torch.tensor(boxes).view(1, -1, 4).float(),
        boxes_valid=torch.ones(1, len(boxes), dtype=torch.bool),
        example_support=torch.zeros(1, dtype=torch.int64),
        example_row=torch.ones(1, dtype=torch.int64),
    )


DRAW = Raster(image_size=96, mask_size=48)


def test_a_point_draws_a_gaussian_of_two_pixels():
    drawn = DRAW(prompts_of(points=[[40, 20]]), (48, 48))[0]
    for y in range(6, 14):
        for x in range(16, 25):  # a cell of the map is two pixels wide
            squared = (2 * x + 1 - 40.5) ** 2 + (2 * y + 1 - 20.5) ** 2
            assert drawn[y, x].item() == pytest.approx(math.exp(-squared / 8), abs=1e-6)


def test_a_box_draws_a_gaussian_that_follows_its_sides_and_ends_beyond_them():
    drawn = DRAW(prompts_of(boxes=[[20, 30, 60, 50]]), (48, 48))[0]
    for y in range(48):
        for x in range(48):
            u, v = (2 * x + 1 - 40) / 20, (2 * y + 1 - 40) / 10
            value = math.exp(-(u**2 + v**2) / (2 * 0.35**2))
            inside = abs(u) < 1.1 and abs(v) < 1.1
            assert drawn[y, x].item() == pytest.approx(value if inside else 0, abs=1e-6)


def test_a_mask_is_its_share_of_each_cell():
    mask = torch.zeros(48, 48)
    mask[0:3, 0:4] = 1
    drawn = DRAW(prompts_of(mask=mask), (12, 12))[0]
    assert drawn[0, 0].item() == pytest.approx(12 / 16)
    assert drawn.sum().item() == pytest.approx(12 / 16)


def test_several_prompts_draw_their_maximum_and_negative_points_nothing():
    a, b = ([[10.0, 10.0]], [[12.0, 11.0]])
    one, other = (DRAW(prompts_of(points=p), (48, 48)) for p in (a, b))
    both = DRAW(prompts_of(points=a + b), (48, 48))
    torch.testing.assert_close(both, torch.maximum(one, other))
    negative = DRAW(prompts_of(points=a + b, labels=[1, -1]), (48, 48))
    assert torch.equal(negative, one)
