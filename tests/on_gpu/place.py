"""Where the checks compute and at which sizes, and what several of them use."""

import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator, PartialState
from accelerate.state import AcceleratorState
from torch import Tensor, nn

from la.config import Config, ModelConfig
from la.data.embedded import synthetic
from la.experiment.planning.typical import Shape, random_batch
from la.experiment.setup.workbench import Workbench
from la.learn.run import Run
from la.model.backbone import Backbone, empty_backbone
from la.model.backbones import BACKBONES
from la.model.label_anything import LabelAnything
from la.profiles import profile
from la.types import Batch, Features
from tests.published_backbones import small_dinov2, small_mae, small_sam

CPU = torch.device("cpu")
SIDE = 64  # pixels of reduced images, or the next multiple of the patch
SMALL = {"sam_vit_b": small_sam, "mae_vit_b": small_mae, "dinov2_small": small_dinov2}

Figures = dict[str, Any]  # measured by a check: one line of the log
Check = Callable[["Place"], Iterator[Figures]]


@dataclass(frozen=True)
class Place:
    """The device of the checks, the folder of their files, and their sizes.

    `reduced` sizes run all of the code in a minute of a CPU; their figures mean nothing.
    """

    device: torch.device
    folder: Path
    reduced: bool

    def config(self, name: str) -> Config:
        """The named profile, with a small model if sizes are reduced."""
        config = profile(name)
        if not self.reduced or config.data == "embedded":
            return config
        backbone, patch = config.model.backbone, config.model.patch_size
        if backbone in SMALL:
            BACKBONES[backbone] = replace(BACKBONES[backbone], build=SMALL[backbone])
        model = replace(
            config.model,
            image_size=-(-SIDE // patch) * patch,
            mask_size=SIDE // 4,
            embed_dim=32,
            mlp_dim=64,
            logit_downsample=2,
        )
        episodes = replace(config.episodes, shapes=((4, 1, 1), (1, 2, 1)))
        return replace(config, model=model, episodes=episodes)

    @cached_property
    def embedded(self) -> Path:
        """A small version of the embedded data set."""
        return synthetic.write(self.folder / "few", n_train=100, n_val=120, progress=False)

    def bench(self, config: Config, home: str) -> Workbench:
        """The profile on the small data set, in a home of its own; features are shared."""
        folder = self.folder / home
        folder.mkdir(exist_ok=True)
        cache = folder / "cache"
        if not cache.exists():
            (self.folder / "cache").mkdir(exist_ok=True)
            cache.symlink_to(self.folder / "cache")
        return Workbench(config, self.embedded, home=folder)


@contextmanager
def computing_on(device: torch.device) -> Iterator[None]:
    """In this block training and workbenches compute on `device`."""
    AcceleratorState._reset_state(reset_partial_state=True)
    if device.type != "cuda":
        PartialState(cpu=True)
        PartialState._shared_state["device"] = device  # also where a GPU is there
    try:
        yield
    finally:
        AcceleratorState._reset_state(reset_partial_state=True)


def training_run(place: Place, config: Config) -> Run:
    """A training run of a configuration with fresh weights and without data."""
    model = LabelAnything.from_config(config.model, torch.Generator().manual_seed(0))
    return Run(model, config.train, place.folder / "steps", Accelerator(), None, None)


def random_backbone(model: ModelConfig, device: torch.device) -> Backbone:
    """The backbone of a configuration with random weights, drawn on the device."""
    backbone = empty_backbone(model).to(device)
    generator = torch.Generator(device).manual_seed(0)
    with torch.no_grad():
        for module in backbone.modules():
            for name, parameter in module.named_parameters(recurse=False):
                parameter.normal_(std=0.02, generator=generator)
                is_norm = isinstance(module, nn.LayerNorm) and name == "weight"
                if is_norm or name == "lambda1":  # a scale
                    parameter.add_(1)
    return backbone


def batch_on(
    device: torch.device,
    config: Config,
    shape: Shape,
    target_side: int | None = None,
) -> Batch:
    """A random batch of the profile's sizes, drawn on the device, its features in float16."""
    with torch.device(device):
        batch = random_batch(config, *shape, target_side=target_side)
    query, support = batch.source.query.half(), batch.source.support.half()
    # Sizes lie on the CPU, see `to_device`.
    return replace(batch, source=Features(query, support), query_size=batch.query_size.cpu())


def median_ms(
    work: Callable[[], object],
    device: torch.device,
    warm_up: int = 2,
    repeats: int = 5,
) -> tuple[float, float]:
    """Median milliseconds of a call on the device, and of the host until the call returns."""
    on_device: list[float] = []
    on_host: list[float] = []
    pairs = []
    for number in range(warm_up + repeats):
        events = None
        if device.type == "cuda":
            events = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
            events[0].record()
        started = time.perf_counter()
        work()
        spent = 1000 * (time.perf_counter() - started)
        if events:
            events[1].record()
        if number >= warm_up:
            on_host.append(spent)
            pairs.append(events)
    for events in pairs:
        if events:
            events[1].synchronize()
            on_device.append(events[0].elapsed_time(events[1]))
    host = statistics.median(on_host)
    return statistics.median(on_device) if on_device else host, host


def difference(ours: Tensor, reference: Tensor) -> Figures:
    """The largest absolute error where both are finite, and the error's share of the norm."""
    ours, reference = ours.detach().cpu().double(), reference.detach().cpu().double()
    assert ours.shape == reference.shape
    assert torch.equal(ours.isinf(), reference.isinf()), "infinite in other places"
    finite = reference.isfinite()
    error = (ours - reference)[finite]
    norm = reference[finite].norm().clamp(min=1e-30)
    return {
        "max_abs": float(f"{error.abs().max():.3g}"),
        "relative": float(f"{error.norm() / norm:.3g}"),
    }


def agreement(ours: Tensor, reference: Tensor) -> float:
    """Percent of the places at which two label maps are equal."""
    return round(100 * float((ours.cpu() == reference.cpu()).double().mean()), 4)
