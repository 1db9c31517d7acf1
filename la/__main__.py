"""The command line: `python -m la COMMAND`. It parses, calls, and prints; everything else is in `la`."""

import argparse
import json
import logging
import sys
from pathlib import Path

from la import config as configs
from la.types import PromptKind


def main(words: list[str] | None = None) -> int:
    """Run one command; a mistake of the caller's is one sentence on stderr and status 2."""
    parser = _parser()
    arguments = parser.parse_args(words)
    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    try:
        return arguments.run(arguments) or 0
    except (ValueError, FileNotFoundError, NotADirectoryError, PermissionError) as error:
        print(f"la {arguments.command}: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("stopped; the same command goes on where it was", file=sys.stderr)
        return 130


def _run(a) -> None:
    from la import notebooks

    given = {k: getattr(a, k) for k in ("folds", "seeds", "episodes") if getattr(a, k) is not None}
    extra = dict(_parameter(p) for p in a.parameter)
    path = notebooks.run(a.notebook, a.profile, data=a.data, parameters=given | extra)
    print(path)


def _train(a) -> int:
    from tqdm.auto import tqdm

    from la.training import REQUEUE, Stopped

    bench = _bench(a)
    steps = bench.config.train.steps
    try:
        with tqdm(total=steps, desc=f"{a.method} fold {a.fold}", unit="step") as bar:
            path = bench.train(a.method, a.fold, stop_after=a.stop_after, report=bar.update)
    except Stopped as stopped:
        print(stopped, file=sys.stderr)
        return 0 if a.stop_after else REQUEUE
    print(path)
    return 0


def _evaluate(a) -> None:
    from la import experiments

    bench, cell = _bench(a), _cell(a)
    if a.checkpoint:
        result = bench.run_checkpoint(cell, a.checkpoint)
    else:
        result = experiments.compute(bench, [cell])[0]
    scores = result.scores
    shown = {
        "miou_star": scores.miou_star,
        "per_class": {
            bench.data.test.class_name(c): _number(v)
            for c, v in zip(scores.classes, scores.iou, strict=True)
        },
        "episodes": a.episodes,
        "episodes_sha256": result.episodes_sha256,
        "checkpoint_sha256": result.checkpoint_sha256,
        "seconds": result.seconds,
    }
    print(json.dumps(shown))


def _episodes(a) -> None:
    bench, cell = _bench(a), _cell(a)
    for episode in bench.episodes(cell):
        print(episode.to_json())


def _data(a) -> None:
    bench = _bench(a)
    for split in ("train", "test"):
        index = getattr(bench.data, split)
        print(
            f"{split}: {len(index.image_ids)} images, {len(index.annotation_image)} instances of "
            f"{len(index.category_ids)} classes, {index.source.name}"
        )
    print(f"{bench.data.name} {bench.data.fingerprint}: {bench.data.note}")


def _bench(a):
    import torch

    from la.workbench import Workbench

    config = configs.profile(a.profile)
    bench = Workbench(config, a.data)
    if bench.device.type == "cpu":
        torch.set_num_threads(1)  # equal numbers on any machine, and no threads that wait for a core
    why = "a GPU is there" if bench.device.type == "cuda" else "no GPU is there"
    print(
        f"profile {config.profile} on {bench.device.type} ({why}); {bench.data.note}",
        file=sys.stderr,
    )
    return bench


def _cell(a):
    from la.results import Cell

    return Cell(
        a.method, a.fold, a.ways, a.shots, a.seed, a.episodes,
        kinds=tuple(PromptKind(k) for k in a.prompts.split("+")),
    )  # fmt: skip


def _parameter(text: str) -> tuple[str, object]:
    name, equals, value = text.partition("=")
    if not equals:
        raise ValueError(f"-p {text!r} is not name=value")
    try:
        return name, json.loads(value)
    except ValueError:
        return name, value


def _number(value: float) -> float | None:
    return None if value != value else float(value)


def _numbers(text: str) -> list[int]:
    return [int(word) for word in text.replace(",", " ").split()]


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("python -m la", description="Label Anything, the workbook.")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")

    def command(name, run, text, *shared):
        added = commands.add_parser(name, help=text, description=text, parents=shared)
        added.set_defaults(run=run)
        return added

    where = argparse.ArgumentParser(add_help=False)
    where.add_argument("--profile", default="quick", help="quick, paper-sam or paper-mae")
    where.add_argument(
        "--data", type=Path, help="a COCO-format folder instead of the profile's data"
    )
    cell = argparse.ArgumentParser(add_help=False)
    cell.add_argument("--method", default="la+", help="a row of the tables")
    cell.add_argument("--fold", type=int, default=0)
    cell.add_argument("--ways", type=int, default=1)
    cell.add_argument("--shots", type=int, default=1)
    cell.add_argument("--episodes", type=int, default=1000)
    cell.add_argument("--seed", type=int, default=0)
    cell.add_argument("--prompts", default="mask", help="mask, box, point, or several joined by +")

    added = command("run", _run, "execute a notebook with papermill", where)
    added.add_argument("notebook", help="name of a notebook in notebooks/")
    added.add_argument("--folds", type=_numbers)
    added.add_argument("--seeds", type=_numbers)
    added.add_argument("--episodes", type=int)
    added.add_argument("-p", "--parameter", action="append", default=[], metavar="NAME=VALUE")
    added = command("train", _train, "train one method on the seen classes of one fold", where)
    added.add_argument("--method", default="la+")
    added.add_argument("--fold", type=int, default=0)
    added.add_argument("--stop-after", type=int, metavar="STEPS", help="save and leave after these")
    added = command("evaluate", _evaluate, "score one method in one setting, as JSON", where, cell)
    added.add_argument("--checkpoint", type=Path, help="weights to score instead of trained ones")
    command("episodes", _episodes, "print an episode list as JSON lines", where, cell)
    command("data", _data, "write the embedded data set, or describe a folder", where)
    return parser


if __name__ == "__main__":
    sys.exit(main())
