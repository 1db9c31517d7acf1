"""In masked mode what pads, what is absent and who else is in the batch change nothing."""

from dataclasses import replace

import pytest
import torch

from la.config import ModelConfig
from la.model.label_anything import LabelAnything
from la.model.prompt_encoder import with_unprompted
from la.types import Batch, Features, Pixels, map_tensors
from tests.conftest import fresh_model
from tests.model.official import small, to_batch
from tests.model.random_cases import dense_inputs

PUBLISHED = small(ModelConfig(mixers=("class", "example", "class_example")), token_pool=9)
QUICK = small(
    ModelConfig(backbone="tiny", patch_size=8, norm_first=True, first_residual=True),
    token_pool=9, background="token", mask_size=32, n_heads=4, logit_downsample=2,
)  # fmt: skip
CONFIGS = {
    "published": PUBLISHED,
    "no mixer": replace(PUBLISHED, mixers=(), token_pool=0),
    "quick": QUICK,
}
TOLERANCE = {"atol": 1e-5, "rtol": 0}


def model_of(name, seed=0):
    return fresh_model(CONFIGS[name], seed)


def episode(seed=0, n_supports=3, n_rows=4, **options) -> Batch:
    """One random episode in float32 with distinct token rows."""
    rows = torch.cat([torch.zeros(1, dtype=torch.int64), torch.randperm(8)[: n_rows - 1] + 1])
    inputs = dense_inputs(1, n_supports, n_rows, seed=seed, bank_rows=rows, **options)
    return map_tensors(to_batch(inputs), lambda x: x.float() if x.is_floating_point() else x)


def logits(model, batch):
    with torch.no_grad():
        return model(batch)


@pytest.fixture(params=CONFIGS)
def model(request):
    return model_of(request.param)


@pytest.fixture(params=range(2))
def batch(request):
    torch.manual_seed(request.param)
    return episode(request.param)


def test_an_example_without_any_prompt_changes_nothing(model, batch):
    prompts = batch.prompts
    listed = set(zip(prompts.example_support.tolist(), prompts.example_row.tolist(), strict=True))
    s, c = next((s, c) for s in range(3) for c in range(1, 4) if (s, c) not in listed)
    more = with_unprompted(prompts, torch.tensor([s]), torch.tensor([c]))
    found, expected = logits(model, replace(batch, prompts=more)), logits(model, batch)
    torch.testing.assert_close(found, expected, **TOLERANCE)


def test_a_padded_class_changes_nothing(model, batch):
    wider = replace(
        batch,
        token_rows=torch.cat([batch.token_rows, torch.tensor([[8]])], dim=1),
        class_valid=torch.tensor([[True] * 4 + [False]]),
    )
    found = logits(model, wider)
    assert found[:, 4].eq(-torch.inf).all()
    torch.testing.assert_close(found[:, :4], logits(model, batch), **TOLERANCE)


def test_padded_points_and_boxes_change_nothing(model, batch):
    prompts = batch.prompts
    e = len(prompts.example_row)
    padded = replace(
        prompts,
        points=torch.cat([torch.full((e, 5, 2), 33.0), prompts.points], dim=1),
        point_labels=torch.cat([torch.zeros(e, 5, dtype=torch.int64), prompts.point_labels], dim=1),
        boxes=torch.cat([prompts.boxes, torch.full((e, 4, 4), 21.0)], dim=1),
        boxes_valid=torch.cat([prompts.boxes_valid, torch.zeros(e, 4, dtype=torch.bool)], dim=1),
    )
    found, expected = logits(model, replace(batch, prompts=padded)), logits(model, batch)
    torch.testing.assert_close(found, expected, **TOLERANCE)


def joined(a: Batch, b: Batch) -> Batch:
    """Two episodes in one batch, the shorter one padded: fewer supports, classes, points, boxes."""
    rows = max(a.n_rows, b.n_rows)

    def cat(get, dim=None, value=0):
        x, y = get(a), get(b)
        if dim is not None:
            n = max(x.shape[dim], y.shape[dim])
            x, y = (
                torch.cat(
                    [t, t.new_full((*t.shape[:dim], n - t.shape[dim], *t.shape[dim + 1 :]), value)],
                    dim,
                )
                for t in (x, y)
            )
        return torch.cat([x, y])

    e, s = len(a.prompts.example_row), len(a.support_episode)
    prompts = replace(
        a.prompts,
        masks=cat(lambda x: x.prompts.masks),
        mask_example=torch.cat([a.prompts.mask_example, b.prompts.mask_example + e]),
        points=cat(lambda x: x.prompts.points, 1),
        point_labels=cat(lambda x: x.prompts.point_labels, 1),
        boxes=cat(lambda x: x.prompts.boxes, 1),
        boxes_valid=cat(lambda x: x.prompts.boxes_valid, 1, False),
        example_support=torch.cat([a.prompts.example_support, b.prompts.example_support + s]),
        example_row=cat(lambda x: x.prompts.example_row),
    )
    valid = cat(lambda x: x.class_valid, 1, False)
    assert valid.shape == (2, rows)
    return replace(
        a,
        source=Features(cat(lambda x: x.source.query), cat(lambda x: x.source.support)),
        support_episode=torch.cat([a.support_episode, b.support_episode + 1]),
        prompts=prompts,
        token_rows=cat(lambda x: x.token_rows, 1),
        class_valid=valid,
        target=cat(lambda x: x.target),
        query_size=cat(lambda x: x.query_size),
    )


@pytest.mark.parametrize("kinds", [("mask",), ("point",), ("mask", "box", "point")])
def test_a_batch_mate_changes_nothing(model, batch, kinds):
    mate = episode(7, n_supports=5, n_rows=6, kinds=kinds, n_points=6, n_boxes=1)
    together = logits(model, joined(batch, mate))
    torch.testing.assert_close(together[:1, :4], logits(model, batch), **TOLERANCE)
    torch.testing.assert_close(together[1:], logits(model, mate), **TOLERANCE)


def test_permuting_the_classes_permutes_the_logits(model, batch):
    order = torch.tensor([0, 3, 1, 2])  # row i of the new episode is row order[i] of the old
    permuted = replace(
        batch,
        token_rows=batch.token_rows[:, order],
        prompts=replace(batch.prompts, example_row=order.argsort()[batch.prompts.example_row]),
    )
    found, expected = logits(model, permuted), logits(model, batch)[:, order]
    torch.testing.assert_close(found, expected, **TOLERANCE)
    assert not torch.allclose(expected[:, 1], expected[:, 2], atol=1e-4)


def test_permuting_the_support_images_changes_nothing(model, batch):
    order = torch.tensor([2, 0, 1])
    prompts = replace(batch.prompts, example_support=order.argsort()[batch.prompts.example_support])
    source = replace(batch.source, support=batch.source.support[order])
    found = logits(model, replace(batch, prompts=prompts, source=source))
    torch.testing.assert_close(found, logits(model, batch), **TOLERANCE)


@pytest.mark.parametrize("kind", ["mask", "box", "point"])
@pytest.mark.parametrize("name", CONFIGS)
def test_each_kind_of_prompt_is_felt(name, kind):
    torch.manual_seed(0)
    batch, model = episode(2, kinds=(kind,)), model_of(name)
    p = batch.prompts
    moved = replace(p, masks=p.masks.flip(2), points=p.points.flip(2), boxes=p.boxes / 2)
    change = logits(model, replace(batch, prompts=moved)) - logits(model, batch)
    assert change.abs().max() > 1e-4


def test_queries_that_share_a_support_need_only_the_decoder(model, batch):
    queries = torch.randn(3, *batch.source.query.shape[1:])
    with torch.no_grad():
        support = model.support(batch)
        together = model.decode(model.encode_features(queries), support)
    for query, found in zip(queries.split(1), together.split(1), strict=True):
        alone = logits(model, replace(batch, source=replace(batch.source, query=query)))
        torch.testing.assert_close(found, alone, **TOLERANCE)


def test_a_support_extended_by_an_image_is_that_of_all_images(model):
    torch.manual_seed(3)
    batch, p = episode(3), episode(3).prompts
    batch = replace(batch, prompts=p)
    first, last = p.example_support < 2, p.example_support == 2

    def part(keep, supports, offset):
        masks = keep[p.mask_example]
        cut = {
            n: getattr(p, n)[keep]
            for n in ("points", "point_labels", "boxes", "boxes_valid", "example_row")
        }
        prompts = replace(
            p, **cut,
            masks=p.masks[masks],
            mask_example=(keep.cumsum(0) - 1)[p.mask_example[masks]],
            example_support=p.example_support[keep] - offset,
        )  # fmt: skip
        source = replace(batch.source, support=batch.source.support[supports])
        return replace(
            batch, source=source, prompts=prompts, support_episode=batch.support_episode[supports]
        )

    with torch.no_grad():
        whole = model.support(batch)
        a, b = (model.support(part(*x)) for x in ((first, slice(0, 2), 0), (last, slice(2, 3), 2)))
        further = replace(b.pairs, support=b.pairs.support + 2)
        extended = model.prompt_encoder.combine(a.pairs.joined(further), batch.class_valid)
    torch.testing.assert_close(extended.prototypes, whole.prototypes, **TOLERANCE)


@pytest.mark.parametrize("seed", range(3))
def test_exact_and_masked_agree_where_no_quirk_acts(seed):
    """The published MAE model with masks alone: no sparse prompt, no padding."""
    torch.manual_seed(seed)
    batch = episode(seed, kinds=("mask",))
    masked = model_of("no mixer")
    exact = LabelAnything.empty(replace(masked.config, mode="exact"))
    exact.load_state_dict(masked.state_dict())
    torch.testing.assert_close(logits(exact, batch), logits(masked, batch), **TOLERANCE)


def test_every_weight_learns_but_those_that_are_said_not_to(model):
    torch.manual_seed(0)
    batch = episode(5)
    model(batch).square().mean().backward()
    idle = {name for name, p in model.named_parameters() if p.grad is None}
    known = (
        "no_mask_embed",
        "prompt_encoder.transformer.final_attn",
        "norm_final_attn",
        "k_proj.bias",
    )
    assert all(any(part in name for part in known) for name in idle), idle
    assert all(p.grad.isfinite().all() for p in model.parameters() if p.grad is not None)


def test_weights_come_from_the_generator_alone():
    state = torch.get_rng_state()
    weights = [model_of("quick", seed=s).state_dict() for s in (0, 0, 1)]
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(x, weights[1][key]) for key, x in weights[0].items())
    assert not torch.equal(weights[0]["neck.0.weight"], weights[2]["neck.0.weight"])


def test_pixels_without_a_backbone_are_refused():
    model, batch = model_of("quick"), episode()
    pixels = Pixels(torch.zeros(1, 3, 96, 96), torch.zeros(3, 3, 96, 96))
    with pytest.raises(ValueError, match="build_backbone"):
        model(replace(batch, source=pixels))


def test_pixels_and_their_features_give_the_same_logits():
    model, batch = model_of("quick"), episode()
    model.backbone = torch.nn.Conv2d(3, 24, 16, 16)
    pixels = Pixels(torch.randn(1, 3, 96, 96), torch.randn(3, 3, 96, 96))
    with torch.no_grad():
        features = Features(model.backbone(pixels.query), model.backbone(pixels.support))
    found = logits(model, replace(batch, source=pixels))
    torch.testing.assert_close(found, logits(model, replace(batch, source=features)), **TOLERANCE)


def test_an_exact_model_with_a_learned_background_is_refused():
    with pytest.raises(ValueError, match='must be "unprompted"'):
        LabelAnything.empty(replace(QUICK, mode="exact"))
