"""Exact mode is the plainly written published model, whatever the episode looks like."""

import pytest
import torch

from la.config import ModelConfig
from la.model.label_anything import LabelAnything
from la.types import map_tensors
from tests.dense_reference import dense_reference
from tests.model.official import small, to_batch
from tests.model.random_cases import dense_inputs

PADDED = torch.tensor([[True, True, True, False], [True, True, True, True]])
ARCHITECTURES = [
    ((), 0),
    (("example",), 7),
    (("class_example",), 0),
    (("class", "example", "class_example"), 7),
]
EXACT = small(ModelConfig(backbone="mae_vit_b", mixers=(), mode="exact"))


def model_of(seed=0, **changes):
    generator = torch.Generator().manual_seed(seed)
    return LabelAnything.from_config(small(EXACT, **changes), generator).double()


def both(model, inputs):
    """Logits and prototypes (ours, reference)."""
    with torch.no_grad():
        batch = to_batch(inputs)
        support = model.support(batch)
        ours = model.decode(model.encode_features(batch.source.query), support)
        reference = dense_reference(model.state_dict(), inputs, model.config.image_size)
    reference_logits = reference.logits.masked_fill(~batch.class_valid[..., None, None], -torch.inf)
    return (ours, reference_logits), (support.prototypes, reference.prototypes)


def assert_same(model, inputs, tolerance=1e-9):
    logits, prototypes = both(model, inputs)
    assert logits[0].nan_to_num(neginf=0).std() > 0.01
    torch.testing.assert_close(*logits, atol=tolerance, rtol=0)
    torch.testing.assert_close(*prototypes, atol=tolerance, rtol=0)


def test_in_single_precision_it_agrees_to_1e_5():
    inputs = map_tensors(dense_inputs(), lambda x: x.float() if x.is_floating_point() else x)
    assert_same(model_of(mixers=("example",)).float(), inputs, tolerance=1e-5)


@pytest.mark.parametrize(
    "kinds", [("mask",), ("box",), ("point",), ("box", "point"), ("mask", "box", "point")]
)
@pytest.mark.parametrize(("mixers", "token_pool"), ARCHITECTURES)
def test_every_kind_of_prompt_and_mixer_agrees_with_the_dense_reference(kinds, mixers, token_pool):
    model = model_of(mixers=mixers, token_pool=token_pool)
    rows = torch.tensor([0, 5, 2, 6]) if token_pool else None
    assert_same(model, dense_inputs(1, 3, 4, kinds, bank_rows=rows))


@pytest.mark.parametrize(("mixers", "token_pool"), ARCHITECTURES)
@pytest.mark.parametrize("seed", range(2))
def test_two_episodes_with_a_padded_class_slot_agree_with_the_dense_reference(
    mixers, token_pool, seed
):
    rows = torch.tensor([0, 5, 2, 6]) if token_pool else None
    inputs = dense_inputs(2, 3, 4, seed=seed, bank_rows=rows, class_valid=PADDED)
    assert_same(model_of(seed, mixers=mixers, token_pool=token_pool), inputs)


@pytest.mark.parametrize("kinds", [("point",), ("box",), ("mask", "point")])
def test_many_rows_and_tokens_take_the_other_forms_of_attention_and_agree(kinds):
    inputs = dense_inputs(1, 5, 12, kinds, n_points=9, n_boxes=5, side=7)
    assert_same(model_of(image_size=112), inputs)


def test_without_spatial_convolutions_it_agrees_too():
    assert_same(model_of(spatial_convs=False), dense_inputs())


@pytest.mark.parametrize("changed", ["extra point", "tiled box flags", "absent pairs"])
def test_each_quirk_is_felt(changed):
    """What the reference does with padding is visible, so agreeing with it is no accident."""
    kinds = {"extra point": ("point",), "tiled box flags": ("box",), "absent pairs": ("mask",)}[
        changed
    ]
    mixers = ("example",) if changed == "absent pairs" else ()
    exact = model_of(mixers=mixers)
    masked = LabelAnything.empty(small(EXACT, mixers=mixers, mode="masked"))
    masked.load_state_dict(exact.state_dict())
    batch = to_batch(dense_inputs(1, 3, 4, kinds, seed=1))
    with torch.no_grad():
        difference = (exact(batch) - masked(batch)).abs().max()
    assert difference > 1e-3
