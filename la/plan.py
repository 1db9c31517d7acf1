"""What a run needs, what exists, how long it takes and what would stop it (README, "Plan")."""

import math
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from la.config import PUBLISHED, WEIGHTS_OF, Config, weights_folder
from la.data import download
from la.methods import method
from la.model.backbone import empty_backbone
from la.model.label_anything import LabelAnything
from la.results import Cell
from la.states import STATES
from la.training import batch_loss
from la.types import Batch, Features, Prompts, to_device
from la.workbench import AT_ONCE, HOME, Workbench

COCO_IMAGES = download.FILES["train2014"].files + download.FILES["val2014"].files
PUBLISHED_BYTES = 4 * 381_000_000  # about
STATE_COPIES = 9  # weights and two moments; two states are kept while a third is written


@dataclass(frozen=True)
class Pace:
    """Seconds on a device."""

    image: float  # the backbone, for one image
    step: float  # one (B, N, K) batch of training, the mean over the profile's
    episode: float  # scoring one query image with its supports, the mean over the profile's


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
        if "published" in self.to_fetch:
            known = ", ".join(map(str, download.KNOWN_RUNS))
            lines.append(f"Of the published models the id of fold {known} is known; the others' "
                         "are looked up on the hub when they are fetched.")  # fmt: skip
        stop = f"Would stop it first: {self.problems[0]}" if self.problems else ""
        return "\n".join([*lines, stop or "Nothing is missing."])


def plan(bench: Workbench, wanted: Sequence[Cell], pace: Pace | None = None) -> Plan:
    """The plan of computing the cells `wanted`; nothing is made.

    Args:
        pace: from `measure`; without it no hours are given.

    Raises:
        FileNotFoundError, ValueError: the data that exist cannot be used.
    """
    config, cuda = bench.config, bench.device.type == "cuda"
    what = "published" if config.profile == PUBLISHED else WEIGHTS_OF.get(config.model.backbone)
    to_fetch, needs, problems = _lacking(bench, what)
    here = not to_fetch

    images = COCO_IMAGES  # until there is something to look into
    if config.profile == PUBLISHED:
        images = 0
    elif here:
        indices = (bench.data.train, bench.data.test)
        images = sum(len(bench.store(i).missing(i.image_ids)) for i in indices)
    learners = {
        (method(c.method).trains_as or c.method, c.fold): c
        for c in wanted
        if method(c.method).configure
    }
    steps = [n for c in learners.values() if (n := _steps_left(bench, c, here)) is not None]
    cells = [c for c in wanted if not here or not bench.path(c).exists()]
    n_episodes = sum(c.episodes for c in cells)
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
        Stage("evaluate", f"{n_episodes} episodes of {len(cells)} cells" if cells else "", 0,
              n_episodes * pace.episode / 3600),
        Stage("render", "notebooks"),
    )  # fmt: skip

    needs[bench.home] = needs.get(bench.home, 0) + feature_bytes + state_bytes
    try:
        download.check_disk(needs)
    except OSError as error:
        problems.append(error)
    if what and not cuda and not os.environ.get("LA_CPU"):
        problems.append(ValueError(
            f"{config.profile} needs a GPU and none is here; use PROFILE=quick, or set LA_CPU=1 to "
            "go on without one, which is meant for rehearsals on a few images"
        ))  # fmt: skip
    if steps and not config.train.steps:
        problems.append(ValueError(f"{config.profile} names no number of steps; set train.steps"))
    where = torch.cuda.get_device_name() if cuda else "the CPU"
    return Plan(f"Plan of {config.profile} on {where}", stages, to_fetch, tuple(problems))


def prepare(bench: Workbench, wanted: Sequence[Cell]) -> None:
    """Nothing, if the run can go through; what is missing is fetched if nothing else hinders.

    Every run of a paper profile starts with this.

    Raises:
        FileNotFoundError, ValueError, OSError: what would stop it first, and how to mend it.
    """
    found = plan(bench, wanted)
    for problem in found.problems[len(found.to_fetch) :]:
        raise problem
    for what, root in found.to_fetch.items():
        download.fetch(what, root)
    for problem in plan(bench, wanted).problems if found.to_fetch else ():
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


def measure(config: Config, device: torch.device) -> Pace:
    """How fast a device is at a profile's true sizes, by a few steps on random values.

    A GPU runs every (B, N, K) of the profile twice, a CPU (1, 1, 1) once; the rest is scaled.

    Raises:
        ValueError: a (B, N, K) does not fit into the memory of the GPU.
    """
    cuda, model = device.type == "cuda", config.model
    backbone = empty_backbone(model)
    for parameter in backbone.parameters():
        torch.nn.init.normal_(parameter, std=0.02)
    n_images = AT_ONCE[model.backbone] if cuda else 1
    images = torch.randn(n_images, 3, model.image_size, model.image_size, device=device)
    backbone = backbone.to(device)
    image = _seconds(lambda: backbone(images), cuda) / len(images)
    learner = LabelAnything.from_config(model, torch.Generator().manual_seed(0)).to(device)
    optimizer = torch.optim.AdamW(learner.parameters())
    shapes = config.episodes.shapes
    measured = shapes if cuda else ((1, 1, 1),)
    seconds = 0.0
    for shape in measured:
        batch = to_device(random_batch(config, *shape), device)

        def step(batch: Batch = batch) -> None:
            half = cuda and config.train.precision == "bfloat16"
            with torch.autocast(device.type, torch.bfloat16, enabled=half):
                batch_loss(learner, batch, config.train).backward()
            optimizer.step()
            optimizer.zero_grad()

        try:
            seconds += _seconds(step, cuda)
        except torch.OutOfMemoryError:
            raise ValueError(
                f"(B, N, K) = {shape} does not fit into the memory of the GPU; halve B in "
                "episodes.shapes and double train.micro_batches"
            ) from None
    per_image = seconds / sum(b * (1 + n * k) for b, n, k in measured)
    of_step = sum(b * (1 + n * k) for b, n, k in shapes) / len(shapes)
    of_episode = sum(1 + n * k for _, n, k in shapes) / len(shapes)
    return Pace(image, per_image * of_step, per_image * of_episode / 3)  # forward: a third


def random_batch(config: Config, n_episodes: int, n_ways: int, k_shots: int) -> Batch:
    """B episodes in the sizes of the profile, each support with one mask, point and box."""
    model, n = config.model, n_ways * k_shots * n_episodes
    cells = model.image_size // model.patch_size
    target = config.train.target_side or model.image_size
    return Batch(
        source=Features(
            torch.randn(n_episodes, model.backbone_dim, cells, cells),
            torch.randn(n, model.backbone_dim, cells, cells),
        ),
        support_episode=torch.arange(n_episodes).repeat_interleave(n_ways * k_shots),
        prompts=Prompts(
            masks=torch.rand(n, model.mask_size, model.mask_size).round(),
            mask_example=torch.arange(n),
            points=torch.rand(n, 1, 2) * model.image_size,
            point_labels=torch.ones(n, 1, dtype=torch.long),
            boxes=torch.tensor([0.2, 0.2, 0.8, 0.8]).repeat(n, 1, 1) * model.image_size,
            boxes_valid=torch.ones(n, 1, dtype=torch.bool),
            example_support=torch.arange(n),
            example_row=torch.arange(n) % n_ways + 1,
        ),
        token_rows=torch.arange(n_ways + 1).repeat(n_episodes, 1) % max(1, model.token_pool),
        class_valid=torch.ones(n_episodes, n_ways + 1, dtype=torch.bool),
        target=torch.randint(0, n_ways + 1, (n_episodes, target, target)),
        query_size=torch.full((n_episodes, 2), model.image_size),
    )


def _lacking(
    bench: Workbench, what: str | None
) -> tuple[dict[str, Path], dict[Path, int], list[Exception]]:
    """What `fetch` has to get and into which folder, bytes for each folder, what to say of it."""
    coco, weights = download.coco_folder(bench.home / "cache"), weights_folder()
    to_fetch: dict[str, Path] = {}
    needs: dict[Path, int] = {}
    problems: list[Exception] = []
    if what and bench.source is None and (names := download.coco_missing(coco)):
        to_fetch["coco"], needs[coco] = coco, download.coco_bytes(coco)
        problems.append(FileNotFoundError(
            f"COCO is not complete in {coco}, which lacks {', '.join(names)}; python -m la fetch "
            "coco gets it, LA_COCO=FOLDER or DATA=FOLDER names another place"
        ))  # fmt: skip
    absent = [f for f in download.weights_files(weights, what) if not f.is_file()] if what else []
    if absent:
        n_bytes = download.FILES[what].size if what in download.FILES else PUBLISHED_BYTES
        to_fetch[what], needs[weights] = weights, needs.get(weights, 0) + n_bytes
        problems.append(
            FileNotFoundError(f"there is no {absent[0]}; python -m la fetch {what} gets it")
        )
    return to_fetch, needs, problems


def _steps_left(bench: Workbench, cell: Cell, here: bool) -> int | None:
    """Of the training that a cell needs; None when its model is there."""
    steps = method(cell.method).configure(bench.config).train.steps
    if not here:
        return steps
    folder = bench.run_folder(cell.method, cell.fold)
    if (folder / "model.safetensors").exists():
        return None
    return steps - max((int(p.name.split("-")[1]) for p in folder.glob(STATES)), default=0)


def _seconds(work: Callable[[], object], cuda: bool) -> float:
    """Of one call; on a GPU of two, the first of which warms up."""
    for _ in range(2 if cuda else 1):
        started = time.perf_counter()
        work()
        if cuda:
            torch.cuda.synchronize()
    return time.perf_counter() - started
