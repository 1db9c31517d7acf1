"""What the project computes, run on the pretended device and on the CPU.

Each function runs in a process of its own, and only there may this module be imported.
"""

import inspect
import textwrap
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from tests.pretended_device import WAITS, pretending, waits_of  # before all of la

# isort: split
import numpy as np
import torch
from torch import Tensor

import la
import la.learn.run
from la.config import ModelConfig, TrainConfig
from la.experiment.job import Job
from la.experiment.methods import METHODS
from la.experiment.runs import Run
from la.experiment.setup.measurements import Measurement
from la.experiment.setup.workbench import Workbench
from la.learn import evaluation, steps
from la.learn.losses import class_weights
from la.learn.run import Run as TrainingRun
from la.learn.training import Stopped, fit
from la.learn.weights import states
from la.model.backbone import build_backbone
from la.model.label_anything import LabelAnything
from la.model.position import FourierPosition
from la.predict.predictor import Predictor
from la.predict.support_set import SupportSet
from la.profiles import profile
from la.types import Batch, Box, Point
from tests.model.planted import KINDS, planted_batch
from tests.on_gpu.place import computing_on

CPU = torch.device("cpu")
QUICK = profile("quick")
EXACT = replace(
    QUICK.model,
    mode="exact",
    norm_first=False,
    first_residual=False,
    background="unprompted",
    start="usual",
    mixers=("class_example",),
)
PHOTO = np.random.default_rng(0).integers(256, size=(60, 80, 3), dtype=np.uint8)

torch.set_num_threads(1)


@contextmanager
def placed_on(device: torch.device) -> Iterator[None]:
    """In this block the project computes on `device`, which may be the pretended one."""
    with computing_on(device), pretending():
        yield


@contextmanager
def planted(function: Callable, original: str, faulty: str) -> Iterator[None]:
    """In this block `function` has a fault in place of a piece of its source."""
    function = inspect.unwrap(function)
    source = textwrap.dedent(inspect.getsource(function))
    assert original in source
    names = dict(function.__globals__)
    source = source[source.index("def ") :].replace(original, faulty)
    exec(source, names)
    correct = function.__code__
    function.__code__ = names[function.__name__].__code__
    try:
        yield
    finally:
        function.__code__ = correct


FAULTS = {
    "a tensor made on the CPU": (
        class_weights,
        "torch.arange(n_rows, device=target.device)",
        "torch.arange(n_rows)",
    ),
    "optimizer state left on the CPU": (
        states._load,
        'tensors[f"exp_avg/{name}"].to(device)',
        'tensors[f"exp_avg/{name}"]',
    ),
    "positions left on the CPU": (
        FourierPosition.grid,
        "device=matrix.device",
        'device="cpu"',
    ),
    "biases left on the CPU": (
        evaluation.count,
        "dtype=torch.float32, device=device",
        "dtype=torch.float32",
    ),
    "a batch left on the CPU": (
        steps.take_step,
        "batch = to_device(batch, accelerator.device)",
        "pass",
    ),
    "a count that waits": (
        class_weights,
        "(target.flatten() == row).sum(1)",
        "torch.bincount(target[target != IGNORE], minlength=n_rows)",
    ),
    "step counters moved to the device": (
        TrainingRun.__init__,
        "device_placement=[True, False]",
        "device_placement=[True, True]",
    ),
}


def faulty(data: Path, home: Path, device: str, fault: str) -> list[int]:
    """`train` in two parts with a fault; the waits of each step."""
    function, original, replacement = FAULTS[fault]
    with planted(function, original, replacement):
        first = train(data, home, device, stop_after=1)
        return first + train(data, home, device, stop_after=None)


def features(data: Path, home: Path, device: str) -> tuple[np.ndarray, int]:
    """The features of all test images, (n, V, h, w), and the waits once the backbone is there."""
    bench = Workbench(la.profile("smoke"), data, home=home)
    index = bench.data.test
    with placed_on(torch.device(device)):
        waits = waits_of(lambda: bench.features(index))
        read = bench.features(index).read(index.image_ids.tolist())
    moved = len(build_backbone(bench.config.model).state_dict())
    return read.numpy(), max(0, len(waits) - moved)


def train(data: Path, home: Path, device: str, stop_after: int | None) -> list[int]:
    """Train LA of the smoke profile until it stops or is finished; the waits of each step."""
    bench = Workbench(la.profile("smoke"), data, home=home)
    with placed_on(torch.device(device)), counted_steps() as waits:
        try:
            Run.of(bench, METHODS["la"], fold=0, seed=0).train(stop_after=stop_after)
        except Stopped:
            assert stop_after
    return [len(of_step) for of_step in waits]


def weights(data: Path, home: Path) -> dict[str, np.ndarray]:
    """The weights that `train` has left."""
    bench = Workbench(la.profile("smoke"), data, home=home)
    with placed_on(CPU):
        path = Run.of(bench, METHODS["la"], fold=0, seed=0).model
    return {name: value.numpy() for name, value in la.load(path).state_dict().items()}


@contextmanager
def counted_steps() -> Iterator[list[list[tuple[str, str]]]]:
    """The waits of each step that is taken in this block."""
    steps: list[list[tuple[str, str]]] = []
    take_step = la.learn.run.take_step

    def counted(*args: object) -> tuple[Tensor, Tensor]:
        before = len(WAITS)
        result = take_step(*args)
        steps.append(WAITS[before:])
        return result

    la.learn.run.take_step = counted
    try:
        yield steps
    finally:
        la.learn.run.take_step = take_step


def measure(data: Path, home: Path, device: str, method: str) -> tuple[float, np.ndarray, int]:
    """The fitted bias, the counts of four episodes in one batch, and the waits for them."""
    bench = Workbench(la.profile("smoke"), data, home=home)
    setting = Measurement(method, fold=0, n_ways=2, k_shots=1, seed=0, episodes=4)
    with placed_on(torch.device(device)):
        bench.features(bench.data.test)
        job = Job(bench, setting)
        fitted = job.fitted()
        results = []
        waits = waits_of(lambda: results.append(job.count(fitted)))
    return results[0].fit.bias, results[0].confusion, len(waits)


def predict(path: Path, device: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Labels of a photo for a support set, and for one saved to `path`, loaded and extended.

    The last ones are those of an adapted support set that was saved and loaded.
    """
    mask = np.zeros(PHOTO.shape[:2], bool)
    mask[10:30, 10:40] = True
    box = Box(10, 5, 30, 20)
    points = [Point(12, 8), Point(50, 30, positive=False)]
    upside_down = PHOTO[::-1].copy()
    query = PHOTO[:, ::-1].copy()
    with placed_on(torch.device(device)):
        predictor = Predictor(la.load("quick").to(device))
        support = predictor.support([(PHOTO, {"one": [mask], "two": [box]})])
        support.save(path)
        wider = predictor.extend(SupportSet.load(path), [(upside_down, {"three": points})])
        before = predictor.predict(query, support)
        after = predictor.predict(query, wider)
        masks = [(PHOTO, {"one": [mask]}), (upside_down, {"one": [mask[::-1].copy()]})]
        predictor.support(masks, adapt_steps=3).save(path)
        adapted = predictor.predict(query, SupportSet.load(path))
    return before.labels, after.labels, adapted.labels


def official_steps(folder: Path, device: str, mode: str) -> tuple[list[float], list[int]]:
    """Losses and waits of three steps with the loss on original pixels, on planted episodes."""
    shape: ModelConfig = EXACT if mode == "exact" else QUICK.model
    config = TrainConfig(
        steps=3, lr=1e-3, warmup_steps=1, target_side=None, micro_batches=2, attention_loss=0.1
    )

    def batches(numbers: list[int]) -> Iterator[Batch]:
        for number in numbers:
            kind = KINDS[number % len(KINDS)]
            yield planted_batch(shape, number, n_episodes=2, kind=kind)

    model = LabelAnything.from_config(shape, torch.Generator().manual_seed(0))
    with placed_on(torch.device(device)), counted_steps() as waits:
        history = fit(model, batches, config, folder)
    return [record["loss"] for record in history], [len(of_step) for of_step in waits]
