"""Losses of training, and the scores of every method, beside the CPU's."""

import json
from collections.abc import Iterator
from dataclasses import replace

import torch
from torch import Tensor, nn

from la.config import Config
from la.experiment.methods import METHODS, RIVALS, Method
from la.experiment.runs import Run
from la.experiment.setup.measurements import Measurement
from la.learn.device import to_device
from la.learn.precision import tf32
from la.profiles import profile
from la.types import Batch
from tests.comparators.rival_episodes import shaken
from tests.on_gpu.place import CPU, Figures, Place, agreement, computing_on, difference

STEPS = 20


def short(name: str) -> Config:
    """A profile of the embedded data whose validation takes no time."""
    config = profile(name)
    return replace(config, evaluation=replace(config.evaluation, validation_episodes=2))


def losses(place: Place) -> Iterator[Figures]:
    """Losses of the first steps of quick training on the same features and episodes."""
    steps = 4 if place.reduced else STEPS
    config = short(f"quick@{steps}")
    of_device = {}
    for device in (CPU, place.device):
        bench = place.bench(config, f"losses on {device.type}")
        with computing_on(device):
            run = Run.of(bench, METHODS["la"], fold=0, seed=0)
            run.train()
        lines = (run.folder / "history.jsonl").read_text().splitlines()
        of_device[device] = torch.tensor([json.loads(line)["loss"] for line in lines])
    reference, ours = of_device[CPU], of_device[place.device]
    relative = ((ours - reference).abs() / reference.abs()).tolist()
    yield {
        "loss_first_last": [reference[0].item(), reference[-1].item()],
        "relative_by_step": [float(f"{error:.2g}") for error in relative],
    }
    assert relative[0] < 1e-4 and max(relative) < 0.05


def methods(place: Place) -> Iterator[Figures]:
    """Scores of every comparator on one batch, in float32 without TF32, beside the CPU's."""
    config = place.config("quick")
    bench = place.bench(config, "methods")
    with computing_on(CPU):
        episodes = bench.episodes(Measurement("", 0, 2, 2, seed=0, episodes=4))
        batch = bench.loader(bench.data.test, 0)(episodes)
    different = []
    for name, method in (METHODS | RIVALS).items():
        if name == "la":
            continue
        reference = _scores(method, config, batch, CPU)
        try:
            ours = _scores(method, config, batch, place.device)
        except RuntimeError as error:  # of an operation that the device lacks
            yield {"method": name, "error": str(error)[:200]}
            different.append(name)
            continue
        labels = agreement(ours.argmax(1), reference.argmax(1))
        yield {"method": name, **difference(ours, reference), "labels_percent": labels}
        if labels < 99.5:
            different.append(name)
    assert not different, different


def _scores(method: Method, config: Config, batch: Batch, device: torch.device) -> Tensor:
    """Scores of a batch on a device; a trained comparator has random weights."""
    if method.build is not None:
        segmenter = method.build(config.model)
        if isinstance(segmenter, nn.Module):
            segmenter = segmenter.to(device)
    else:
        assert method.network is not None
        segmenter = method.wrap(shaken(method.network, config=config.model).to(device))
    with torch.inference_mode(), tf32(False):
        return segmenter(to_device(batch, device))
