"""Pretraining of the tiny backbone: deterministic, and standardised on its own images."""

import torch
from safetensors.torch import load_file

from la.data.embedded.scenes import pretraining_scenes
from la.learn.pretraining import normalise, pretrain, save


def test_the_same_seed_gives_the_same_weights_and_the_file_gives_them_back(tmp_path):
    first, again, other = (
        pretrain(steps=2, seed=seed, n_images=8, batch_size=4, progress=False) for seed in (0, 0, 1)
    )
    weights = first.state_dict()
    assert all(torch.equal(weights[k], v) for k, v in again.state_dict().items())
    assert not torch.equal(weights["norm.bias"], other.state_dict()["norm.bias"])
    save(first, tmp_path / "w.safetensors", steps=2, seed=0, n_images=8)
    loaded = load_file(tmp_path / "w.safetensors")
    assert all(torch.equal(weights[k], v) for k, v in loaded.items())


def test_features_of_the_pretraining_images_have_mean_0_and_deviation_1():
    model = pretrain(steps=1, seed=0, n_images=8, batch_size=4, progress=False)
    images = torch.stack([torch.from_numpy(scene.image) for scene in pretraining_scenes(8, seed=0)])
    features = model(normalise(images))
    assert features.mean((0, 2, 3)).abs().max() < 1e-3
    assert (features.std((0, 2, 3)) - 1).abs().max() < 1e-2


def test_training_lowers_the_loss(caplog):
    with caplog.at_level("INFO", "la.learn.pretraining"):
        pretrain(steps=25, seed=0, n_images=16, batch_size=4, progress=False)
    losses = [float(record.message.split()[-1]) for record in caplog.records]
    assert losses[-1] < 0.9 * losses[0]
