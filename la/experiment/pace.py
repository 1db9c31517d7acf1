"""How fast this machine works at a profile's true sizes, measured in a few steps."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial

import torch

from la.config import Config
from la.data.download import coco_folder, coco_missing
from la.data.loader import BatchLoader
from la.errors import UserError
from la.experiment.measurements import Measurement
from la.experiment.typical import (
    SEED,
    Shape,
    TypicalBatches,
    images_of,
    random_batch,
    random_features,
)
from la.experiment.workbench import Workbench
from la.learn.evaluation import count
from la.learn.steps import batch_loss
from la.model.backbone import empty_backbone
from la.model.label_anything import LabelAnything
from la.types import Batch, Episode, to_device

# On a CPU only the batches that fit into this time are measured; the others are extrapolated.
CPU_SECONDS = 20.0
SCORED_WAYS = 2  # of the episodes whose scoring is timed


@dataclass(frozen=True)
class Pace:
    """Seconds on one device; on a CPU those of one thread."""

    image: float  # the backbone, for one image
    step: float  # one (B, N, K) batch of training, the mean over the profile's shapes
    scored: float  # scoring an episode, for each of its images; with drawing its prompts
    prepared: float = 0.0  # targets and prompts of a training batch, for each of its images


def measure(bench: Workbench) -> Pace:
    """The pace of the workbench's device.

    Features are random. Episodes and prompts are those of the data where they are here; else each
    support has one mask, point and box.

    Raises:
        UserError: a (B, N, K) does not fit into the memory of the GPU.
    """
    with _one_thread(bench.device):
        model = bench.config.model
        image = _encoding(bench)
        generator = torch.Generator().manual_seed(0)
        learner = LabelAnything.from_config(model, generator).to(bench.device)
        step, prepared = _training(bench, learner)
        return Pace(image, step, _scoring(bench, learner.eval()), prepared)


def has_images(bench: Workbench) -> bool:
    """Whether the data of a workbench are on this machine."""
    if bench.source is not None or bench.config.data != "coco":
        return bench.source is not None or bench.config.data == "embedded"
    return not coco_missing(coco_folder(bench.home / "cache"))


def _encoding(bench: Workbench) -> float:
    """Seconds of the backbone, for each image."""
    model, device = bench.config.model, bench.device
    backbone = empty_backbone(model)
    for parameter in backbone.parameters():
        torch.nn.init.normal_(parameter, std=0.02)
    n_images = backbone.spec.batch_size(device) if device.type == "cuda" else 1
    images = torch.randn(n_images, 3, model.image_size, model.image_size, device=device)
    backbone = backbone.to(device)
    return _seconds(lambda: backbone(images), device) / n_images


def _training(bench: Workbench, learner: LabelAnything) -> tuple[float, float]:
    """Seconds of a batch of training, and of preparing one, for each of its images."""
    config, device = bench.config, bench.device
    optimizer = torch.optim.AdamW(learner.parameters(), fused=device.type == "cpu")
    source = TypicalBatches(bench) if has_images(bench) else None
    shapes = source.shapes if source else config.episodes.shapes
    per_image, preparing, spent, total = 0.0, 0.0, 0.0, 0.0
    smallest = (1, *min(shapes, key=images_of)[1:])
    for shape in (smallest, *sorted(shapes, key=images_of)):
        n_images = images_of(shape)
        if device.type == "cpu" and spent + 2 * per_image * n_images > CPU_SECONDS:
            seconds = per_image * n_images
        else:
            make = partial(source or partial(random_batch, config), *shape)
            preparing = _seconds(make, device) / n_images
            batch = to_device(make(), device)
            seconds = _seconds_of_step(learner, optimizer, batch, config, shape)
            per_image, spent = seconds / n_images, spent + 2 * seconds
        total += seconds if shape is not smallest else 0
    return total / len(shapes), preparing if source else 0.0


def _seconds_of_step(
    learner: LabelAnything,
    optimizer: torch.optim.Optimizer,
    batch: Batch,
    config: Config,
    shape: Shape,
) -> float:
    """Seconds of loss, gradient and update for one batch."""
    device = batch.target.device
    bfloat16 = config.train.precision == "bfloat16" and device.type == "cuda"

    def step() -> None:
        with torch.autocast(device.type, torch.bfloat16, enabled=bfloat16):
            loss = batch_loss(learner, batch, config.train)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()

    try:
        return _seconds(step, device)
    except torch.OutOfMemoryError:
        raise UserError(
            f"(B, N, K) = {shape} does not fit into the memory of the GPU; halve B in "
            "episodes.shapes and double train.micro_batches"
        ) from None


def _scoring(bench: Workbench, learner: LabelAnything) -> float:
    """Seconds of scoring, for each image of a batch; with loading it where the data are here."""
    usual = bench.config.evaluation.batch_size
    if bench.device.type == "cuda":
        return _scoring_batches(bench, learner, usual)
    per_image = _scoring_batches(bench, learner, 1)
    if 2 * per_image * images_of((usual, SCORED_WAYS, 1)) > CPU_SECONDS:
        return per_image
    return _scoring_batches(bench, learner, usual)


def _scoring_batches(bench: Workbench, learner: LabelAnything, size: int) -> float:
    """Seconds of scoring a batch of `size` episodes, for each of their images."""
    config = bench.config
    if has_images(bench):
        setting = Measurement("", 0, SCORED_WAYS, 1, SEED, size, protocol="clean")
        episodes = bench.episodes(setting)
        load: Callable[[list[Episode]], Batch] = BatchLoader(
            bench.data.test,
            config.model,
            config.episodes,
            bench.rules("clean"),
            read_features=random_features(config),
        )
    else:
        side = config.model.image_size
        batch = random_batch(config, size, SCORED_WAYS, 1, target_side=side)
        class_ids = tuple(range(1, SCORED_WAYS + 1))
        episodes = [Episode(0, class_ids, class_ids, (), seed) for seed in range(size)]

        def load(episodes: list[Episode]) -> Batch:
            return batch

    def score() -> None:
        count(
            learner,
            episodes,
            load,
            model=config.model,
            batch_size=size,
            device=bench.device,
            biases=(0.0, 1.0),
        )

    return _seconds(score, bench.device) / images_of((size, SCORED_WAYS, 1))


@contextmanager
def _one_thread(device: torch.device) -> Iterator[None]:
    """One thread on a CPU, as each process that computes has."""
    before = torch.get_num_threads()
    if device.type == "cpu":
        torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _seconds(work: Callable[[], object], device: torch.device) -> float:
    """How long the second call takes; the first one warms up.

    On a CPU the time of this process counts, so that other programs do not matter; a call that
    takes long there is not repeated.
    """
    cuda = device.type == "cuda"
    clock = time.perf_counter if cuda else time.process_time
    for _ in range(2):
        started = clock()
        work()
        if cuda:
            torch.cuda.synchronize()
        seconds = clock() - started
        if not cuda and seconds > CPU_SECONDS / 4:
            break
    return seconds
