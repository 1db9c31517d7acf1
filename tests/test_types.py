from dataclasses import replace

import pytest
import torch

from la.types import (
    Batch,
    Episode,
    Example,
    Features,
    PromptKind,
    Prompts,
    check_shapes,
    map_tensors,
)  # fmt: skip

EPISODE = Episode(
    query_id=9,
    class_ids=(3, 44),
    support_ids=(7, 1),
    examples=(Example(0, 1, (PromptKind.MASK,)), Example(1, 2, (PromptKind.BOX, PromptKind.POINT))),
    seed=2**52 + 1,
)


def prompts(**changes) -> Prompts:
    fields = {
        "masks": torch.zeros(1, 8, 8),
        "mask_example": torch.tensor([0]),
        "points": torch.zeros(2, 3, 2),
        "point_labels": torch.zeros(2, 3, dtype=torch.int64),
        "boxes": torch.zeros(2, 1, 4),
        "boxes_valid": torch.zeros(2, 1, dtype=torch.bool),
        "example_support": torch.tensor([0, 1]),
        "example_row": torch.tensor([1, 2]),
    }
    return Prompts(**fields | changes)


def batch() -> Batch:
    return Batch(
        source=Features(torch.zeros(1, 4, 2, 2), torch.zeros(2, 4, 2, 2)),
        support_episode=torch.tensor([0, 0]),
        prompts=prompts(),
        token_rows=torch.tensor([[0, 5, 6]]),
        class_valid=torch.ones(1, 3, dtype=torch.bool),
        target=torch.zeros(1, 8, 8, dtype=torch.int64),
        query_size=torch.tensor([[8, 8]]),
    )


def test_an_episode_is_a_key_and_always_gives_the_same_bytes():
    assert {EPISODE: EPISODE.n_ways}[replace(EPISODE)] == 2
    assert EPISODE.to_json() == (
        '{"class_ids":[3,44],"examples":[{"kinds":["mask"],"row":1,"support":0},'
        '{"kinds":["box","point"],"row":2,"support":1}],"query_id":9,"seed":4503599627370497,'
        '"support_ids":[7,1]}'
    )


def test_an_example_has_its_class_and_image_in_the_episode():
    mask, vector = EPISODE.examples
    assert (EPISODE.class_of(mask), EPISODE.image_of(mask)) == (3, 7)
    assert (EPISODE.class_of(vector), EPISODE.image_of(vector)) == (44, 1)


def test_check_shapes_returns_the_sizes_it_binds():
    sizes = check_shapes("f", a=(torch.zeros(2, 3), "B C"), b=(torch.zeros(3, 4), "C 4"))
    assert (sizes["B"], sizes["C"]) == (2, 3)


def test_check_shapes_names_both_tensors_that_disagree():
    with pytest.raises(
        ValueError, match=r"f\.b has shape \(4,\); expected \(C\), and f\.a has C=3"
    ):
        check_shapes("f", a=(torch.zeros(2, 3), "B C"), b=(torch.zeros(4), "C"))


def test_check_shapes_counts_the_dimensions():
    with pytest.raises(ValueError, match=r"f\.a has shape \(2, 3\); expected \(B\)"):
        check_shapes("f", a=(torch.zeros(2, 3), "B"))


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("points", torch.zeros(3, 3, 2), "Prompts.point_labels .* has E=3"),
        ("points", torch.zeros(2, 3, 3), r"Prompts.points has shape \(2, 3, 3\)"),
        ("boxes", torch.zeros(2, 1, 2), r"expected \(E, Q, 4\)"),
        ("mask_example", torch.tensor([0, 1]), "Prompts.masks has M=1"),
        ("example_row", torch.tensor([1]), "has E=2"),
    ],
)
def test_prompts_that_disagree_raise(name, value, message):
    with pytest.raises(ValueError, match=message):
        prompts(**{name: value})


def test_map_tensors_reaches_every_tensor_and_nothing_else():
    seen = []
    copy = map_tensors(batch(), lambda tensor: seen.append(tensor) or tensor + 1)
    assert len(seen) == 15
    assert copy.source.support.eq(1).all() and copy.prompts.example_row.tolist() == [2, 3]
    assert map_tensors("word", torch.neg) == "word"
