"""One thread, as the bits of a run depend on it, and a training run that nothing stopped."""

from pathlib import Path

import pytest
import torch
from training_run import CONFIG, TinyModel, noise

from la.learn.training import fit


@pytest.fixture(autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory) -> Path:
    """The folder of a run that nothing stopped."""
    torch.set_num_threads(1)
    folder = tmp_path_factory.mktemp("run") / "undisturbed"
    fit(TinyModel(), noise, CONFIG, folder)
    return folder
