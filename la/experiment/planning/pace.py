"""How fast this machine works at a profile's true sizes, measured in a few steps."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import torch
from accelerate import Accelerator

from la.config import Config, ModelConfig
from la.data.download import coco_folder, coco_missing
from la.data.sampling.loader import BatchLoader
from la.errors import UserError
from la.experiment.planning.typical import (
    SEED,
    TypicalBatches,
    images_of,
    random_batch,
    random_features,
)
from la.experiment.runs import START_IMAGES
from la.experiment.setup.measurements import Measurement
from la.experiment.setup.workbench import Workbench
from la.learn.device import to_device
from la.learn.evaluation import count
from la.learn.precision import tf32
from la.learn.steps import take_step
from la.model.backbone import empty_backbone
from la.model.label_anything import LabelAnything
from la.types import Batch, Episode

# On a CPU only the batches that fit into this time are measured; the others are extrapolated.
CPU_SECONDS = 20.0
SCORED_WAYS = (1, 4)  # of the 1-shot episodes whose scoring is timed


@dataclass(frozen=True)
class Pace:
    """Seconds that one device takes; for a CPU, seconds of CPU time on one thread."""

    image: float  # the backbone, for one image
    step: float  # one (B, N, K) batch of training, the mean over the profile's shapes
    query: float  # scoring an episode of any (N, K), with drawing its target
    example: float  # what each of its N x K examples adds, with drawing its prompts
    prepared: float = 0.0  # targets and prompts of a training batch, for each of its images
    start: float = 0.0  # the start of a model's weights


def measure(bench: Workbench) -> Pace:
    """The pace of the workbench's device.

    Features are random. Episodes and prompts are those of the data where they are here; else each
    support has one mask, point and box.

    Raises:
        BatchTooLarge: a (B, N, K) does not fit into the memory of the GPU.
    """
    with bench.one_thread():
        model = bench.config.model
        image = _encoding(bench)
        learner, start = _started(model, bench.device)
        learner = learner.to(bench.device)
        step, prepared = _training(bench, learner)
        query, example = _scoring(bench, learner.eval())
        return Pace(image, step, query, example, prepared, start)


def has_images(bench: Workbench) -> bool:
    """Whether the data of a workbench are on this machine."""
    if bench.source is not None or bench.config.data != "coco":
        return bench.source is not None or bench.config.data == "embedded"
    return not coco_missing(coco_folder(bench.home / "cache"))


def _encoding(bench: Workbench) -> float:
    """Seconds that the backbone takes per image."""
    model, device = bench.config.model, bench.device
    backbone = empty_backbone(model)
    for parameter in backbone.parameters():
        torch.nn.init.normal_(parameter, std=0.02)
    n_images = backbone.spec.batch_size(device) if device.type == "cuda" else 1
    images = torch.randn(n_images, 3, model.image_size, model.image_size, device=device)
    backbone = backbone.to(device)
    return _seconds(lambda: backbone(images), device) / n_images


def _started(model: ModelConfig, device: torch.device) -> tuple[LabelAnything, float]:
    """A model with initial weights, and the seconds that the initialisation takes."""
    features = None
    if model.start == "agreeing":
        cells = model.image_size // model.patch_size
        features = torch.randn(START_IMAGES, model.backbone_dim, cells, cells).half()
    clock = _clock(device)
    started = clock()
    learner = LabelAnything.from_config(model, torch.Generator().manual_seed(0), features)
    return learner, clock() - started


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
            seconds = _seconds_of_step(learner, optimizer, batch, config)
            per_image, spent = seconds / n_images, spent + 2 * seconds
        total += seconds if shape is not smallest else 0
    return total / len(shapes), preparing if source else 0.0


def _seconds_of_step(
    learner: LabelAnything,
    optimizer: torch.optim.Optimizer,
    batch: Batch,
    config: Config,
) -> float:
    """Seconds of a step of one batch, as training takes it."""
    device = batch.target.device
    accelerator = Accelerator(cpu=device.type == "cpu")

    def step() -> None:
        take_step(learner, optimizer, [batch], config.train, accelerator)

    with tf32(config.train.precision == "bfloat16"):
        return _seconds(step, device)


def _scoring(bench: Workbench, learner: LabelAnything) -> tuple[float, float]:
    """Seconds of scoring an episode: of its query, and what each example adds.

    Loading is included if the data are on this machine and have as many classes.
    """
    is_drawn = has_images(bench) and _can_be_drawn(bench, SCORED_WAYS[1])
    few, many = (_scoring_episode(bench, learner, n, is_drawn=is_drawn) for n in SCORED_WAYS)
    example = max(0.0, (many - few) / (SCORED_WAYS[1] - SCORED_WAYS[0]))
    return max(0.0, few - SCORED_WAYS[0] * example), example


def _can_be_drawn(bench: Workbench, n_ways: int) -> bool:
    """Whether the test images allow 1-shot episodes of so many seen classes."""
    try:
        bench.sampler(0, (n_ways, 1), seen=True)
    except UserError:
        return False
    return True


def _scoring_episode(
    bench: Workbench,
    learner: LabelAnything,
    n_ways: int,
    *,
    is_drawn: bool,
) -> float:
    """Seconds of scoring a 1-shot episode, in a batch of usual size unless that takes long."""
    usual = bench.config.evaluation.batch_size
    if bench.device.type == "cuda":
        return _scoring_batch(bench, learner, n_ways, usual, is_drawn=is_drawn) / usual
    alone = _scoring_batch(bench, learner, n_ways, 1, is_drawn=is_drawn)
    if 2 * alone * usual > CPU_SECONDS / 2:
        return alone
    return _scoring_batch(bench, learner, n_ways, usual, is_drawn=is_drawn) / usual


def _scoring_batch(
    bench: Workbench,
    learner: LabelAnything,
    n_ways: int,
    size: int,
    *,
    is_drawn: bool,
) -> float:
    """Seconds of scoring a batch of `size` 1-shot episodes, drawn from the data or random.

    Those of the data are of seen classes, because a small data set has more of them.
    """
    config = bench.config
    if is_drawn:
        setting = Measurement("", 0, n_ways, 1, SEED, size, classes="seen")
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
        batch = random_batch(config, size, n_ways, 1, target_side=side)
        class_ids = tuple(range(1, n_ways + 1))
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

    return _seconds(score, bench.device)


def _seconds(work: Callable[[], object], device: torch.device) -> float:
    """How long the second call takes; the first one warms up.

    On a CPU the time of this process counts, so that other programs do not matter; a call that
    takes long there is not repeated.
    """
    cuda, clock = device.type == "cuda", _clock(device)
    for _ in range(2):
        started = clock()
        work()
        if cuda:
            torch.cuda.synchronize()
        seconds = clock() - started
        if not cuda and seconds > CPU_SECONDS / 4:
            break
    return seconds


def _clock(device: torch.device) -> Callable[[], float]:
    """A clock in seconds: wall time on a GPU, else the CPU time of this process."""
    return time.perf_counter if device.type == "cuda" else time.process_time
