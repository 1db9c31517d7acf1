"""The options of `python -m la`, as types, and the objects that they describe."""

import csv
import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from typer import Context, Option

from la import profiles
from la.errors import UserError
from la.types import PromptKind

if TYPE_CHECKING:
    from la.experiment.setup.measurements import Measurement
    from la.experiment.setup.workbench import Workbench


def resolve_profile(name: str) -> str:
    """Return the profile of a name; what `auto` means depends on the machine."""
    if name != "auto":
        return profiles.profile(name).profile
    from la.experiment.planning.plan import auto_profile

    chosen, why = auto_profile()
    print(why, file=sys.stderr)
    return chosen


Profile = Annotated[
    str, Option(help=", ".join(["auto", *profiles.PROFILES]), callback=resolve_profile)
]
Data = Annotated[Path | None, Option(help="a COCO-format folder instead of the profile's data")]
Method = Annotated[str, Option(help="a row of the tables")]
Fold = Annotated[int, Option(help="the fold whose classes are held out")]
Ways = Annotated[int, Option(min=1, help="N, the classes of an episode")]
Shots = Annotated[int, Option(min=1, help="K, the examples of each class")]
Seed = Annotated[int, Option(min=0, help="seed of the episode list and of the training")]
Episodes = Annotated[
    int | None, Option(help="episodes of each list; by default those of the profile")
]
Prompts = Annotated[str, Option(help="mask, box, point, or several joined by +")]
Folds = Annotated[str | None, Option(help="folds, such as 0,1")]
Seeds = Annotated[str | None, Option(help="seeds, such as 0,1,2")]
Unseen = Annotated[
    str | None,
    Option(metavar="NAMES", help="classes of --data to hold out in place of a fold: cat,dog"),
]
Methods = Annotated[str | None, Option(help="rows of the table, separated by commas")]
Parameters = Annotated[list[str] | None, Option("-p", metavar="NAME=VALUE")]
Recompute = Annotated[
    bool, Option("--recompute", help="compute, train and render again what other code made")
]
Init = Annotated[str | None, Option(metavar="MODEL", help="fine-tune this model or checkpoint")]
StopAfter = Annotated[
    int | None, Option(metavar="STEPS", help="save and stop after this many steps")
]
Tracker = Annotated[
    str | None, Option(metavar="NAME", help="tensorboard, or another that accelerate supports")
]
Limit = Annotated[int | None, Option(metavar="N", help="only the first N images of each split")]
TestEpisodes = Annotated[
    int | None, Option(metavar="N", help="only the images of the first N episodes of each list")
]
Checkpoint = Annotated[
    Path | None, Option(metavar="MODEL", help="weights to score instead of trained ones")
]
Support = Annotated[
    Path | None, Option(help="a prompts.json to score on all other images of --data")
]
AdaptSteps = Annotated[
    int, Option(min=0, help="gradient steps on the masks of --support, such as 30")
]
BFloat16 = Annotated[bool, Option("--bfloat16", help="score --checkpoint under bfloat16 autocast")]


def numbers(text: str | None) -> list[int] | None:
    """Numbers separated by commas.

    Raises:
        UserError: a word is not a number.
    """
    if text is None:
        return None
    words = text.replace(",", " ").split()
    if not words or not all(word.isdecimal() for word in words):
        raise UserError(f"{text!r} is not a list of numbers such as 0,1,2")
    return [int(word) for word in words]


def names(text: str | None) -> list[str]:
    """Names separated by commas, as in a line of a CSV file: one with a comma is quoted."""
    if not text:
        return []
    (words,) = csv.reader([text], skipinitialspace=True)
    return [word.strip() for word in words if word.strip()]


def parameter(text: str) -> tuple[str, object]:
    """Name and value of a notebook's parameter, NAME=VALUE; a value that is not JSON is a string.

    Raises:
        UserError: there is no equals sign.
    """
    name, equals, value = text.partition("=")
    if not equals:
        raise UserError(f"-p {text!r} is not name=value")
    try:
        return name, json.loads(value)
    except ValueError:
        return name, value


def check_support_alone(context: Context) -> None:
    """Check that `evaluate --support` is given no option that would have no effect on it.

    Raises:
        UserError: there is one.
    """
    used = ("--support", "--data", "--checkpoint", "--adapt-steps")
    idle: list[str] = []
    for option in context.command.params:
        source = context.get_parameter_source(str(option.name))
        if source and source.name == "COMMANDLINE":
            idle += [name for name in option.opts if name not in used]
    if idle:
        raise UserError(
            "--support scores all classes of its prompts with the model of --checkpoint, else "
            f"with photos; leave out {', '.join(idle)}"
        )


def workbench(
    profile: str,
    data: Path | None,
    measurements: Sequence["Measurement"] = (),
    unseen: str | None = None,
) -> "Workbench":
    """The profile's workbench; files that the measurements need are downloaded."""
    import torch

    from la.experiment.setup.rounding import AS_BEFORE
    from la.experiment.setup.workbench import Workbench

    bench = Workbench.open(profile, data, names(unseen))
    as_before = not bench.cache.is_fixed and bench.numbers == "int8"
    if measurements:  # importing every method takes as long as checking a small folder
        from la.experiment.methods import method
        from la.experiment.planning.plan import prepare
        from la.experiment.setup.drawable import in_distinct_folds

        for measurement in measurements:
            method(measurement.method)  # raises for an unknown name, before the work
        if data is not None:
            measurements = in_distinct_folds(bench, measurements)
        prepare(bench, measurements)
    if os.environ.get("LA_DETERMINISTIC"):
        # cuBLAS is deterministic only with a fixed workspace, whose size it reads when it starts.
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
        torch.use_deterministic_algorithms(True)
    if bench.device.type == "cpu":
        torch.set_num_threads(1)  # the numbers must not depend on the number of cores
    if bench.ranks.is_main_process:
        print(bench.headline(), file=sys.stderr)
        if as_before:
            print(AS_BEFORE, file=sys.stderr)
    else:
        sys.stdout = open(os.devnull, "w")  # noqa: SIM115  only rank 0 prints
    return bench


def measurement(
    profile: str,
    method: str,
    fold: int,
    ways: int,
    shots: int,
    seed: int,
    episodes: int | None,
    prompts: str,
) -> "Measurement":
    """The measurement that the options describe.

    Raises:
        UserError: no episode is asked for, or there is no such prompt kind.
    """
    from la.experiment.setup.measurements import Measurement

    if episodes is None:
        episodes = profiles.profile(profile).evaluation.episodes
    if episodes < 1:
        raise UserError(f"--episodes {episodes}: at least 1 episode is needed")
    known = [kind.value for kind in PromptKind]
    words = prompts.split("+")
    for word in words:
        if word not in known:
            raise UserError(f"no prompt kind {word!r}; known: {', '.join(known)}, joined by +")
    kinds = tuple(PromptKind(word) for word in words)
    return Measurement(method, fold, ways, shots, seed, episodes, kinds=kinds)
