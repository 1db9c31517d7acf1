"""What holds for every method that needs no training: its rows, its episodes, its order."""

from dataclasses import replace

import pytest
import torch

from la.config import ModelConfig
from la.data.geometry import Frame
from la.experiment.methods import METHODS
from la.learn.evaluation import counts_by_bias
from la.learn.metrics import Scores
from la.types import Batch, Segmenter
from tests.comparators.episodes import SIDE, blobs, second_episode


def segmenters(side: int) -> dict[str, Segmenter]:
    """The methods of the tables that need no training, for an input of this side."""
    model = ModelConfig(image_size=side, mask_size=side, resize="squash")
    return {name: m.build(model) for name, m in METHODS.items() if m.build}


@pytest.mark.parametrize("name", segmenters(SIDE))
def test_rows_that_an_episode_does_not_have_are_minus_infinity_and_the_others_finite(
    batch: Batch, name: str
) -> None:
    scores = segmenters(SIDE)[name](batch)
    valid = batch.class_valid[:, :, None, None].expand_as(scores)
    assert scores[valid].isfinite().all() and (scores[~valid] == -torch.inf).all()


@pytest.mark.parametrize("name", segmenters(SIDE))
def test_an_episode_scores_the_same_alone_and_in_a_batch(batch: Batch, name: str) -> None:
    together = segmenters(SIDE)[name](batch)[1, :2]
    alone = second_episode(batch)
    torch.testing.assert_close(segmenters(SIDE)[name](alone)[0], together, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("name", segmenters(SIDE))
def test_permuted_classes_permute_the_scores(batch: Batch, name: str) -> None:
    swap = torch.tensor([0, 2, 1])
    swapped = replace(
        batch,
        prompts=replace(batch.prompts, example_row=swap[batch.prompts.example_row]),
        class_valid=batch.class_valid[:, swap],
        target=swap[batch.target],
    )
    segmenter = segmenters(SIDE)[name]
    torch.testing.assert_close(
        segmenter(swapped)[0, swap], segmenter(batch)[0], atol=1e-4, rtol=1e-4
    )


def miou(segmenter: Segmenter, batch: Batch) -> float:
    maps = Frame((64, 64), 64, "squash").original_logits(segmenter(batch))
    pairs = zip(maps, batch.target, strict=True)
    counts = [counts_by_bias(m, t, torch.zeros(1))[0] for m, t in pairs]
    return Scores.of([((1,), c) for c in counts], [1]).miou_star


def test_on_easy_episodes_every_method_scores_between_its_references() -> None:
    batch, methods = blobs(0), segmenters(64)
    methods["threshold_prototype"] = replace(methods["threshold_prototype"], threshold=0.5)
    got = {name: miou(segmenter, batch) for name, segmenter in methods.items()}
    assert got["floor"] == 0 and got["token_grid"] > 0.9
    for name in ("prototype", "threshold_prototype", "part_prototypes", "affinity", "ridge"):
        assert 0.5 < got[name] < got["token_grid"], (name, got)
        assert got[name] > got["class_prior"]
