"""Attention between tokens and image is the textbook's, whichever way it is computed."""

import math

import pytest
import torch

from la.model import layers
from la.model.layers import Attention


def attention(dim=16, inner=8, n_heads=2, seed=0):
    torch.manual_seed(seed)
    return Attention(dim, inner, n_heads).double()


def textbook(module, q, k, v, valid=None):
    """Head by head, query by query."""
    q, k, v = module.q_proj(q), module.k_proj(k), module.v_proj(v)
    width = q.shape[-1] // module.n_heads
    out = torch.zeros_like(q)
    for b in range(len(q)):
        for head in range(module.n_heads):
            part = slice(head * width, (head + 1) * width)
            for i in range(q.shape[1]):
                scores = k[b, :, part] @ q[b, i, part] / math.sqrt(width)
                if valid is not None:
                    scores = scores.masked_fill(~valid[b], -math.inf)
                out[b, i, part] = scores.softmax(0) @ v[b, :, part]
    return module.out_proj(out)


def tensors(n_tokens, cells=9, dim=16):
    g = torch.Generator().manual_seed(1)
    shapes = ((2, n_tokens, dim), (2, n_tokens, dim), (2, cells, dim), (cells, dim))
    return [torch.randn(*shape, generator=g, dtype=torch.float64) for shape in shapes]


@pytest.mark.parametrize("n_tokens", [1, 2, 3, 7])
def test_reading_an_image_is_attention_with_position_in_the_keys_alone(n_tokens):
    module, (tokens, _, image, position) = attention(), tensors(n_tokens)
    expected = textbook(module, tokens, image + position, image)
    torch.testing.assert_close(module.read(tokens, image, position), expected)


@pytest.mark.parametrize("n_tokens", [1, 2, 3, 7])
@pytest.mark.parametrize("masked", [False, True])
def test_writing_to_an_image_is_attention_with_position_in_the_queries(n_tokens, masked):
    module, (keys, values, image, position) = attention(), tensors(n_tokens)
    valid = None
    if masked:
        valid = torch.arange(n_tokens) < torch.tensor([[n_tokens], [1]])
    expected = textbook(module, image + position, keys, values, valid)
    found = module.write(image, position, keys, values, valid)
    torch.testing.assert_close(found.expand_as(expected), expected)


def test_both_ways_of_crossing_are_taken_and_have_the_same_gradient(monkeypatch):
    module, (tokens, values, image, position) = attention(), tensors(2)
    image.requires_grad_()
    gradients = []
    for few in (True, False):
        monkeypatch.setattr(Attention, "_projects_tokens", lambda self, n, few=few: few)
        image.grad = None
        out = module.read(tokens, image, position).sin().sum()
        out = out + module.write(image, position, tokens, values, None).sin().sum()
        out.backward()
        gradients.append(image.grad)
    torch.testing.assert_close(*gradients)


@pytest.mark.parametrize("short", [0, 10**9])
def test_the_explicit_softmax_and_the_fused_kernel_agree(short, monkeypatch):
    monkeypatch.setattr(layers, "SHORT", short)
    module, (q, k, _, _) = attention(), tensors(5)
    valid = torch.tensor([[True, False, True, True, False], [True] * 5])
    found = module(q, k, k, valid[:, None, None])
    torch.testing.assert_close(found, textbook(module, q, k, k, valid))
