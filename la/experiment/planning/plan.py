"""What a run needs, what exists, how long it takes, and what would stop it (`make plan`)."""

import math
import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from la.data import download
from la.data.feature_cache.packing import Numbers
from la.errors import UserError
from la.experiment.job import Job
from la.experiment.needs import Needs, needs_of
from la.experiment.planning import fetching
from la.experiment.planning.ways import (
    COCO_IMAGES,
    Speed,
    encoding_hours,
    reading_note,
    scoring_hours,
    training_hours,
)
from la.experiment.setup.measurements import Measurement, Store
from la.experiment.setup.rounding import SHORT_DISK, feature_bytes, may_settle, settle
from la.experiment.setup.workbench import Workbench
from la.features.encoding import keeps_features
from la.files import check_disk
from la.folders import HOME
from la.model.label_anything import LabelAnything
from la.wording import counted

STATE_COPIES = 9  # weights and two moments; two states are kept while a third is written


@dataclass(frozen=True)
class Stage:
    """What remains of one stage of a run."""

    name: str
    left: str = ""  # "" when it is done
    gigabytes: float = 0.0  # still to be written
    hours: float = math.nan  # where it was not measured
    note: str = ""


@dataclass(frozen=True)
class Plan:
    """The stages in their order, what can be fetched, and what would stop the run, in order."""

    headline: str
    stages: tuple[Stage, ...]
    to_fetch: dict[str, Path]  # the arguments of `fetch`
    problems: tuple[Exception, ...]
    features_fit: bool = True  # together with everything else that is to be written
    numbers: Numbers = "float16"  # how features are rounded

    def __str__(self) -> str:
        lines = [self.headline, f"{'stage':10}{'left to do':56}{'GB':>8}{'hours':>9}"]
        for s in self.stages:
            hours = _in_words(s.hours) if s.left else ""
            size = f"{s.gigabytes:.1f}" if s.gigabytes else ""
            lines.append(f"{s.name:10}{s.left or 'done':56}{size:>8}{hours:>9}".rstrip())
        lines += [s.note for s in self.stages if s.note]
        stop = f"Would stop it first: {self.problems[0]}" if self.problems else ""
        return "\n".join([*lines, stop or "Nothing is missing."])


def _in_words(hours: float) -> str:
    """Two digits, or all digits before the point."""
    if math.isnan(hours):
        return "?"
    return f"{hours:.0f}" if hours >= 10 else f"{hours:.2g}"


def plan(bench: Workbench, measurements: Sequence[Measurement], speed: Speed | None = None) -> Plan:
    """The plan of computing the measurements; nothing is made.

    Args:
        speed: of this machine; without it no hours are given.

    Raises:
        MissingFile, UserError: the data that exist cannot be used.
    """
    usual = _plan(bench, measurements, speed)
    if usual.features_fit or not may_settle(bench) or _has_begun(bench, measurements, usual):
        return usual
    found = _plan(replace(bench, rounding="int8"), measurements, speed)
    stages = [replace(s, note=SHORT_DISK) if s.name == "features" else s for s in found.stages]
    return replace(found, stages=tuple(stages))


def _plan(bench: Workbench, measurements: Sequence[Measurement], speed: Speed | None) -> Plan:
    """The plan with features as the workbench rounds them."""
    config = bench.config
    weights = fetching.weights_of(config)
    to_fetch, disk, problems = fetching.lacking(bench, weights)
    here = not to_fetch
    needs = needs_of(bench, _unscored(bench, measurements) if here else measurements, here=here)
    n_images = _images_to_encode(bench, needs, here=here)
    n_bytes = n_images * feature_bytes(config, bench.numbers)
    state_bytes = _state_bytes(bench, needs)
    stages: tuple[Stage, ...] = (
        Stage("fetch", ", ".join(to_fetch), sum(disk.values()) / 1e9),
        Stage("index", "annotation files" if to_fetch else ""),
        Stage("features", counted(n_images, "image") if n_images else "", n_bytes / 1e9),
        Stage("train", _training_left(needs), state_bytes / 1e9),
        Stage("evaluate", counted(needs.n_episodes, "episode") if needs.n_episodes else ""),
        Stage("render", "notebooks"),
    )
    if speed is not None:
        stages = _with_hours(stages, bench, needs, n_images, speed)
    disk[bench.home] = disk.get(bench.home, 0) + n_bytes + state_bytes
    too_full = _disk_problems(disk, bench.numbers if n_bytes else "none")
    problems += too_full
    has_gpu = bench.device.type == "cuda"
    if weights and not has_gpu and not os.environ.get("LA_CPU"):
        problems.append(UserError(
            f"{config.profile} needs a GPU and none is here; use --profile quick (PROFILE=quick "
            "for make), or set LA_CPU=1 to go on without one, which is meant for rehearsals on a "
            "few images"
        ))  # fmt: skip
    if needs.trainings and not config.train.steps:
        problems.append(UserError(f"{config.profile} has no number of steps; set train.steps"))
    device = torch.cuda.get_device_name() if has_gpu else "the CPU"
    return Plan(
        f"Plan of {config.profile} on {device}",
        stages,
        to_fetch,
        tuple(problems),
        features_fit=not (n_bytes and too_full),
        numbers=bench.numbers,
    )


def prepare(bench: Workbench, measurements: Sequence[Measurement]) -> None:
    """Check that the measurements can be computed, and download what is missing.

    Every run of a paper profile starts with this. Nothing is downloaded if another problem would
    stop the run anyway. If the disk is too small for float16, features are int8 from then on.

    Raises:
        MissingFile, UserError, OSError: the first problem, and how to fix it.
    """
    found = plan(bench, measurements)
    n_downloads = len(found.to_fetch)  # the problems of missing files come first
    for problem in found.problems[n_downloads:]:
        raise problem
    for what, root in found.to_fetch.items():
        fetching.fetch(what, root)
    if n_downloads:
        found = plan(bench, measurements)
        for problem in found.problems:
            raise problem
    bench.ranks.wait_for_everyone()  # `settle` changes the disk, and each rank plans from it
    bench.once(lambda: settle(bench, found.numbers))


def auto_profile(home: Path = HOME) -> tuple[str, str]:
    """Return the profile that `auto` chooses on this machine, and why, in one sentence."""
    coco = download.coco_folder(home / "cache")
    if not torch.cuda.is_available():
        return "quick", "PROFILE=auto is quick: no GPU is here."
    if lacking := download.coco_missing(coco):
        return "quick", (
            f"PROFILE=auto is quick: a GPU is here, but {coco} lacks {', '.join(lacking)} of COCO; "
            "PROFILE=paper-sam fetches what is missing and runs the paper's setting."
        )
    return "paper-sam", f"PROFILE=auto is paper-sam: a GPU is here, and COCO in {coco}."


def _unscored(bench: Workbench, measurements: Sequence[Measurement]) -> list[Measurement]:
    """The measurements that have no stored result."""
    jobs = {Job(bench, measurement).key: measurement for measurement in measurements}
    stored = Store(bench.results / "measurements").find(jobs)
    return [measurement for key, measurement in jobs.items() if key not in stored]


def _has_begun(bench: Workbench, measurements: Sequence[Measurement], found: Plan) -> bool:
    """Whether a model was trained, or a result stored, from features in the usual format."""
    if found.to_fetch:
        return False
    jobs = [Job(bench, measurement) for measurement in measurements]
    trained = any(job.run is not None and job.run.folder.exists() for job in jobs)
    return trained or bool(Store(bench.results / "measurements").find(job.key for job in jobs))


def _images_to_encode(bench: Workbench, needs: Needs, *, here: bool) -> int:
    """Images whose features are not in the cache yet."""
    if bench.reads_pixels or not keeps_features():
        return 0
    if not here:
        return COCO_IMAGES  # an upper bound, as there are no data to count
    data = bench.data
    n_train = len(bench.store(data.train).missing(needs.train_images))
    return n_train + len(bench.store(data.test).missing(needs.test_images))


def _state_bytes(bench: Workbench, needs: Needs) -> int:
    """Bytes of the states that the trainings keep."""
    model = LabelAnything.empty(bench.config.model)
    n_parameters = sum(parameter.numel() for parameter in model.parameters())
    return len(needs.trainings) * n_parameters * 4 * STATE_COPIES


def _training_left(needs: Needs) -> str:
    if not needs.trainings:
        return ""
    return f"{counted(needs.steps, 'step')} of {counted(len(needs.trainings), 'model')}"


def _with_hours(
    stages: Sequence[Stage], bench: Workbench, needs: Needs, n_encoded: int, speed: Speed
) -> tuple[Stage, ...]:
    """The stages with their hours, and what the training reads and waits for."""
    config = bench.config
    features = bench.numbers if keeps_features() else "none"
    n_images = len(needs.train_images) or COCO_IMAGES
    training, part = training_hours(config, speed, features, needs, n_images)
    hours = {
        "features": encoding_hours(speed, features, n_encoded),
        "train": training,
        "evaluate": scoring_hours(speed, features, needs),
    }
    note = reading_note(config, speed, features, needs, n_images, part)
    timed = []
    for stage in stages:
        has_note = stage.name == "train" and stage.left
        timed.append(
            replace(
                stage,
                hours=hours.get(stage.name, math.nan),
                note=note if has_note else "",
            )
        )
    return tuple(timed)


def _disk_problems(needs: dict[Path, int], features: str) -> list[Exception]:
    """The error of a disk that has too little room, with what would help.

    Args:
        features: the format of those that are still to be written; "none" without any.
    """
    smaller = {
        "float16": "LA_FEATURES=int8 halves the size of features, LA_FEATURES=none stores none",
        "int8": "LA_FEATURES=none stores no features",
    }
    try:
        check_disk(needs)
    except OSError as error:
        hint = smaller.get(features)
        return [OSError(f"{error}; {hint}, see docs/data.md") if hint else error]
    return []
