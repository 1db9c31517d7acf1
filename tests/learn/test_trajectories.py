"""Twenty AdamW steps of the official model and loss, repeated by ours in float64."""

import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from la.config import TrainConfig
from la.learn.training import fit
from la.model.label_anything import LabelAnything
from la.types import Batch, map_tensors
from tests.model.official import Trajectory, official_logits

HERE = Path(__file__).parents[1]
FOLDER = Path(os.environ.get("LA_GOLDEN", HERE.parents[1] / "shared" / "golden"))
FILES = {
    path.stem: path
    for folder in (HERE / "golden", FOLDER)
    for path in folder.glob("trajectory_*.npz")
}


def widened(tensor: Tensor) -> Tensor:
    return tensor.double() if tensor.is_floating_point() else tensor


def logits_of(model: LabelAnything, trajectory: Trajectory) -> Tensor:
    """Logits of batch 0 with the token rows of step 0, at the original sizes."""
    batch = map_tensors(trajectory.batch(0), widened)
    with torch.no_grad():
        logits = model(batch)
    return official_logits(
        logits,
        batch.query_size,
        tuple(batch.target.shape[-2:]),
        model.config.image_size,
        model.config.resize == "pad",
    )


def gradient_norms(model: LabelAnything, names: list[str]) -> list[float]:
    """The norm of each parameter's gradient; NaN for one that has none."""
    gradients = [model.get_parameter(name).grad for name in names]
    return [np.nan if g is None else float(g.norm()) for g in gradients]


def params_after(model: LabelAnything, start: dict[str, Tensor], names: list[str]) -> np.ndarray:
    """(P, 4): mean, standard deviation, norm, and norm of the change since `start`."""
    rows = []
    for name in names:
        value = model.get_parameter(name).detach()
        change = value - start[name]
        std = value.std(correction=0)
        rows.append([value.mean(), std, value.norm(), change.norm()])
    return np.array(rows, dtype=np.float64)


# The larger rate makes differences larger; the authors' own is repeated on the smaller model.
RUNS = [(name, "1e-3") for name in sorted(FILES)] + [("trajectory_mae", "5e-5")]


@pytest.mark.slow
@pytest.mark.parametrize(("name", "rate"), RUNS)
def test_twenty_official_training_steps_are_repeated(name, rate, tmp_path, monkeypatch):
    trajectory = Trajectory(FILES[name])
    model = LabelAnything.empty(trajectory.config).double()
    weights = trajectory.weights(model)
    model.load_state_dict(weights)
    names = trajectory.param_names
    assert {name for name, _ in model.named_parameters()} == set(names)
    before = trajectory["out/float64/logits_before"]
    torch.testing.assert_close(logits_of(model, trajectory), before, rtol=0, atol=1e-9)

    def batches(numbers: list[int]) -> Iterator[Batch]:
        return (map_tensors(trajectory.batch(step), widened) for step in numbers)

    monkeypatch.setattr("la.learn.run.save_state", lambda *state: None)  # half a GB
    norms = []
    config = TrainConfig(
        steps=len(trajectory.schedule),
        lr=float(rate),
        warmup_steps=0,
        schedule="constant",
        target_side=None,
    )
    history = fit(
        model,
        batches,
        config,
        tmp_path,
        report=lambda steps: norms.append(gradient_norms(model, names)) if steps else None,
    )

    expected = {
        key: trajectory[f"out/lr{rate}/float64/{key}"].numpy()
        for key in ("loss", "grad_norm", "params_after", "logits_after")
    }
    losses = [record["loss"] for record in history]
    np.testing.assert_allclose(losses, expected["loss"], rtol=0, atol=1e-8)
    # Equal places of NaN: a parameter without gradient is not one with a gradient of zero.
    np.testing.assert_allclose(norms, expected["grad_norm"], rtol=0, atol=1e-6)
    after = params_after(model, weights, names)
    np.testing.assert_allclose(after, expected["params_after"], rtol=0, atol=1e-6)
    logits = logits_of(model, trajectory).numpy()
    np.testing.assert_allclose(logits, expected["logits_after"], rtol=0, atol=1e-6)
