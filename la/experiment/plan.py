"""What a run needs, what exists, how long it takes and what would stop it (README, "Plan")."""

import math
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from la.config import PUBLISHED, weights_folder
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
from la.experiment.workbench import HOME, Workbench
from la.files import check_disk
from la.learn.states import STATES
from la.model.label_anything import LabelAnything

COCO_IMAGES = download.FILES["train2014"].files + download.FILES["val2014"].files
STATE_COPIES = 9  # weights and two moments; two states are kept while a third is written


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


def plan(bench: Workbench, measurements: Sequence[Measurement], pace: Pace | None = None) -> Plan:
    """The plan of computing the measurements; nothing is made.

    Args:
        pace: from `measure`; without it no hours are given.

    Raises:
        MissingFile, UserError: the data that exist cannot be used.
    """
    config, cuda = bench.config, bench.device.type == "cuda"
    what = fetching.weights_of(config)
    to_fetch, needs, problems = _lacking(bench, what)
    here = not to_fetch

    images = COCO_IMAGES  # until there is something to look into
    if config.profile == PUBLISHED:
        images = 0
    elif here:
        indices = (bench.data.train, bench.data.test)
        images = sum(len(bench.store(i).missing(i.image_ids)) for i in indices)
    steps = _steps_left(bench, measurements, here)
    missing = list(measurements)
    if here:
        keys = {Job(bench, m).key: m for m in measurements}
        stored = Store(bench.results / "measurements").find(keys)
        missing = [m for key, m in keys.items() if key not in stored]
    n_episodes = sum(m.episodes for m in missing)
    parameters = sum(p.numel() for p in LabelAnything.empty(config.model).parameters())
    feature_bytes = images * bench.feature_bytes
    state_bytes = len(steps) * parameters * 4 * STATE_COPIES

    pace = pace or Pace(math.nan, math.nan, math.nan)

    def training(n_steps: int) -> float:
        """Seconds: the steps, and a validation at each state that they save."""
        states = math.ceil(n_steps / config.train.checkpoint_every)
        return (
            n_steps * config.train.micro_batches * pace.step
            + states * config.evaluation.validation_episodes * pace.episode
        )

    stages = (
        Stage("fetch", ", ".join(to_fetch), sum(needs.values()) / 1e9),
        Stage("index", "" if here else "annotation files"),
        Stage("features", f"{images} images" if images else "", feature_bytes / 1e9,
              images * pace.image / 3600),
        Stage("train", f"{sum(steps)} steps of {len(steps)} models" if steps else "",
              state_bytes / 1e9, sum(map(training, steps)) / 3600),
        Stage("evaluate", f"{n_episodes} episodes" if missing else "", 0,
              n_episodes * pace.episode / 3600),
        Stage("render", "notebooks"),
    )  # fmt: skip

    needs[bench.home] = needs.get(bench.home, 0) + feature_bytes + state_bytes
    try:
        check_disk(needs)
    except OSError as error:
        problems.append(error)
        if feature_bytes and chosen_numbers() == "float16":
            half = "LA_FEATURES=int8 stores features in half the bytes, see docs/data.md"
            problems[-1] = OSError(f"{error}; {half}")
    if what and not cuda and not os.environ.get("LA_CPU"):
        problems.append(UserError(
            f"{config.profile} needs a GPU and none is here; use PROFILE=quick, or set LA_CPU=1 to "
            "go on without one, which is meant for rehearsals on a few images"
        ))  # fmt: skip
    if steps and not config.train.steps:
        problems.append(UserError(f"{config.profile} names no number of steps; set train.steps"))
    where = torch.cuda.get_device_name() if cuda else "the CPU"
    return Plan(f"Plan of {config.profile} on {where}", stages, to_fetch, tuple(problems))


def prepare(bench: Workbench, measurements: Sequence[Measurement]) -> None:
    """Check that the measurements can be computed, and download what is missing.

    Every run of a paper profile starts with this. Nothing is downloaded if another problem would
    stop the run anyway.

    Raises:
        MissingFile, UserError, OSError: the first problem, and how to mend it.
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
            "PROFILE=paper-sam fetches what is missing and makes the paper's setting."
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

    `here` says whether the data are there, without which no training can have begun.
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
