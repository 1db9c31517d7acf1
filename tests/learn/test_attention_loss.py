import math
from dataclasses import replace

import pytest
import torch

from la.config import TrainConfig
from la.learn.attention_loss import Read, attention_loss, object_cells, recorded_reads
from la.learn.steps import batch_loss, segmentation_loss
from la.model.label_anything import LabelAnything
from la.model.layers import TokenToImageAttention
from la.profiles import profile
from tests.model.planted import planted_batch

QUICK = profile("quick").model


def random_read(n_pairs: int, n_tokens: int, side: int) -> Read:
    g = torch.Generator().manual_seed(0)
    attention = TokenToImageAttention(8, 4, 2)
    for weight in attention.parameters():
        torch.nn.init.normal_(weight, generator=g)
    return Read(
        attention,
        torch.randn(n_pairs, n_tokens, 8, generator=g),
        torch.randn(n_pairs, side * side, 8, generator=g),
        torch.randn(side * side, 8, generator=g),
    )


def test_the_loss_is_minus_the_log_of_the_share_written_out():
    read = random_read(n_pairs=3, n_tokens=2, side=2)
    objects = torch.zeros(2, 2, 2, dtype=torch.bool)  # the third pair is none of the examples
    objects[0, 0, 1] = objects[1, 1, 0] = objects[1, 1, 1] = True
    valid = torch.tensor([[True, True], [True, False]])
    attention, total = read.attention, 0.0
    for e, t in ((0, 0), (0, 1), (1, 0)):
        query = attention.q_proj(read.tokens[e, t])
        keys = attention.k_proj(read.image[e] + read.position)
        for head in (slice(0, 2), slice(2, 4)):
            share = (keys[:, head] @ query[head] / math.sqrt(2)).softmax(0)
            total -= math.log(share[objects[e].flatten()].sum().item() + 1e-6) / 2
    assert attention_loss([read], objects, valid).item() == pytest.approx(total / 3, rel=1e-5)


def test_cells_of_an_object_are_counted_by_hand():
    objects = torch.zeros(3, 4, 4, dtype=torch.bool)
    objects[0, :2] = True  # two whole cells
    objects[1, 0, 0] = True  # less than a cell
    objects[2, :3, :2] = True  # a whole cell, and half of the one below
    cells = [[1, 1, 0, 0], [1, 0, 0, 0], [1, 0, 1, 0]]
    assert object_cells(objects, 2).int().tolist() == cells
    assert not object_cells(torch.zeros(1, 4, 4, dtype=torch.bool), 2).any()


def test_recording_reads_changes_nothing_and_ends():
    model = LabelAnything.from_config(QUICK, torch.Generator().manual_seed(0))
    batch = planted_batch(QUICK, 0, n_episodes=2)
    before = model(batch)
    with recorded_reads(model.prompt_encoder) as reads:
        during = model(batch)
    assert len(reads) == 2
    model(batch)
    assert len(reads) == 2
    assert torch.equal(before, during)


def test_a_batch_without_objects_is_refused():
    model = LabelAnything.from_config(QUICK, torch.Generator().manual_seed(0))
    batch = replace(planted_batch(QUICK, 0, n_episodes=1), objects=None)
    with pytest.raises(ValueError, match="objects=True"):
        batch_loss(model, batch, TrainConfig(target_side=12, attention_loss=1.0))


def test_the_batch_loss_is_the_segmentation_loss_and_the_weighted_attention_loss():
    model = LabelAnything.from_config(QUICK, torch.Generator().manual_seed(0))
    batch = planted_batch(QUICK, 0, n_episodes=2, kind="box")
    plain = TrainConfig(target_side=12, attention_loss=0.0)
    losses = {w: batch_loss(model, batch, replace(plain, attention_loss=w)) for w in (0, 1, 2)}
    assert losses[0] == segmentation_loss(model, batch, plain)
    assert (losses[2] - losses[0]).item() == pytest.approx(2 * (losses[1] - losses[0]).item())
    assert losses[1] > losses[0]
