"""Adaptation to a support set: one step written out by hand, and what it must leave alone."""

from dataclasses import fields

import pytest
import torch
from torch import Tensor

from la.learn.adaptation import ADAPTED, LEARNING_RATE, adapted_weights, mask_targets, with_decoder
from la.model.label_anything import LabelAnything
from la.profiles import profile
from la.rng import stream
from la.types import Prompts
from tests.conftest import fresh_model

QUICK = profile("quick").model
CELLS = QUICK.image_size // QUICK.patch_size
DECAY = 0.01
SEEDS = (1, 3, 6)  # whose first two queries of four differ

# For each case the examples as (image, row).
EACH_SHOWS_ALL = ((0, 1), (0, 2), (1, 1), (1, 2))
ONE_ALONE_SHOWS_A_CLASS = ((0, 1), (0, 2), (1, 1))
A_SINGLE_IMAGE = ((0, 1),)
CASES = {
    # For each image as a query, the images of its support set.
    EACH_SHOWS_ALL: {0: (1,), 1: (0,)},
    ONE_ALONE_SHOWS_A_CLASS: {0: (0, 1), 1: (0,)},
    A_SINGLE_IMAGE: {0: (0,)},
}


def masks_of(examples) -> Tensor:
    """(E, Hm, Wm): a rectangle for each example; those of one image overlap."""
    masks = torch.zeros(len(examples), QUICK.mask_size, QUICK.mask_size)
    for mask, (image, row) in zip(masks, examples, strict=True):
        mask[5 * row : 5 * row + 14, 7 * image + 2 : 30] = 1
    return masks


def prompts_of(examples, masks: Tensor) -> Prompts:
    n_examples = len(examples)
    images, rows = zip(*examples, strict=True)
    return Prompts(
        masks=masks,
        mask_example=torch.arange(n_examples),
        points=torch.zeros(n_examples, 0, 2),
        point_labels=torch.zeros(n_examples, 0, dtype=torch.int64),
        boxes=torch.zeros(n_examples, 0, 4),
        boxes_valid=torch.zeros(n_examples, 0, dtype=torch.bool),
        example_support=torch.tensor(images),
        example_row=torch.tensor(rows),
    )


def embeddings(n_images: int) -> Tensor:
    generator = torch.Generator().manual_seed(1)
    return torch.randn(n_images, QUICK.embed_dim, CELLS, CELLS, generator=generator)


@pytest.fixture
def model() -> LabelAnything:
    return fresh_model(QUICK)


def inputs(examples=EACH_SHOWS_ALL) -> tuple[Tensor, Prompts]:
    n_images = 1 + max(image for image, _ in examples)
    return embeddings(n_images), prompts_of(examples, masks_of(examples))


def prototypes(model: LabelAnything, images: Tensor, examples, n_rows: int) -> Tensor:
    """(C, D), of a support set that has these examples only; the images are renumbered."""
    kept = sorted({image for image, _ in examples})
    renumbered = [(kept.index(image), row) for image, row in examples]
    prompts = prompts_of(renumbered, masks_of(examples))
    rows = torch.arange(n_rows)[None]
    episode = torch.zeros(len(kept), dtype=torch.int64)
    with torch.no_grad():
        pairs = model.prompt_encoder.encode(images[kept], prompts, episode, rows)
        return model.prompt_encoder.combine(pairs, torch.ones_like(rows) > 0).prototypes[0]


def truth(examples, image: int) -> Tensor:
    """(Hm, Wm) rows, cell by cell."""
    target = torch.zeros(QUICK.mask_size, QUICK.mask_size, dtype=torch.int64)
    for mask, (of_image, row) in zip(masks_of(examples), examples, strict=True):
        for y, x in mask.nonzero().tolist():
            if of_image == image:
                target[y, x] = row
    return target


def loss_of(model, images, examples, numbers, supports_of) -> Tensor:
    """The focal loss of some queries; number 2 i is image i, and 2 i + 1 is its mirror image."""
    n_rows = 1 + max(row for _, row in examples)
    position = model.prompt_encoder.pe_layer.grid(CELLS, CELLS)
    losses, frequency = [], torch.zeros(n_rows)
    for number in numbers:
        image, is_mirrored = divmod(number, 2)
        others = [example for example in examples if example[0] in supports_of[image]]
        of_support = prototypes(model, images, others, n_rows)[None]
        query, target = images[image], truth(examples, image)
        if is_mirrored:
            query = query[:, :, list(range(CELLS))[::-1]]
            target = target[:, list(range(QUICK.mask_size))[::-1]]
        valid = torch.ones(1, n_rows, dtype=torch.bool)
        logits = model.mask_decoder(query[None], position, of_support, valid)
        logits = torch.nn.functional.interpolate(logits, target.shape, mode="bilinear")
        for row in range(n_rows):
            frequency[row] += (target == row).double().mean() / len(numbers)
        likely = logits[0].softmax(0).gather(0, target[None])[0]
        losses.append((-((1 - likely) ** 2) * likely.log(), target))
    weight = frequency.clamp(min=1e-9) ** -0.5
    weight = weight / (frequency * weight).sum()
    return torch.stack([(loss * weight[target]).mean() for loss, target in losses]).mean()


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("examples", CASES)
def test_one_step_is_that_of_adamw_on_the_images_as_queries_of_the_others(model, examples, seed):
    model = model.double()
    images, prompts = inputs(examples)
    images = images.double()
    after = adapted_weights(model, images, prompts, steps=1, seed=seed)
    numbers = stream(seed, "adaptation").permutation(2 * len(images)).tolist()[:2]
    loss_of(model, images, examples, numbers, CASES[examples]).backward()
    for name, weight in model.mask_decoder.named_parameters():
        if name in after:
            gradient = weight.grad  # at the first step both averages are those of one gradient
            step = gradient / (gradient.abs() + 1e-8)
            expected = weight * (1 - LEARNING_RATE * DECAY) - LEARNING_RATE * step
            torch.testing.assert_close(after[name], expected.detach(), rtol=0, atol=2e-6)
            assert (after[name] != weight).any()


def test_the_queries_of_the_seeds_above_are_both_images_as_they_are_and_mirrored():
    queries = [stream(seed, "adaptation").permutation(4).tolist()[:2] for seed in SEEDS]
    assert set(sum(queries, [])) == {0, 1, 2, 3}


def test_further_steps_are_a_plain_loop_in_which_each_query_comes_once_before_any_comes_again(
    model,
):
    images, prompts = inputs()
    after = adapted_weights(model, images, prompts, steps=3)
    trained = [w for name, w in model.mask_decoder.named_parameters() if name in after]
    optimizer = torch.optim.AdamW(trained, lr=LEARNING_RATE, weight_decay=DECAY)
    rng = stream(0, "adaptation")
    first, second = rng.permutation(4).tolist(), rng.permutation(4).tolist()
    for numbers in (first[:2], first[2:], second[:2]):
        optimizer.zero_grad()
        loss_of(model, images, EACH_SHOWS_ALL, numbers, CASES[EACH_SHOWS_ALL]).backward()
        optimizer.step()
    apart = torch.cat([(w - a).flatten() for w, a in zip(trained, after.values(), strict=True)])
    # A gradient near 0 may have another sign, and its weight then goes the other way.
    assert apart.abs().median() < 1e-6 and apart.abs().mean() < 0.01 * LEARNING_RATE


def test_the_target_has_the_row_of_the_last_mask_on_a_cell():
    masks = torch.zeros(3, 4, 4)
    masks[0, :2, :3] = 1  # row 1 on image 0
    masks[1, 1:3, 2:] = 1  # row 3 on image 0, over the corner of row 1
    masks[2, 3, 0] = 1  # row 2 on image 2
    prompts = prompts_of(((0, 1), (0, 3), (2, 2)), masks)
    assert mask_targets(prompts, n_images=3).tolist() == [
        [[1, 1, 1, 0], [1, 1, 3, 3], [0, 0, 3, 3], [0, 0, 0, 0]],
        [[0, 0, 0, 0]] * 4,
        [[0, 0, 0, 0], [0, 0, 0, 0], [0, 0, 0, 0], [2, 0, 0, 0]],
    ]


def test_only_the_last_layers_of_the_decoder_change_and_the_model_is_left_as_it_was(model):
    before = {name: weight.clone() for name, weight in model.state_dict().items()}
    after = adapted_weights(model, *inputs(), steps=3)
    names = [name for name, _ in model.mask_decoder.named_parameters() if name.startswith(ADAPTED)]
    assert list(after) == names
    assert {name.split(".")[0] for name in names} == {name.rstrip(".") for name in ADAPTED}
    for name, weight in model.state_dict().items():
        assert torch.equal(weight, before[name])
    for weight in model.parameters():
        assert weight.requires_grad and weight.grad is None
    assert not any(weight.requires_grad for weight in after.values())


def test_a_model_with_adapted_weights_shares_everything_else(model):
    after = adapted_weights(model, *inputs(), steps=2)
    before = {name: weight.clone() for name, weight in model.state_dict().items()}
    adapted = with_decoder(model, after)
    assert adapted.prompt_encoder is model.prompt_encoder and adapted.neck is model.neck
    for name, weight in adapted.mask_decoder.state_dict().items():
        assert torch.equal(weight, after.get(name, before[f"mask_decoder.{name}"]))
    for name, weight in model.state_dict().items():
        assert torch.equal(weight, before[name])


def test_the_loss_on_the_support_images_falls(model):
    images, prompts = inputs()
    numbers = [0, 1, 2, 3]
    with torch.no_grad():
        before = loss_of(model, images, EACH_SHOWS_ALL, numbers, CASES[EACH_SHOWS_ALL])
        adapted = with_decoder(model, adapted_weights(model, images, prompts, steps=30))
        after = loss_of(adapted, images, EACH_SHOWS_ALL, numbers, CASES[EACH_SHOWS_ALL])
    assert after < 0.9 * before


def test_a_seed_gives_the_same_bits_in_every_mode_of_gradients_and_leaves_the_mode(model):
    images, prompts = inputs()
    expected = adapted_weights(model, images, prompts, steps=3)
    assert torch.is_grad_enabled() and not torch.is_inference_mode_enabled()
    with torch.no_grad():
        without = adapted_weights(model, images, prompts, steps=3)
        assert not torch.is_grad_enabled()
    with torch.inference_mode():
        copies = {field.name: getattr(prompts, field.name).clone() for field in fields(prompts)}
        made_there = Prompts(**copies)
        in_inference = adapted_weights(fresh_model(QUICK), images.clone(), made_there, steps=3)
        assert torch.is_inference_mode_enabled()
    for name, weight in expected.items():
        assert torch.equal(without[name], weight) and torch.equal(in_inference[name], weight)
        assert not in_inference[name].is_inference()
    other = adapted_weights(model, images, prompts, steps=3, seed=1)
    assert any(not torch.equal(other[name], weight) for name, weight in expected.items())


def test_images_in_16_bits_are_adapted_to_in_the_precision_of_the_weights(model):
    images, prompts = inputs()
    images = images.bfloat16()
    after = adapted_weights(model, images, prompts, steps=2)
    expected = adapted_weights(model, images.float(), prompts, steps=2)
    assert all(torch.equal(after[name], weight) for name, weight in expected.items())
