"""The command line: `python -m la COMMAND`. It parses, calls and prints."""

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
    except (ValueError, OSError, RuntimeError) as error:
        known = isinstance(error, ValueError | OSError) or type(error).__module__.startswith("la.")
        if not known and type(error).__name__ != "OutOfMemoryError":
            raise
        print(f"la {arguments.command}: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("stopped; the same command goes on where it was", file=sys.stderr)
        return 130


def _run(a) -> None:
    from la import notebooks

    given = {k: getattr(a, k) for k in ("folds", "seeds", "episodes") if getattr(a, k) is not None}
    parameters = given | dict(_parameter(p) for p in a.parameter)
    a.profile = _profile(a)
    _bench(a, notebooks.plan_of(a.notebook, a.profile, parameters)[1])
    print(notebooks.run(a.notebook, a.profile, data=a.data, parameters=parameters))


def _train(a) -> int:
    from tqdm.auto import tqdm

    from la.results import Cell
    from la.training import REQUEUE, Stopped

    bench = _bench(a, [Cell(a.method, a.fold, 1, 1, 0, 0)])
    steps = bench.config.train.steps
    options = {"init": a.init, "stop_after": a.stop_after}
    try:
        with tqdm(total=steps, desc=f"{a.method} fold {a.fold}", unit="step") as bar:
            path = bench.train(a.method, a.fold, report=bar.update, **options)
    except Stopped as stopped:
        print(stopped, file=sys.stderr)
        return 0 if a.stop_after else REQUEUE
    print(path)
    return 0


def _evaluate(a) -> None:
    from la import experiments

    cell = _cell(a)
    bench = _bench(a, [cell])
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


def _fetch(a) -> None:
    from la.data.download import coco_folder, fetch
    from la.workbench import HOME

    own = coco_folder(HOME / "cache") if a.what == "coco" else configs.weights_folder()
    print(fetch(a.what, a.root or own, mirror=a.mirror))


def _plan(a) -> None:
    from la import tables
    from la.plan import measure, plan
    from la.workbench import Workbench

    bench = Workbench.open(_profile(a), a.data)
    wanted = tables.cells(a.table, bench.config.profile, folds=range(4))
    pace = measure(bench.config, bench.device) if a.measure else None
    print(plan(bench, wanted, pace))


def _features(a) -> None:
    bench = _bench(a)
    for split, index in (("train", bench.data.train), ("test", bench.data.test)):
        ids = index.image_ids.tolist()[: a.limit]
        if a.test_episodes:
            ids = sorted(bench.test_images(a.test_episodes)) if split == "test" else []
        missing = len(bench.store(index).missing(ids))
        gigabytes = missing * bench.feature_bytes / 1e9
        print(f"{split}: {len(ids) - missing} images there, {missing} to make ({gigabytes:.2f} GB)")
        bench.features(index, ids)


def _models(a) -> None:
    from la.checkpoints import known_models

    for model in known_models():
        print(f"{model.name}\n    {model.megabytes} MB from {model.source}; {model.licence}")
        print(f"    trained on {model.trained_on}")


def _predict(a) -> None:
    from la.checkpoints import load
    from la.predictor import Predictor, predict_folder, read_support

    predictor = Predictor(load(a.model))
    print(predict_folder(predictor, read_support(predictor, a.support), a.images, a.out))


def _pretrain(a) -> None:
    from la.model.tiny import WEIGHTS
    from la.pretraining import pretrain, save

    save(pretrain(steps=a.steps, seed=0), a.out or WEIGHTS, steps=a.steps, seed=0, n_images=12_000)
    print(a.out or WEIGHTS)


def _profile(a) -> str:
    """The profile's name; `auto` is replaced by what it stands for here, and says why."""
    if a.profile != "auto":
        return a.profile
    from la.plan import auto_profile

    name, why = auto_profile()
    print(why, file=sys.stderr)
    return name


def _bench(a, wanted=()):
    """The profile's workbench; what the `wanted` cells of a paper profile lack is fetched."""
    import torch

    from la.plan import prepare
    from la.workbench import Workbench

    bench = Workbench.open(_profile(a), a.data)
    if wanted:
        prepare(bench, wanted)
    if bench.device.type == "cpu":
        torch.set_num_threads(
            1
        )  # equal numbers on any machine, and no threads that wait for a core
    print(bench.headline(), file=sys.stderr)
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
    where.add_argument("--profile", default="quick", help=", ".join(["auto", *configs.PROFILES]))
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
    added.add_argument("--init", metavar="MODEL", help="fine-tune this model or checkpoint")
    added.add_argument("--stop-after", type=int, metavar="STEPS", help="save and leave after these")
    added = command("evaluate", _evaluate, "score one method in one setting, as JSON", where, cell)
    added.add_argument("--checkpoint", type=Path, help="weights to score instead of trained ones")
    command("episodes", _episodes, "print an episode list as JSON lines", where, cell)
    command("data", _data, "write the embedded data set, or describe a folder", where)
    added = command("features", _features, "make the feature cache ahead of training", where)
    added.add_argument("--limit", type=int, metavar="N", help="the first N images of each split")
    added.add_argument("--test-episodes", type=int, metavar="N",
                       help="only images of the first N test episodes of each list")  # fmt: skip
    added = command("plan", _plan, "stages, gigabytes, hours, and what would stop the run", where)
    added.add_argument("--table", default="table2", help="the table to plan for")
    added.add_argument("--measure", action=argparse.BooleanOptionalAction, default=True)
    added = command("fetch", _fetch, "get COCO, a backbone or the published models")
    added.add_argument("what", choices=("coco", "sam", "mae", "published"))
    added.add_argument("--root", type=Path, metavar="DIR")
    added.add_argument("--mirror", metavar="URL", help="scheme and host to use instead")
    command("models", _models, "list the models that can be loaded by name")
    added = command("predict", _predict, "segment a folder of images")
    for name in ("--model", "--support", "--images", "--out"):
        kind = str if name == "--model" else Path
        added.add_argument(name, type=kind, required=name != "--model", default="quick")
    added = command("pretrain-backbone", _pretrain, "make the tiny backbone's weights again")
    added.add_argument("--steps", type=int, default=1400)
    added.add_argument("--out", type=Path)
    return parser


if __name__ == "__main__":
    sys.exit(main())
