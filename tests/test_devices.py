"""A pretended GPU computes what the CPU computes: no device is mixed, no training step waits.

The runs are those of `device_runs`, in one process of their own.
"""

import sys
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch

from la.data.embedded import synthetic
from la.experiment.methods import METHODS
from tests.forks import FORK

GPU = "pretended:0"
WAITS_A_STEP = 0

pytestmark = [
    pytest.mark.slow,  # computes on a device that checks every operator
    pytest.mark.skipif(
        not hasattr(torch.utils.backend_registration, "_setup_privateuseone_for_python_backend"),
        reason="this torch registers no backend that is written in Python",
    ),
]


@pytest.fixture(scope="module")
def run():
    """Calls a function of `device_runs` in the other process."""
    with ProcessPoolExecutor(1, FORK) as pool:

        def call(function: str, *arguments: object) -> object:
            return pool.submit(_call, function, arguments).result(timeout=300)

        yield call


def _call(function: str, arguments: tuple) -> object:
    """Its errors come back as plain RuntimeErrors.

    An error of a class of the pretended device would import that module where it is received,
    and register the backend for every later test of this process.
    """
    import tests.device_runs
    from tests.pretended_device import MixedDevices

    try:
        return getattr(tests.device_runs, function)(*arguments)
    except MixedDevices as error:
        raise RuntimeError(str(error)) from None


@pytest.fixture(scope="module")
def root(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("devices")


@pytest.fixture(scope="module")
def data(root) -> Path:
    return synthetic.write(root / "few", n_train=100, n_val=120, progress=False)


def new_home(root: Path, name: str) -> Path:
    """A home without runs; all have one cache of features."""
    home = root / name
    home.mkdir()
    (root / "cache").mkdir(exist_ok=True)
    (home / "cache").symlink_to(root / "cache")
    return home


@pytest.fixture(scope="module")
def trained(run, data, root) -> Path:
    """The home of a run that was stopped after two steps and resumed, on the device."""
    home = new_home(root, "resumed")
    waits = run("train", data, home, GPU, 2) + run("train", data, home, GPU, None)
    assert len(waits) == 4
    assert max(waits) <= WAITS_A_STEP
    return home


def test_features_are_those_of_the_cpu(run, data, root):
    on_gpu, waits = run("features", data, root / "gpu", GPU)
    on_cpu, no_waits = run("features", data, root / "cpu", "cpu")
    np.testing.assert_allclose(on_gpu, on_cpu, atol=4e-3)  # two units in the last place
    assert no_waits == 0
    assert waits <= 3 * (len(on_gpu) / 16 + 2)  # of each batch: in, positions, out


def test_a_resumed_training_ends_at_the_bits_of_an_undisturbed_one(run, data, root, trained):
    home = new_home(root, "whole")
    waits = run("train", data, home, GPU, None)
    assert max(waits) <= WAITS_A_STEP
    resumed = run("weights", data, trained)
    whole = run("weights", data, home)
    assert all(np.array_equal(resumed[name], whole[name]) for name in whole)


@pytest.mark.parametrize("method", METHODS)
def test_every_method_counts_what_it_counts_on_the_cpu(run, data, trained, method):
    bias, counts, waits = run("measure", data, trained, GPU, method)
    bias_on_cpu, counts_on_cpu, _ = run("measure", data, trained, "cpu", method)
    assert bias == bias_on_cpu
    np.testing.assert_array_equal(counts, counts_on_cpu)
    assert waits <= 12  # for a list of one batch


@pytest.mark.parametrize("mode", ["masked", "exact"])
def test_steps_of_the_official_loss_do_not_wait(run, root, mode):
    losses, waits = run("official_steps", root / f"{mode} on the gpu", GPU, mode)
    on_cpu, _ = run("official_steps", root / f"{mode} on the cpu", "cpu", mode)
    assert losses == pytest.approx(on_cpu, rel=1e-3)
    assert max(waits) <= WAITS_A_STEP


def test_predictions_are_those_of_the_cpu(run, root):
    on_gpu = run("predict", root / "gpu.safetensors", GPU)
    on_cpu = run("predict", root / "cpu.safetensors", "cpu")
    for labels, expected in zip(on_gpu, on_cpu, strict=True):
        np.testing.assert_array_equal(labels, expected)


@pytest.mark.parametrize(
    "fault",
    [
        "a tensor made on the CPU",
        "optimizer state left on the CPU",
        "positions left on the CPU",
        "biases left on the CPU",
        "a batch left on the CPU",
    ],
)
def test_a_planted_mix_of_devices_is_an_error(run, data, root, fault):
    with pytest.raises(RuntimeError, match=r"got a tensor \(.*\) of the CPU at \w+/\w+.py:\d+"):
        run("faulty", data, new_home(root, fault), GPU, fault)
    assert "tests.pretended_device" not in sys.modules


@pytest.mark.parametrize("fault", ["a count that waits", "step counters moved to the device"])
def test_a_planted_wait_exceeds_the_bound(run, data, root, fault):
    waits = run("faulty", data, new_home(root, fault), GPU, fault)
    assert max(waits) > WAITS_A_STEP
