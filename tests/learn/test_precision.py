"""TF32 is what the run asks for, and afterwards what it was."""

from dataclasses import replace

import pytest
import torch
from training_run import CONFIG, TinyModel, noise, noise_batch

from la.config import ModelConfig
from la.learn import evaluation
from la.learn.precision import tf32
from la.learn.training import fit
from la.types import Episode


def allowed() -> tuple[bool, bool]:
    """Whether TF32 is allowed in matrix products, and in convolutions."""
    return torch.get_float32_matmul_precision() != "highest", torch.backends.cudnn.allow_tf32


@pytest.fixture
def gpu(monkeypatch):
    """The switches are set as on a machine with a GPU, though all runs on the CPU."""
    monkeypatch.setattr("la.learn.precision.has_gpu", lambda: True)


@pytest.mark.parametrize("enabled", [True, False])
def test_both_kinds_of_product_are_switched_and_restored(gpu, enabled):
    before = allowed()
    with pytest.raises(KeyError), tf32(enabled):
        assert allowed() == (enabled, enabled)
        raise KeyError
    assert allowed() == before


def test_nothing_is_switched_without_a_gpu():
    before = allowed()
    with tf32(not before[0]):
        assert allowed() == before


class Watched(TinyModel):
    """Records what is allowed in each forward pass."""

    def forward(self, batch):
        self.seen = allowed()
        return super().forward(batch)


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_training_uses_tf32_beside_bfloat16_alone(gpu, precision, tmp_path):
    model = Watched()
    fit(model, noise, replace(CONFIG, steps=1, precision=precision), tmp_path)
    assert model.seen == (precision == "bfloat16",) * 2


def test_scores_are_counted_without_tf32(gpu):
    model = Watched().eval()
    episodes = [Episode(0, (1, 2), (1, 2), (), 0), Episode(0, (1,), (1,), (), 0)]
    shape = ModelConfig(image_size=8)
    evaluation.count(model, episodes, lambda e: noise_batch(0), model=shape, batch_size=2)
    assert model.seen == (False, False)
