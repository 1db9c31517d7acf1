"""What holds for every trained comparator: rows, episodes, order, prompts, precision."""

from dataclasses import replace

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from la.comparators.learned import Learned
from la.comparators.one_class import OneClassAtATime
from la.config import TrainConfig
from la.experiment.methods import RIVALS
from la.learn.steps import batch_loss
from la.types import Batch, Segmenter
from tests.comparators import what_holds
from tests.comparators.rival_episodes import (
    CONFIG,
    exchanged,
    iou,
    shaken,
    twins,
    wide_episodes,
)

NETWORKS = {rival.network.__name__: rival.network for rival in RIVALS.values() if rival.network}
TRAIN = TrainConfig(attention_loss=0.0, target_side=32)


def segmenters() -> dict[str, Segmenter]:
    """Every network with weights of its own, and the wrapper that runs classes apart."""
    models: dict[str, Segmenter] = {name: shaken(kind) for name, kind in NETWORKS.items()}
    models["one class"] = OneClassAtATime(shaken(NETWORKS["DCAMA"]))
    return models


@pytest.mark.parametrize("name", segmenters())
@torch.inference_mode()
def test_rows_that_an_episode_lacks_are_minus_infinity(name: str) -> None:
    what_holds.absent_rows_are_minus_infinity(segmenters()[name], wide_episodes())


@pytest.mark.parametrize("name", segmenters())
@torch.inference_mode()
def test_an_episode_scores_the_same_alone_and_in_a_batch(name: str) -> None:
    what_holds.an_episode_scores_the_same_alone(segmenters()[name], wide_episodes())


@pytest.mark.parametrize("name", segmenters())
@torch.inference_mode()
def test_permuted_classes_permute_the_scores(name: str) -> None:
    what_holds.permuted_classes_permute_the_scores(segmenters()[name], wide_episodes())


def trained_on(batch: Batch, network: type[Learned], steps: int) -> Learned:
    torch.manual_seed(0)
    model = network(CONFIG).train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    for _ in range(steps):
        optimizer.zero_grad()
        batch_loss(model, batch, TRAIN).backward()
        optimizer.step()
    return model.eval()


@pytest.mark.slow
@pytest.mark.parametrize("name", NETWORKS)
def test_eight_episodes_are_overfitted_by_reading_their_prompts(name: str) -> None:
    batch = twins()
    model = trained_on(batch, NETWORKS[name], steps=60)
    with torch.inference_mode():
        own, other = iou(model(batch), batch), iou(model(exchanged(batch)), batch)
    assert own > 0.8, own
    assert other < 0.4 * own, (own, other)


@pytest.mark.parametrize("name", NETWORKS)
def test_the_gradient_reaches_every_weight_in_single_and_half_precision(name: str) -> None:
    batch = wide_episodes()
    for half in (False, True):
        model = shaken(NETWORKS[name]).train()
        with torch.autocast("cpu", torch.bfloat16, enabled=half):
            loss = batch_loss(model, batch, TRAIN)
        loss.backward()
        assert loss.isfinite()
        for key, parameter in model.named_parameters():
            assert parameter.grad is not None and parameter.grad.isfinite().all(), key


class NoReducedBooleans(TorchDispatchMode):
    """Raises where CUDA would: it has no kernels that scatter or reduce booleans."""

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        name = function.overloadpacket.__name__
        if name.startswith(("scatter_add", "scatter_reduce", "index_add")):
            assert args[0].dtype != torch.bool, name
        return function(*args, **(kwargs or {}))


@pytest.mark.parametrize("name", segmenters())
def test_no_booleans_are_scattered_as_cuda_cannot(name: str) -> None:
    with NoReducedBooleans():
        segmenters()[name](wide_episodes())


def test_episodes_without_class_ids_are_scored() -> None:
    batch = replace(wide_episodes(), class_ids=None)
    scores = shaken(NETWORKS["DENet"])(batch)
    assert scores[batch.class_valid].isfinite().all()
