"""What a run needs, what exists, how long it takes, and what would stop it (`make plan`)."""

import math
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from la.config import Config
from la.data import download
from la.data.packing import chosen_numbers
from la.errors import MissingFile, UserError
from la.experiment import fetching
from la.experiment.job import Job
from la.experiment.measurements import Measurement
from la.experiment.methods import method
from la.experiment.pace import Pace
from la.experiment.runs import Run
from la.experiment.store import Store
from la.experiment.workbench import Workbench
from la.files import check_disk
from la.folders import HOME, weights_folder
from la.learn.states import STATES
from la.model.label_anything import LabelAnything

COCO_IMAGES = download.FILES["train2014"].files + download.FILES["val2014"].files
STATE_COPIES = 9  # weights and two moments; two states are kept while a third is written
UNMEASURED = Pace(math.nan, math.nan, math.nan)


@dataclass(frozen=True)
class Stage:
    """What is left of one stage of a run."""

    name: str
    left: str = ""  # "" when it is done
    gigabytes: float = 0.0  # still to be written
    hours: float = math.nan  # where it was not measured


@dataclass(frozen=True)
class Plan:
    """The stages in their order, what can be fetched, and what would stop the run, in order."""

    headline: str
    stages: tuple[Stage, ...]
    to_fetch: dict[str, Path]  # the arguments of `fetch`
    problems: tuple[Exception, ...]

    def __str__(self) -> str:
        lines = [self.headline, f"{'stage':10}{'left to do':56}{'GB':>8}{'hours':>9}"]
        for s in self.stages:
            hours = "" if not s.left else "?" if math.isnan(s.hours) else f"{s.hours:.1f}"
            size = f"{s.gigabytes:.1f}" if s.gigabytes else ""
            lines.append(f"{s.name:10}{s.left or 'done':56}{size:>8}{hours:>9}".rstrip())
        stop = f"Would stop it first: {self.problems[0]}" if self.problems else ""
        return "\n".join([*lines, stop or "Nothing is missing."])


@dataclass(frozen=True)
class _Work:
    """What the measurements of a plan still need."""

    n_images: int  # to encode
    steps: list[int]  # of each model to train
    n_episodes: int  # to score
    feature_bytes: int
    state_bytes: int


def plan(bench: Workbench, measurements: Sequence[Measurement], pace: Pace = UNMEASURED) -> Plan:
    """The plan of computing the measurements; nothing is made.

    Args:
        pace: from `measure`; without it no hours are given.

    Raises:
        MissingFile, UserError: the data that exist cannot be used.
    """
    config = bench.config
    weights = fetching.weights_of(config)
    to_fetch, needs, problems = _lacking(bench, weights)
    work = _work_left(bench, measurements, here=not to_fetch)
    stages = (
        Stage("fetch", ", ".join(to_fetch), sum(needs.values()) / 1e9),
        Stage("index", "annotation files" if to_fetch else ""),
        *_computed_stages(config, work, pace),
        Stage("render", "notebooks"),
    )
    needs[bench.home] = needs.get(bench.home, 0) + work.feature_bytes + work.state_bytes
    problems += _disk_problems(needs, saves_features=work.feature_bytes > 0)
    has_gpu = bench.device.type == "cuda"
    if weights and not has_gpu and not os.environ.get("LA_CPU"):
        problems.append(UserError(
            f"{config.profile} needs a GPU and none is here; use PROFILE=quick, or set LA_CPU=1 to "
            "go on without one, which is meant for rehearsals on a few images"
        ))  # fmt: skip
    if work.steps and not config.train.steps:
        problems.append(UserError(f"{config.profile} names no number of steps; set train.steps"))
    device = torch.cuda.get_device_name() if has_gpu else "the CPU"
    return Plan(f"Plan of {config.profile} on {device}", stages, to_fetch, tuple(problems))


def prepare(bench: Workbench, measurements: Sequence[Measurement]) -> None:
    """Check that the measurements can be computed, and download what is missing.

    Every run of a paper profile starts with this. Nothing is downloaded if another problem would
    stop the run anyway.

    Raises:
        MissingFile, UserError, OSError: the first problem, and how to fix it.
    """
    first_plan = plan(bench, measurements)
    n_downloads = len(first_plan.to_fetch)  # the problems of missing files come first
    for problem in first_plan.problems[n_downloads:]:
        raise problem
    for what, root in first_plan.to_fetch.items():
        fetching.fetch(what, root)
    if n_downloads:
        for problem in plan(bench, measurements).problems:
            raise problem


def auto_profile(home: Path = HOME) -> tuple[str, str]:
    """The profile that `auto` stands for here, and why, as one sentence."""
    coco = download.coco_folder(home / "cache")
    if not torch.cuda.is_available():
        return "quick", "PROFILE=auto is quick: no GPU is here."
    if lacking := download.coco_missing(coco):
        return "quick", (
            f"PROFILE=auto is quick: a GPU is here, but {coco} lacks {', '.join(lacking)} of COCO; "
            "PROFILE=paper-sam fetches what is missing and runs the paper's setting."
        )
    return "paper-sam", f"PROFILE=auto is paper-sam: a GPU is here, and COCO in {coco}."


def _lacking(
    bench: Workbench, what: str | None
) -> tuple[dict[str, Path], dict[Path, int], list[Exception]]:
    """The arguments of `fetch` with their folders, bytes for each folder, and the problems."""
    coco, weights = download.coco_folder(bench.home / "cache"), weights_folder()
    to_fetch: dict[str, Path] = {}
    needs: dict[Path, int] = {}
    problems: list[Exception] = []
    if (
        bench.config.data == "coco"
        and bench.source is None
        and (names := download.coco_missing(coco))
    ):
        to_fetch["coco"], needs[coco] = coco, download.coco_bytes(coco)
        problems.append(MissingFile(
            f"COCO is not complete in {coco}, which lacks {', '.join(names)}; python -m la fetch "
            "coco gets it, LA_COCO=FOLDER or DATA=FOLDER names another place"
        ))  # fmt: skip
    files = fetching.files_of(what, weights) if what else ()
    absent = [path for path in files if not path.is_file()]
    if what and absent:
        to_fetch[what] = weights
        needs[weights] = needs.get(weights, 0) + fetching.size_of(what)
        problems.append(MissingFile(f"there is no {absent[0]}; python -m la fetch {what} gets it"))
    return to_fetch, needs, problems


def _steps_left(bench: Workbench, measurements: Sequence[Measurement], here: bool) -> list[int]:
    """Steps that are left of each training that the measurements need and that is not done.

    `here` says whether the data exist; without them no training can have begun.
    """
    trainings = bench.config.evaluation.trainings
    models = {}
    for m in measurements:
        if method(m.method).configure is not None:
            models[method(m.method).trains_as, m.fold, m.seed % trainings] = m
    left = []
    for m in models.values():
        chosen = method(m.method)
        if not here:
            assert chosen.configure is not None
            left.append(chosen.configure(bench.config).train.steps)
            continue
        run = Run.of(bench, chosen, m.fold, m.seed)
        if not run.model.exists():
            done = [int(path.name.split("-")[1]) for path in run.folder.glob(STATES)]
            left.append(run.config.train.steps - max(done, default=0))
    return left


def _work_left(bench: Workbench, measurements: Sequence[Measurement], *, here: bool) -> _Work:
    """What is left to compute; without the data (`here`) it cannot be looked up."""
    n_images = COCO_IMAGES
    unscored = list(measurements)
    if here:
        indices = (bench.data.train, bench.data.test)
        n_images = sum(len(bench.store(index).missing(index.image_ids)) for index in indices)
        jobs = {Job(bench, measurement).key: measurement for measurement in measurements}
        stored = Store(bench.results / "measurements").find(jobs)
        unscored = [measurement for key, measurement in jobs.items() if key not in stored]
    if bench.reads_pixels:
        n_images = 0
    steps = _steps_left(bench, measurements, here)
    model = LabelAnything.empty(bench.config.model)
    n_parameters = sum(parameter.numel() for parameter in model.parameters())
    return _Work(
        n_images,
        steps,
        n_episodes=sum(measurement.episodes for measurement in unscored),
        feature_bytes=n_images * bench.feature_bytes,
        state_bytes=len(steps) * n_parameters * 4 * STATE_COPIES,
    )


def _computed_stages(config: Config, work: _Work, pace: Pace) -> list[Stage]:
    """The stages whose hours depend on the pace of the device."""
    train_seconds = 0.0
    for n_steps in work.steps:
        n_validations = math.ceil(n_steps / config.train.checkpoint_every)  # one per saved state
        n_episodes = n_validations * config.evaluation.validation_episodes
        train_seconds += n_steps * config.train.micro_batches * pace.step
        train_seconds += n_episodes * pace.episode
    images = f"{work.n_images} images" if work.n_images else ""
    training = f"{sum(work.steps)} steps of {len(work.steps)} models" if work.steps else ""
    episodes = f"{work.n_episodes} episodes" if work.n_episodes else ""
    return [
        Stage("features", images, work.feature_bytes / 1e9, work.n_images * pace.image / 3600),
        Stage("train", training, work.state_bytes / 1e9, train_seconds / 3600),
        Stage("evaluate", episodes, 0, work.n_episodes * pace.episode / 3600),
    ]


def _disk_problems(needs: dict[Path, int], *, saves_features: bool) -> list[Exception]:
    """The errors of disks that have too little room for a folder."""
    try:
        check_disk(needs)
    except OSError as error:
        if saves_features and chosen_numbers() == "float16":
            half = "LA_FEATURES=int8 stores features in half the bytes, see docs/data.md"
            return [OSError(f"{error}; {half}")]
        return [error]
    return []
