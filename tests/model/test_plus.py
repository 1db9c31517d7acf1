"""What LA+ adds does what it says, each option alone."""

import math
from dataclasses import replace

import pytest
import torch

from la.config import PLUS
from la.model.label_anything import LabelAnything
from la.model.plus import Raster, SimilarityResidual, coverage, mean_under
from la.types import Prompts
from tests.model.test_masked import QUICK, episode, logits, model_of


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


DRAW = Raster(image_size=96, mask_size=48, sparse=True)


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


def test_without_the_option_only_masks_draw():
    plain = replace(DRAW, sparse=False)
    prompts = prompts_of(points=[[10, 10]], boxes=[[1, 1, 30, 30]])
    assert plain(prompts, (12, 12)).max() == 0
    assert coverage(plain, prompts, torch.zeros(1, 5, 12, 12)).eq(1).all()


def test_the_mean_under_a_map_is_weighted():
    features = torch.randn(2, 3, 1, 4)
    weight = torch.tensor([[0.0, 1, 3, 0]])
    expected = (features[1, :, 0, 1] + 3 * features[1, :, 0, 2]) / 4
    torch.testing.assert_close(mean_under(weight, features, torch.tensor([1]))[0], expected)


def test_the_residual_is_cosine_threshold_and_gain_written_out():
    residual = SimilarityResidual()
    with torch.no_grad():
        for parameter, value in zip(residual.parameters(), (math.log(3), 0.5, 2.0), strict=True):
            parameter.fill_(value)
    logits, features, prototypes = (
        torch.randn(2, 3, 4, 4),
        torch.randn(2, 5, 4, 4),
        torch.randn(2, 3, 5),
    )
    found = residual(logits, features, prototypes)
    for b in range(2):
        for y in range(4):
            for x in range(4):
                for c in range(3):
                    f, p = features[b, :, y, x], prototypes[b, c]
                    score = 0.5 if c == 0 else float(f @ p / f.norm() / p.norm())
                    expected = 3 * score + 2 * float(logits[b, c, y, x])
                    assert found[b, c, y, x].item() == pytest.approx(expected, abs=1e-5)


def test_aligned_decoders_start_as_one_projection():
    model = model_of("la+")
    decoder = model.mask_decoder
    weight = decoder.image_skip.weight
    assert torch.equal(weight, decoder.class_skip.weight)
    torch.testing.assert_close(weight @ weight.T, torch.eye(len(weight)), atol=1e-5, rtol=0)


@pytest.mark.parametrize("option", PLUS)
def test_each_option_can_be_switched_alone(option):
    torch.manual_seed(0)
    batch = episode(1)
    config = replace(QUICK, **{option: True})
    if option == "raster":  # it draws maps; something must use them
        config = replace(config, highlight=True)
    model = LabelAnything.from_config(config, torch.Generator().manual_seed(0)).eval()
    without = LabelAnything.from_config(
        replace(config, **{option: False}), torch.Generator().manual_seed(0)
    ).eval()
    found, plain = logits(model, batch), logits(without, batch)
    assert found.isfinite().all()
    assert not torch.allclose(found, plain, atol=1e-4)
