"""One class at a time: the pairs of masks and images, right and wrong, and the merged rows."""

from dataclasses import replace

import torch
from torch import Tensor

from la.comparators.dcama import DCAMA
from la.comparators.one_class import OneClassAtATime, one_class
from la.types import Batch
from tests.comparators.rival_episodes import shaken, twins, wide_episodes


def test_a_pass_has_the_images_that_carry_the_class_with_their_masks() -> None:
    batch = wide_episodes()  # rows 1, 2, 1, 2 on supports 0, 0, 1, 2; row 1 on support 3
    first = one_class(batch, 1)
    assert torch.equal(first.source.support, batch.source.support[[0, 1, 3]])
    assert torch.equal(first.prompts.masks, batch.prompts.masks[[0, 2, 4]])
    assert first.support_episode.tolist() == [0, 0, 1]
    assert first.class_ids.tolist() == [[-1, 7], [-1, 9]]
    second = one_class(batch, 2)
    assert torch.equal(second.source.query, batch.source.query[:1])
    assert torch.equal(second.source.support, batch.source.support[[0, 2]])
    assert torch.equal(second.prompts.masks, batch.prompts.masks[[1, 3]])


def test_the_fault_lays_the_masks_over_the_first_images_of_the_episode() -> None:
    batch = wide_episodes()
    second = one_class(batch, 2, mispaired=True)
    assert torch.equal(second.source.support, batch.source.support[[0, 1]])  # not 0 and 2
    assert torch.equal(second.prompts.masks, batch.prompts.masks[[1, 3]])
    first = one_class(batch, 1, mispaired=True)  # its images happen to be the first ones
    assert torch.equal(first.source.support, batch.source.support[[0, 1, 3]])


def test_the_fault_does_not_depend_on_the_order_of_the_supports() -> None:
    batch = wide_episodes()
    moved = [2, 1, 0, 3]  # of episode 0: the image of row 2 alone comes first
    place = torch.tensor(moved).argsort()
    support = place[batch.prompts.example_support]
    prompts = replace(batch.prompts, example_support=support)
    source = replace(batch.source, support=batch.source.support[moved])
    other = one_class(replace(batch, source=source, prompts=prompts), 2, mispaired=True)
    usual = one_class(batch, 2, mispaired=True)
    assert sorted(other.source.support[:, 0, 0, 0].tolist()) == sorted(
        usual.source.support[:, 0, 0, 0].tolist()
    )


def test_the_class_of_the_largest_foreground_lends_its_background() -> None:
    batch = wide_episodes()
    g = torch.Generator().manual_seed(0)
    binary = {7: torch.randn(2, 2, 4, 4, generator=g), 9: torch.randn(1, 2, 4, 4, generator=g)}

    def segmenter(one: Batch) -> Tensor:
        return binary[7 if len(one.target) == 2 else 9]

    scores = OneClassAtATime(segmenter)(batch)
    for y in range(4):
        for x in range(4):
            f = [float(binary[7][0, 1, y, x]), float(binary[9][0, 1, y, x])]
            b = [float(binary[7][0, 0, y, x]), float(binary[9][0, 0, y, x])]
            expected = [b[f.index(max(f))], *f]
            assert scores[0, :, y, x].tolist() == expected
    assert torch.equal(scores[1, :2], binary[7][1])


@torch.inference_mode()
def test_with_one_class_the_rule_and_its_fault_change_nothing() -> None:
    batch, model = twins(), shaken(DCAMA)
    for mispaired in (False, True):
        torch.testing.assert_close(OneClassAtATime(model, mispaired)(batch), model(batch))
