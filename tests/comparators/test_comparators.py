"""What holds for every method that needs no training: its rows, its episodes, its order."""

from dataclasses import replace

import pytest
import torch

from la.config import ModelConfig
from la.data.sampling.geometry import Frame
from la.experiment.methods import METHODS
from la.learn.evaluation import counts_by_bias
from la.learn.metrics import Scores
from la.types import Batch, Segmenter
from tests.comparators import what_holds
from tests.comparators.episodes import SIDE, blobs


def segmenters(side: int) -> dict[str, Segmenter]:
    """The methods of the tables that need no training, for an input of this side."""
    model = ModelConfig(image_size=side, mask_size=side, resize="squash")
    return {name: m.build(model) for name, m in METHODS.items() if m.build}


@pytest.mark.parametrize("name", segmenters(SIDE))
def test_rows_that_an_episode_lacks_are_minus_infinity(batch: Batch, name: str) -> None:
    what_holds.absent_rows_are_minus_infinity(segmenters(SIDE)[name], batch)


@pytest.mark.parametrize("name", segmenters(SIDE))
def test_an_episode_scores_the_same_alone_and_in_a_batch(batch: Batch, name: str) -> None:
    what_holds.an_episode_scores_the_same_alone(segmenters(SIDE)[name], batch)


@pytest.mark.parametrize("name", segmenters(SIDE))
def test_permuted_classes_permute_the_scores(batch: Batch, name: str) -> None:
    what_holds.permuted_classes_permute_the_scores(segmenters(SIDE)[name], batch)


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
