"""The command line: `python -m la COMMAND`. It parses, calls and prints."""

import argparse
import json
import logging
import os
import sys
from pathlib import Path

from la import config as configs
from la.errors import UserError
from la.types import PromptKind


def main(words: list[str] | None = None) -> int:
    """Run one command and return its exit status.

    A user's mistake, or an error of the disk or the network, is one sentence on stderr and
    status 2. Any other exception keeps its traceback.
    """
    arguments = _parser().parse_args(words)
    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    try:
        if getattr(arguments, "profile", None) == "auto":
            from la.experiment.plan import auto_profile

            arguments.profile, why = auto_profile()
            print(why, file=sys.stderr)
        return arguments.run(arguments) or 0
    except (UserError, OSError) as error:
        print(f"la {arguments.command}: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("stopped; the same command goes on where it was", file=sys.stderr)
        return 130


def _run(a) -> None:
    from la.experiment.workbench import Workbench
    from la.report import freshness

    given = {
        k: getattr(a, k)
        for k in ("folds", "seeds", "episodes", "methods")
        if getattr(a, k) is not None
    }
    a.data = a.data and a.data.resolve()  # the notebook runs in another folder
    given |= dict(_parameter(p) for p in a.parameter) | {"data": a.data and str(a.data)}
    bench = Workbench.open(a.profile, a.data)
    page = bench.results / f"{a.notebook}.ipynb"
    if page.exists() and not a.recompute:
        print(bench.headline(), file=sys.stderr)
        inputs = freshness.inputs_of_page(bench, a.notebook, given)
        changes = freshness.changes_since(page, inputs)
        if not changes:
            print(f"{page}: nothing changed since it was made; RECOMPUTE=1 makes it again")
            return
        print(f"{page.name} is made again: {', '.join(changes)}", file=sys.stderr)
    from la.report import notebooks  # slow to import, so after the check

    values, wanted = notebooks.plan_of(a.notebook, a.profile, given)
    bench = _bench(a, wanted)
    print(notebooks.run(bench, a.notebook, values, wanted, recompute=a.recompute))
    if bench.ranks.is_main_process:
        freshness.record_inputs(page, freshness.inputs_of_page(bench, a.notebook, given))


def _train(a) -> int | None:
    from la.experiment.measurements import Measurement
    from la.experiment.methods import method
    from la.experiment.runs import Run
    from la.files import progress_bar
    from la.learn.training import REQUEUE, Stopped

    bench = _bench(a, [Measurement(a.method, a.fold, 1, 1, a.seed, 1)])
    run = Run.of(bench, method(a.method), a.fold, a.seed)
    try:
        with progress_bar(
            desc=f"{a.method} fold {a.fold}",
            unit="step",
            total=run.config.train.steps,
            disable=not bench.ranks.is_main_process,
        ) as bar:
            path = run.train(
                init=a.init, stop_after=a.stop_after, tracker=a.tracker, report=bar.update
            )
    except Stopped as stopped:
        print(stopped, file=sys.stderr)
        return 0 if a.stop_after else REQUEUE
    print(path)


def _evaluate(a) -> None:
    import torch

    from la.experiment import job
    from la.experiment.run import compute

    if a.bfloat16 and not a.checkpoint:
        raise UserError("--bfloat16 is for a --checkpoint; what is trained and stored is float32")
    measurement = _measurement(a)
    bench = _bench(a, [measurement])
    if a.checkpoint:
        with torch.autocast(bench.device.type, torch.bfloat16, enabled=a.bfloat16):
            result = job.measure(bench, measurement, job.loaded(bench, a.checkpoint))
    else:
        result = compute(bench, "evaluate", [measurement])[0]
    scores = result.scores
    names = map(bench.data.test.class_name, scores.classes)
    values = (value if value == value else None for value in scores.iou.tolist())
    per_class = dict(zip(names, values, strict=True))
    shown = {
        "miou_star": scores.miou_star,
        "per_class": per_class,
        "episodes": measurement.episodes,
    }
    same = ("episodes_sha256", "checkpoint_sha256", "seconds")
    print(json.dumps(shown | {name: getattr(result, name) for name in same}))


def _episodes(a) -> None:
    for episode in _bench(a).episodes(_measurement(a)):
        print(episode.to_json())


def _data(a) -> None:
    data = _bench(a).data
    for split, index in (("train", data.train), ("test", data.test)):
        print(
            f"{split}: {len(index.image_ids)} images, {len(index.annotation_image)} instances of "
            f"{len(index.category_ids)} classes, {index.source.name}"
        )
    print(f"{data.name} {data.fingerprint}: {data.note}")


def _fetch(a) -> None:
    from la.data.download import coco_folder, fetch
    from la.experiment.workbench import HOME

    own = coco_folder(HOME / "cache") if a.what == "coco" else configs.weights_folder()
    print(fetch(a.what, a.root or own, mirror=a.mirror))


def _plan(a) -> None:
    from la.experiment.pace import measure
    from la.experiment.plan import plan
    from la.experiment.workbench import Workbench
    from la.report import notebooks

    bench = Workbench.open(a.profile, a.data)
    _, wanted = notebooks.plan_of(a.table, bench.config.profile, {})
    print(plan(bench, wanted, measure(bench.config, bench.device) if a.measure else None))


def _features(a) -> None:
    bench = _bench(a)
    for split, index in (("train", bench.data.train), ("test", bench.data.test)):
        ids = index.image_ids.tolist()[: a.limit]
        if a.test_episodes:
            ids = sorted(bench.test_images(a.test_episodes)) if split == "test" else []
        missing = len(bench.store(index).missing(ids))
        gigabytes = missing * bench.feature_bytes / 1e9
        there = len(ids) - missing
        print(f"{split}: {there} images there, {missing} to make ({gigabytes:.2f} GB)", flush=True)
        bench.features(index, ids)


def _models(a) -> None:
    from la.learn.checkpoints import KNOWN

    for model in KNOWN:
        print(f"{model.name}\n    {model.megabytes} MB from {model.source}; {model.licence}")
        print(f"    trained on {model.trained_on}")


def _predict(a) -> None:
    from la.learn.checkpoints import load
    from la.predict.predictor import Predictor, predict_folder, read_support

    predictor = Predictor(load(a.model))
    print(predict_folder(predictor, read_support(predictor, a.support), a.images, a.out))


def _export(a) -> None:
    from la.experiment.job import Job
    from la.experiment.measurements import Measurement
    from la.learn import checkpoints

    setting = Measurement(a.method, a.fold, a.ways, a.shots, a.seed, episodes=1)
    bench = _bench(a, [setting])
    job = Job(bench, setting)
    if job.run is None:
        raise UserError(f"{job.method.label} is not trained; choose la")
    bias = job.fitted().fit.bias
    model = checkpoints.load(job.run.model)
    path = a.weights or checkpoints.QUICK
    checkpoints.save(model, path, trained_on=job.run.trained_on, bias=bias)
    print(f"{path}: bias {bias:g}, {job.run.trained_on}")


def _pretrain(a) -> None:
    from la.learn.pretraining import pretrain, save
    from la.model.backbone import TINY_WEIGHTS

    path = a.weights or TINY_WEIGHTS
    save(pretrain(steps=a.steps, seed=0), path, steps=a.steps, seed=0, n_images=12_000)
    print(path)


def _bench(a, wanted=()):
    """The profile's workbench; what the measurements of a paper profile lack is downloaded."""
    import torch

    from la.experiment.methods import method
    from la.experiment.plan import prepare
    from la.experiment.workbench import Workbench

    for measurement in wanted:
        method(measurement.method)  # raises for an unknown name, before the work
    bench = Workbench.open(a.profile, a.data)
    if wanted:
        prepare(bench, wanted)
    if bench.device.type == "cpu":
        torch.set_num_threads(1)  # equal numbers anywhere, and no threads that wait for a core
    if bench.ranks.is_main_process:
        print(bench.headline(), file=sys.stderr)
    else:
        sys.stdout = open(os.devnull, "w")  # noqa: SIM115  one process speaks for all
    return bench


def _measurement(a):
    from la.experiment.measurements import Measurement

    episodes = a.episodes
    if episodes is None:
        episodes = configs.profile(a.profile).evaluation.episodes
    if episodes < 1:
        raise UserError(f"--episodes {episodes}: at least 1 episode is needed")
    known = [kind.value for kind in PromptKind]
    for kind in a.prompts.split("+"):
        if kind not in known:
            raise UserError(f"no prompt kind {kind!r}; known: {', '.join(known)}, joined by +")
    kinds = tuple(PromptKind(kind) for kind in a.prompts.split("+"))
    return Measurement(a.method, a.fold, a.ways, a.shots, a.seed, episodes, kinds=kinds)


def _parameter(text: str) -> tuple[str, object]:
    name, equals, value = text.partition("=")
    if not equals:
        raise UserError(f"-p {text!r} is not name=value")
    try:
        return name, json.loads(value)
    except ValueError:
        return name, value


def _numbers(text: str) -> list[int]:
    return [int(word) for word in text.replace(",", " ").split()]


OPTIONS = {
    "notebook": {"help": "name of a notebook in notebooks/"},
    "what": {"choices": ("coco", "sam", "mae", "published")},
    "--profile": {"default": "quick", "help": ", ".join(["auto", *configs.PROFILES])},
    "--data": {"type": Path, "help": "a COCO-format folder instead of the profile's data"},
    "--method": {"default": "la", "help": "a row of the tables"},
    "--fold": {"type": int, "default": 0},
    "--ways": {"type": int, "default": 1},
    "--shots": {"type": int, "default": 1},
    "--episodes": {"type": int, "help": "of each list; without it, as many as the profile has"},
    "--seed": {"type": int, "default": 0, "help": "of the episode list and of the training"},
    "--prompts": {"default": "mask", "help": "mask, box, point, or several joined by +"},
    "--folds": {"type": _numbers},
    "--methods": {"type": lambda text: text.split(","), "help": "rows of the table, joined by ,"},
    "--seeds": {"type": _numbers},
    "-p": {"dest": "parameter", "action": "append", "default": [], "metavar": "NAME=VALUE"},
    "--recompute": {
        "action": "store_true",
        "help": "make the page and what other code computed anew",
    },
    "--init": {"metavar": "MODEL", "help": "fine-tune this model or checkpoint"},
    "--stop-after": {"type": int, "metavar": "STEPS", "help": "save and leave after these"},
    "--tracker": {"metavar": "NAME", "help": "tensorboard, or another that accelerate knows"},
    "--checkpoint": {"type": Path, "help": "weights to score instead of trained ones"},
    "--bfloat16": {"action": "store_true", "help": "score --checkpoint under bfloat16 autocast"},
    "--limit": {"type": int, "metavar": "N", "help": "the first N images of each split"},
    "--test-episodes": {"type": int, "metavar": "N", "help": "for the first N of each list alone"},
    "--table": {"default": "table2", "help": "the table to plan for"},
    "--measure": {"action": argparse.BooleanOptionalAction, "default": True},
    "--root": {"type": Path, "metavar": "DIR"},
    "--mirror": {"metavar": "URL", "help": "scheme and host to use instead"},
    "--model": {"default": "quick"},
    "--support": {"type": Path, "required": True},
    "--images": {"type": Path, "required": True},
    "--out": {"type": Path, "required": True},
    "--steps": {"type": int, "default": 1400},
    "--weights": {"type": Path, "help": "where they are written"},
}
_WHERE = "--profile --data"
_CELL = f"{_WHERE} --method --fold --ways --shots --episodes --seed --prompts"
COMMANDS = {
    "run": (_run, f"notebook {_WHERE} --folds --seeds --episodes --methods -p --recompute",
            "execute a notebook with papermill"),
    "train": (_train, f"{_WHERE} --method --fold --seed --init --stop-after --tracker",
              "train one method on the seen classes of one fold"),
    "evaluate": (_evaluate, f"{_CELL} --checkpoint --bfloat16",
                 "score one method in one setting, as JSON"),
    "episodes": (_episodes, _CELL, "print an episode list as JSON lines"),
    "data": (_data, _WHERE, "write the embedded data set, or describe a folder"),
    "features": (_features, f"{_WHERE} --limit --test-episodes",
                 "make the feature cache ahead of training"),
    "plan": (_plan, f"{_WHERE} --table --measure",
             "stages, gigabytes, hours, and what would stop the run"),
    "fetch": (_fetch, "what --root --mirror", "get COCO, a backbone or the published models"),
    "models": (_models, "", "list the models that can be loaded by name"),
    "predict": (_predict, "--model --support --images --out", "segment a folder of images"),
    "export": (_export, f"{_WHERE} --method --fold --ways --shots --seed --weights",
               "write a trained model with its bias; without --weights as the shipped one"),
    "pretrain-backbone": (_pretrain, "--steps --weights", "make the tiny backbone's weights again"),
}  # fmt: skip


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("python -m la", description="Label Anything, the workbook.")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for name, (function, options, text) in COMMANDS.items():
        command = commands.add_parser(name, help=text, description=text)
        command.set_defaults(run=function)
        for option in options.split():
            command.add_argument(option, **OPTIONS[option])
    return parser


if __name__ == "__main__":
    sys.exit(main())
