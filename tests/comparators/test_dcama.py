"""DCAMA's coarse masks written with loops, and what uniform attention gives."""

import math

import torch

from la.comparators.dcama import DCAMA, HEADS, sinusoids
from la.comparators.tokens import tokens
from tests.comparators.rival_episodes import WIDE, shaken, wide_episodes


@torch.inference_mode()
def test_the_coarse_masks_are_their_definition_written_out() -> None:
    batch, model = wide_episodes(), shaken(DCAMA)
    t = tokens(batch, model.raster)
    got = model.coarse_masks(t)  # (B, C, heads, I)
    b, position = 0, sinusoids(16, WIDE)
    width = model.to_query.out_features // HEADS
    for h in range(HEADS):
        part = slice(h * width, (h + 1) * width)
        query = model.to_query(t.query[b] + position)[:, part]
        keys = [model.to_key(image + position)[:, part] for image in t.support[b]]
        for c in range(3):
            carries = [c == 0 or bool(w[:, c].sum() > 0) for w in t.weights[b]]
            for i in range(16):
                above, below = 0.0, 0.0
                for image in range(3):
                    for j in range(16 if carries[image] else 0):
                        e = math.exp(float(query[i] @ keys[image][j]) / math.sqrt(width))
                        above += e * float(t.weights[b, image, j, c])
                        below += e
                assert abs(float(got[b, c, h, i]) - above / below) < 1e-4


@torch.inference_mode()
def test_without_projections_the_masks_are_the_mean_coverage_of_the_images_with_the_class() -> None:
    batch, model = wide_episodes(), shaken(DCAMA)
    model.to_query.weight.zero_()
    model.to_query.bias.zero_()
    t = tokens(batch, model.raster)
    masks = model.coarse_masks(t)
    of_class_1 = t.weights[0, :2, :, 1].mean()  # supports 0 and 1 carry it
    torch.testing.assert_close(masks[0, 1], of_class_1.expand(HEADS, 16))
    of_background = t.weights[0, :, :, 0].mean()
    torch.testing.assert_close(masks[0, 0], of_background.expand(HEADS, 16))


def test_sinusoids_are_sines_and_cosines_of_falling_frequency() -> None:
    table = sinusoids(5, 8)
    for position in range(5):
        for k in range(4):
            angle = position / 10_000 ** (2 * k / 8)
            assert abs(float(table[position, 2 * k]) - math.sin(angle)) < 1e-5
            assert abs(float(table[position, 2 * k + 1]) - math.cos(angle)) < 1e-5
