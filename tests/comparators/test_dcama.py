"""DCAMA's coarse masks written with loops, and what uniform attention gives."""

import math
from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from la.comparators import dcama
from la.comparators.dcama import DCAMA, HEADS, sinusoids
from la.comparators.tokens import tokens
from tests.comparators.rival_episodes import CONFIG, WIDE, shaken, wide_episodes


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


def one_head_on_cosines(monkeypatch: pytest.MonkeyPatch, temperature: float) -> DCAMA:
    """DCAMA of one head, without positions, whose logits are dot products over `temperature`."""
    monkeypatch.setattr(dcama, "HEADS", 1)
    monkeypatch.setattr(dcama, "sinusoids", lambda length, width: torch.zeros(length, width))
    model = DCAMA(replace(CONFIG, embed_dim=WIDE)).eval()
    nn.init.eye_(model.to_key.weight)
    # The attention divides by sqrt(WIDE).
    model.to_query.weight.data = torch.eye(WIDE) * math.sqrt(WIDE) / temperature
    nn.init.zeros_(model.to_query.bias)
    nn.init.zeros_(model.to_key.bias)
    return model


def attention_over_all(model: DCAMA, temperature: float) -> tuple[Tensor, Tensor]:
    """The coarse masks of one head (B, C, I), and one softmax over all tokens that are valid."""
    batch = wide_episodes()
    t = tokens(batch, model.raster)
    t = replace(t, query=t.query_hat, support=nn.functional.normalize(t.support, dim=-1))
    logits = t.query @ t.support.flatten(1, 2).transpose(1, 2) / temperature
    pads = t.weights.flatten(1, 2).sum(-1) == 0
    attention = logits.masked_fill(pads[:, None], -torch.inf).softmax(-1)
    mixed = attention @ t.weights.flatten(1, 2)  # (B, I, C)
    return model.coarse_masks(t)[:, :, 0], mixed.transpose(1, 2)


@torch.inference_mode()
def test_one_head_on_cosines_is_the_affinity_without_balance_when_all_images_carry_the_class(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """With one class, the keys of each row are all tokens: `own` is then one joint softmax."""
    temperature = 0.2
    model = one_head_on_cosines(monkeypatch, temperature)
    masks, joint = attention_over_all(model, temperature)
    torch.testing.assert_close(masks[1, :2], joint[1, :2], atol=1e-5, rtol=1e-4)
    # In the episode of two classes only background has all images as keys.
    torch.testing.assert_close(masks[0, 0], joint[0, 0], atol=1e-5, rtol=1e-4)
    assert not torch.allclose(masks[0, 1], joint[0, 1], atol=1e-3)


def test_sinusoids_are_sines_and_cosines_of_falling_frequency() -> None:
    table = sinusoids(5, 8)
    for position in range(5):
        for k in range(4):
            angle = position / 10_000 ** (2 * k / 8)
            assert abs(float(table[position, 2 * k]) - math.sin(angle)) < 1e-5
            assert abs(float(table[position, 2 * k + 1]) - math.cos(angle)) < 1e-5
