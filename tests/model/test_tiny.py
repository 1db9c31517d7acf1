"""The tiny backbone: shapes, positions by hand, attention by loops, and its shipped weights."""

import math

import pytest
import torch
from safetensors import safe_open

from la.model.backbone import build_backbone
from la.model.backbones.tiny import TINY, Block, TinyViT, positions
from la.profiles import profile


@pytest.mark.parametrize("size", [(96, 96), (64, 40), (8, 16)])
def test_a_cell_is_eight_pixels_at_any_size(size):
    with torch.no_grad():
        features = TinyViT().eval()(torch.zeros(2, 3, *size))
    assert features.shape == (2, 128, size[0] // 8, size[1] // 8)


def test_a_side_that_is_no_multiple_of_eight_is_refused():
    with pytest.raises(ValueError, match="multiples of 8"):
        TinyViT()(torch.zeros(1, 3, 96, 100))


def test_positions_are_sines_and_cosines_of_row_and_column():
    h, w, dim = 3, 5, 16
    expected = torch.zeros(h * w, dim)
    for row in range(h):
        for column in range(w):
            for k in range(4):
                rate = 10_000 ** (-k / 4)
                values = (row * rate, row * rate, column * rate, column * rate)
                for part, (value, f) in enumerate(
                    zip(values, (math.sin, math.cos) * 2, strict=True)
                ):
                    expected[row * w + column, 4 * part + k] = f(value)
    torch.testing.assert_close(positions(h, w, dim), expected)


def test_a_block_is_the_textbook_block():
    torch.manual_seed(0)
    block, x = Block(8, 2, 12).eval(), torch.randn(1, 5, 8)
    with torch.no_grad():
        qkv = block.qkv(block.norm1(x))[0]
        mixed = torch.zeros(5, 8)
        for head in range(2):
            part = slice(4 * head, 4 * head + 4)
            q, k, v = qkv[:, 0:8][:, part], qkv[:, 8:16][:, part], qkv[:, 16:24][:, part]
            for token in range(5):
                scores = torch.stack([q[token] @ k[other] / 2 for other in range(5)]).softmax(0)
                mixed[token, part] = sum(scores[other] * v[other] for other in range(5))
        middle = x[0] + block.proj(mixed)
        expected = middle + block.mlp(block.norm2(middle))
        torch.testing.assert_close(block(x)[0], expected, rtol=1e-4, atol=1e-5)


def test_the_shipped_weights_fit_exactly_and_are_frozen():
    model = build_backbone(profile("quick").model).encoder
    assert not model.training
    assert not any(parameter.requires_grad for parameter in model.parameters())
    assert 0.7e6 < sum(parameter.numel() for parameter in model.parameters()) < 0.85e6
    with safe_open(TINY.weights.path(), "pt") as file:
        assert set(file.keys()) == set(model.state_dict())
        assert {"steps", "seed", "n_images", "data"} <= set(file.metadata())
    assert TINY.weights.path().stat().st_size < 4e6


def test_an_image_gives_the_same_features_alone_and_in_a_batch():
    images = torch.randn(3, 3, 96, 96, generator=torch.Generator().manual_seed(0))
    model = build_backbone(profile("quick").model).encoder
    torch.testing.assert_close(model(images)[1:2], model(images[1:2]), rtol=1e-3, atol=1e-4)
