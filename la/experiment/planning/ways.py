"""The ways to compute a table on this machine: hours, gigabytes and bottleneck of each profile.

The hours assume that the machine has the data and the weights, and nothing else yet.
"""

import math
import os
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import torch

from la.config import Config
from la.data import download
from la.experiment.needs import Needs, needs_of
from la.experiment.planning.pace import Pace, measure
from la.experiment.planning.rates import Rates, measure_rates
from la.experiment.planning.typical import images_a_batch
from la.experiment.setup.measurements import Measurement
from la.experiment.setup.rounding import feature_bytes
from la.experiment.setup.workbench import Workbench
from la.profiles import PUBLISHED, profile
from la.wording import counted

COCO_IMAGES = download.FILES["train2014"].files + download.FILES["val2014"].files
WAYS = ("float16", "int8", "none")  # LA_FEATURES
PROFILES = (
    "paper-sam", "paper-mae", "dinov2", "paper-sam-short", "paper-mae-short", "published-mae",
)  # fmt: skip
NAMES = {"GPU": "the GPU", "CPU": "the CPU", "loading": "the CPU that loads", "disk": "the disk"}
WORKERS_A_GPU = 8  # as many loader workers as `la.data.sampling.batches` starts


@dataclass(frozen=True)
class Speed:
    """How fast this machine computes and reads for one profile."""

    pace: Pace
    rates: Rates
    gpus: int  # 0: the CPU's cores do the work, one model each


@dataclass(frozen=True)
class Way:
    """A profile with one way of keeping features."""

    profile: str
    features: str  # LA_FEATURES; "" for a profile that reads images
    gigabytes: float  # of features
    hours: float
    binds: str  # the bottleneck of the training

    def __str__(self) -> str:
        gigabytes = f"{self.gigabytes:.0f}" if self.gigabytes else ""
        return (
            f"{self.profile:18}{self.features:12}{gigabytes:>6}{self.hours:>10.1f}  {self.binds}"
        ).rstrip()


def batch_seconds(config: Config, speed: Speed, features: str, n_images: int) -> dict[str, float]:
    """How many seconds each part of the machine works on one training batch.

    Args:
        n_images: images in the cache; those that fit into memory are read from the disk once.
    """
    images = images_a_batch(config)
    pace, rates = speed.pace, speed.rates
    encoding = images * pace.image if features == "none" else 0.0
    device = (pace.step + encoding) / max(1, speed.gpus)
    reading = rates.decoded if features == "none" else rates.read
    workers = min(rates.workers, WORKERS_A_GPU * speed.gpus) if speed.gpus else 1
    cpu = images * (pace.prepared + reading) / workers
    n_bytes = feature_bytes(config, features)
    in_memory = min(1.0, rates.memory / max(1, n_images * n_bytes))
    disk = 0.0
    if in_memory < 1 and not math.isnan(rates.disk):
        disk = images * n_bytes * (1 - in_memory) / rates.disk
    return {"GPU" if speed.gpus else "CPU": device, "loading": cpu, "disk": disk}


def training_hours(
    config: Config, speed: Speed, features: str, needs: Needs, n_images: int
) -> tuple[float, str]:
    """Hours of all trainings with their validations, and the bottleneck.

    On a GPU the parts work at the same time, and the slowest one is the bottleneck. On a CPU each
    core trains one model and does the work of all parts in turn. The start of the weights counts.
    """
    parts = batch_seconds(config, speed, features, n_images)
    of_batch = max(parts.values()) if speed.gpus else sum(parts.values())
    binds = max(parts, key=lambda name: parts[name])
    train, evaluation = config.train, config.evaluation
    states = sum(math.ceil(t.steps / train.checkpoint_every) for t in needs.trainings)
    n_validated = states * evaluation.validation_episodes  # of 1 way and 1 shot
    seconds = needs.steps * train.micro_batches * of_batch
    seconds += len(needs.trainings) * speed.pace.start
    seconds += _scoring_seconds(speed, features, n_validated, n_examples=n_validated)
    return seconds / _at_once(speed, len(needs.trainings)) / 3600, binds


def reading_note(
    config: Config, speed: Speed, features: str, needs: Needs, n_images: int, binds: str
) -> str:
    """What the trainings read, how fast it can be read, and the bottleneck, in one line."""
    n_batches = needs.steps * config.train.micro_batches
    parts = batch_seconds(config, speed, features, n_images)
    shares = ", ".join(f"{name} {1000 * seconds:.0f} ms" for name, seconds in parts.items())
    n_bytes = n_batches * images_a_batch(config) * feature_bytes(config, features)
    amount = f"{n_bytes / 1e12:.2g} TB" if n_bytes >= 1e12 else f"{n_bytes / 1e9:.2g} GB"
    disk = speed.rates.disk
    rate = "at an unknown rate" if math.isnan(disk) else f"at {disk / 1e9:.2f} GB/s"
    reading = f"Training reads {amount} of features; the disk reads {rate}. "
    waiting = f"Training waits for {NAMES[binds]} (a batch: {shares})."
    return (reading if n_bytes else "") + waiting


def encoding_hours(speed: Speed, features: str, n_images: int) -> float:
    """Hours of the feature cache."""
    return 0.0 if features == "none" else n_images * speed.pace.image / max(1, speed.gpus) / 3600


def scoring_hours(speed: Speed, features: str, needs: Needs) -> float:
    """Hours of scoring all episodes, including those for calibration."""
    seconds = _scoring_seconds(speed, features, needs.n_episodes, needs.n_examples)
    seconds /= max(1, speed.gpus)
    return seconds / _at_once(speed, len(needs.groups)) / 3600


def ways(
    bench: Workbench, measurements: Sequence[Measurement], speed: Speed, free: float
) -> list[Way]:
    """The ways of one profile whose features fit into `free` bytes, the fastest first."""
    config = bench.config
    needs = needs_of(bench, measurements, here=False)
    if config.profile == PUBLISHED:
        hours = scoring_hours(speed, "none", needs)
        return [Way(config.profile, "", 0.0, hours, "GPU" if speed.gpus else "CPU")]
    found = []
    for features in WAYS:
        n_bytes = COCO_IMAGES * feature_bytes(config, features)
        if n_bytes > free:
            continue
        training, binds = training_hours(config, speed, features, needs, COCO_IMAGES)
        hours = training + encoding_hours(speed, features, COCO_IMAGES)
        hours += scoring_hours(speed, features, needs)
        found.append(Way(config.profile, features, n_bytes / 1e9, hours, binds))
    return sorted(found, key=lambda way: way.hours)


def measure_speed(bench: Workbench) -> Speed:
    """Measure how fast this machine does the profile's work."""
    gpus = torch.cuda.device_count() if bench.device.type == "cuda" else 0
    rates = measure_rates(bench.config, bench.cache.folder, bench.numbers)
    return Speed(measure(bench), rates, gpus)


def report(bench: Workbench, planned: Mapping[str, Sequence[Measurement]], disk: float) -> str:
    """For each profile the fastest way that fits, as lines of text.

    Args:
        planned: the measurements of each profile.
        disk: bytes a second.
    """
    cache = next(p for p in (bench.home, *bench.home.absolute().parents) if p.exists())
    free = shutil.disk_usage(cache).free
    lines = [
        "",
        f"Computing a table, given COCO and the weights; {free / 1e9:.0f} GB are free, the disk "
        f"reads {disk / 1e9:.2f} GB/s, {_devices(bench)}:",
        f"{'profile':18}{'LA_FEATURES':12}{'GB':>6}{'hours':>10}  waits for",
    ]
    speeds: dict[object, Speed] = {}
    for name, measurements in planned.items():
        other = replace(bench, config=profile(name))
        key = replace(other.config.model, mode="masked")
        if key not in speeds:
            speeds[key] = measure_speed(other)
        found = ways(other, measurements, speeds[key], free)
        lines.append(str(found[0]))
    return "\n".join(lines)


def _devices(bench: Workbench) -> str:
    """The GPUs, or the cores."""
    cores = counted(os.cpu_count() or 1, "core")
    if bench.device.type != "cuda":
        return f"no GPU, {cores}"
    return f"{torch.cuda.device_count()} x {torch.cuda.get_device_name()}, {cores}"


def _at_once(speed: Speed, n_groups: int) -> int:
    """How many models or methods the cores of a CPU work on at the same time."""
    return 1 if speed.gpus else max(1, min(speed.rates.workers, n_groups))


def _scoring_seconds(speed: Speed, features: str, n_episodes: int, n_examples: int) -> float:
    """Seconds to load and score the episodes of a list; one process loads their images.

    An episode has one query, whose scores go to all of its pixels: that may take much longer than
    its examples.
    """
    pace, rates = speed.pace, speed.rates
    reading = pace.image + rates.decoded if features == "none" else rates.read
    return n_episodes * (pace.query + reading) + n_examples * (pace.example + reading)
