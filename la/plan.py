"""What a run needs, what exists, how long it takes and what would stop it (README, "Plan")."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from la.config import PUBLISHED, Config, weights_folder
from la.data.download import FILES, coco_bytes, coco_folder, coco_missing, fetch, weights_files
from la.data.transfer import check_disk
from la.methods import method
from la.model.label_anything import LabelAnything
from la.pace import Pace
from la.results import Cell
from la.states import STATES
from la.workbench import HOME, Workbench

COCO_IMAGES = FILES["train2014"].files + FILES["val2014"].files
BACKBONES = {"sam_vit_b": "sam", "mae_vit_b": "mae"}  # as `fetch` calls them
PUBLISHED_BYTES = 4 * 381_000_000  # about
STATE_COPIES = 9  # weights and two moments; two states are kept while a third is written


@dataclass(frozen=True)
class Stage:
    """What is left of one stage of a run."""

    name: str
    left: str = ""  # "" when it is done
    gigabytes: float = 0.0  # still to be written
    hours: float | None = 0.0  # None where it was not measured


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
            hours = "" if not s.left else "?" if s.hours is None else f"{s.hours:.1f}"
            size = f"{s.gigabytes:.1f}" if s.gigabytes else ""
            lines.append(f"{s.name:10}{s.left or 'done':56}{size:>8}{hours:>9}".rstrip())
        stop = (
            f"Would stop it first: {self.problems[0]}" if self.problems else "Nothing is missing."
        )
        return "\n".join([*lines, stop])


def plan(bench: Workbench, wanted: Sequence[Cell], pace: Pace | None = None) -> Plan:
    """The plan of computing the cells `wanted`; nothing is made.

    Args:
        pace: from `la.pace.measure`; without it no hours are given.

    Raises:
        FileNotFoundError, ValueError: the data that exist cannot be used.
    """
    config = bench.config
    lacking = _lacking(bench)
    to_fetch, here = {what: root for what, root, _, _ in lacking}, not lacking
    needs = {root: n_bytes for _, root, n_bytes, _ in lacking}
    problems = [problem for *_, problem in lacking]

    images = COCO_IMAGES  # until there is something to look into
    if config.profile == PUBLISHED:
        images = 0
    elif here:
        indices = (bench.data.train, bench.data.test)
        images = sum(len(bench.store(i).missing(i.image_ids)) for i in indices)
    cell_bytes = bench.feature_bytes
    learners = {
        (method(c.method).trains_as or c.method, c.fold): c
        for c in wanted
        if method(c.method).configure
    }
    steps = [_steps_left(bench, c, here) for c in learners.values()]
    open_models = [n for n in steps if n is not None]
    open_cells = [c for c in wanted if not here or not bench.path(c).exists()]
    parameters = sum(p.numel() for p in LabelAnything.empty(config.model).parameters())
    state_bytes = len(open_models) * parameters * 4 * STATE_COPIES
    step = pace and pace.step * config.train.micro_batches
    models = f"steps of {len(open_models)} models" if open_models else ""
    scored = f"episodes of {len(open_cells)} cells" if open_cells else ""
    n_episodes = sum(c.episodes for c in open_cells)
    stages = (
        Stage("fetch", ", ".join(to_fetch), sum(needs.values()) / 1e9, None if to_fetch else 0),
        Stage("index", "" if here else "annotation files", 0, None),
        _stage("features", images, "images" if images else "",
               images * cell_bytes, pace and pace.image),
        _stage("train", sum(open_models), models, state_bytes, step),
        _stage("evaluate", n_episodes, scored, 0,
               pace and pace.episode),
        Stage("render", "notebooks", 0, None),
    )  # fmt: skip

    needs[bench.home] = needs.get(bench.home, 0) + images * cell_bytes + state_bytes
    problems += _full_disks(needs)
    cuda = bench.device.type == "cuda"
    if _weights(config) and not cuda and not os.environ.get("LA_CPU"):
        problems.append(ValueError(
            f"{config.profile} needs a GPU and none is here; use PROFILE=quick, or set LA_CPU=1 to "
            "go on without one, which is meant for rehearsals on a few images"
        ))  # fmt: skip
    if open_models and not config.train.steps:
        problems.append(ValueError(f"{config.profile} names no number of steps; set train.steps"))
    where = torch.cuda.get_device_name() if cuda else "the CPU"
    return Plan(f"Plan of {config.profile} on {where}", stages, to_fetch, tuple(problems))


def require(bench: Workbench, wanted: Sequence[Cell]) -> None:
    """Nothing, if the run can go through; every paper run starts with this.

    Raises:
        FileNotFoundError, ValueError, OSError: what would stop it first, and how to mend it.
    """
    for problem in plan(bench, wanted).problems:
        raise problem


def prepare(bench: Workbench, wanted: Sequence[Cell]) -> None:
    """`require` for a run from an empty disk: fetches what is missing if nothing else hinders.

    Raises:
        FileNotFoundError, ValueError, OSError: as `require` and `fetch`.
    """
    found = plan(bench, wanted)
    for problem in found.problems[len(found.to_fetch) :]:
        raise problem
    for what, root in found.to_fetch.items():
        fetch(what, root)
    require(bench, wanted)


def auto_profile(home: Path = HOME) -> tuple[str, str]:
    """The profile that `auto` stands for here, and why, as one sentence."""
    coco = coco_folder(home / "cache")
    if not torch.cuda.is_available():
        return "quick", "PROFILE=auto is quick: no GPU is here."
    if lacking := coco_missing(coco):
        return "quick", (
            f"PROFILE=auto is quick: a GPU is here, but {coco} lacks {', '.join(lacking)} of COCO; "
            "PROFILE=paper-sam fetches what is missing and makes the paper's setting."
        )
    return "paper-sam", f"PROFILE=auto is paper-sam: a GPU is here, and COCO in {coco}."


def _lacking(bench: Workbench) -> list[tuple[str, Path, int, Exception]]:
    """What `fetch` has to get, into which folder, its bytes, and what to say meanwhile."""
    found: list[tuple[str, Path, int, Exception]] = []
    coco, weights = coco_folder(bench.home / "cache"), weights_folder()
    what = _weights(bench.config)
    if what and bench.source is None and (names := coco_missing(coco)):
        sentence = (
            f"COCO is not complete in {coco}, which lacks {', '.join(names)}; python -m la fetch "
            "coco gets it, LA_COCO=FOLDER or DATA=FOLDER names another place"
        )
        found.append(("coco", coco, coco_bytes(coco), FileNotFoundError(sentence)))
    absent = [f for f in weights_files(weights, what) if not f.is_file()] if what else []
    if absent:
        sentence = f"there is no {absent[0]}; python -m la fetch {what} gets it"
        n_bytes = FILES[what].size if what in FILES else PUBLISHED_BYTES
        found.append((what, weights, n_bytes, FileNotFoundError(sentence)))
    return found


def _weights(config: Config) -> str | None:
    """What `fetch` calls the weights that a profile needs; None for a profile with its own."""
    return "published" if config.profile == PUBLISHED else BACKBONES.get(config.model.backbone)


def _steps_left(bench: Workbench, cell: Cell, here: bool) -> int | None:
    """Of the training that a cell needs; None when its model is there."""
    steps = method(cell.method).configure(bench.config).train.steps
    if not here:
        return steps
    folder = bench.run_folder(cell.method, cell.fold)
    if (folder / "model.safetensors").exists():
        return None
    return steps - max((int(p.name.split("-")[1]) for p in folder.glob(STATES)), default=0)


def _stage(name: str, n: int, of: str, size: int, seconds: float | None) -> Stage:
    if not of:
        return Stage(name)
    return Stage(name, f"{n} {of}", size / 1e9, None if seconds is None else n * seconds / 3600)


def _full_disks(needs: dict[Path, int]) -> list[Exception]:
    """What does not fit, when these folders take so many bytes; folders may share a disk."""

    def disk(folder: Path) -> int:
        there = next(p for p in (folder, *folder.absolute().parents) if p.exists())
        return there.stat().st_dev

    for folder in needs:
        try:
            check_disk(folder, sum(n for other, n in needs.items() if disk(other) == disk(folder)))
        except OSError as error:
            return [error]
    return []
