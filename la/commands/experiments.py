"""Commands that train, score and render.

Imports are inside the functions, so that a command loads only what it needs.
"""

import json
import math
import shlex
import sys
from typing import Annotated

from typer import Argument, Context, Option

from la.commands import options, own_data
from la.commands.app import app
from la.commands.options import (
    AdaptSteps,
    BFloat16,
    Checkpoint,
    Data,
    Episodes,
    Fold,
    Folds,
    Init,
    Method,
    Methods,
    Parameters,
    Profile,
    Prompts,
    Recompute,
    Seed,
    Seeds,
    Shots,
    StopAfter,
    Support,
    Tracker,
    Unseen,
    Ways,
)
from la.errors import UserError

AGAIN = "--recompute, or RECOMPUTE=1 for make,"


@app.command()
def run(
    notebook: Annotated[str, Argument(help="name of a notebook in notebooks/")],
    profile: Profile = "quick",
    data: Data = None,
    folds: Folds = None,
    unseen: Unseen = None,
    seeds: Seeds = None,
    episodes: Episodes = None,
    methods: Methods = None,
    parameter: Parameters = None,
    recompute: Recompute = False,
) -> None:
    """Execute a notebook with papermill."""
    from la.experiment.setup.workbench import Workbench
    from la.report.pages import freshness

    data = data and data.resolve()  # the notebook runs in another folder
    chosen: dict[str, object] = {
        "folds": options.numbers(folds),
        "unseen": options.names(unseen) or None,
        "seeds": options.numbers(seeds),
        "episodes": episodes,
        "methods": methods and methods.split(","),
    }
    parameters = {name: value for name, value in chosen.items() if value is not None}
    by_name = dict(options.parameter(text) for text in parameter or [])
    for name in ("profile", "data", "unseen"):  # which say where the page and its results go
        if name in by_name:
            raise UserError(f"-p {name}: give --{name} instead")
    parameters |= by_name
    parameters["data"] = data and str(data)
    bench = Workbench.open(profile, data, options.names(unseen))
    page = bench.results / f"{notebook}.ipynb"
    if page.exists() and not recompute:
        print(bench.headline(), file=sys.stderr)
        inputs = freshness.inputs_of_page(bench, notebook, parameters)
        changes = freshness.changes_since(page, inputs)
        if changes == ["parameters changed"] and not methods:
            # A page with the trained comparators shows the usual rows as well.
            with_all = parameters | {"methods": ["all"]}
            inputs = freshness.inputs_of_page(bench, notebook, with_all)
            changes = freshness.changes_since(page, inputs) and changes
        if not changes:
            print(f"{page}: nothing changed since it was made; {AGAIN} makes it again")
            return
        print(f"{page.name} is made again: {', '.join(changes)}", file=sys.stderr)
    from la.report.pages import notebooks  # slow to import, so after the check

    values, measurements = notebooks.plan_of(notebook, profile, parameters)
    bench = options.workbench(profile, data, measurements, unseen)
    print(notebooks.run(bench, notebook, values, measurements, recompute=recompute))
    if bench.ranks.is_main_process:
        freshness.record_inputs(page, freshness.inputs_of_page(bench, notebook, parameters))


@app.command()
def train(
    profile: Profile = "quick",
    data: Data = None,
    method: Method = "la",
    fold: Fold = 0,
    unseen: Unseen = None,
    seed: Seed = 0,
    init: Init = None,
    stop_after: StopAfter = None,
    tracker: Tracker = None,
    recompute: Recompute = False,
) -> int:
    """Train one method on the seen classes of one fold."""
    from la.experiment.methods import method as method_of
    from la.experiment.runs import Run
    from la.experiment.setup.measurements import Measurement
    from la.files import progress_bar
    from la.learn.training import REQUEUE, Stopped

    setting = Measurement(method, fold, 1, 1, seed, episodes=1)
    bench = options.workbench(profile, data, [setting], unseen)
    run = Run.of(bench, method_of(method), fold, seed)
    if recompute:
        bench.once(run.set_aside)
    try:
        with progress_bar(
            desc=f"{method} fold {fold}",
            unit="step",
            total=run.config.train.steps,
            disable=not bench.ranks.is_main_process,
        ) as bar:

            def report(n_steps: int) -> None:
                bar.update(n_steps)

            path = run.train(
                init=init,
                stop_after=stop_after,
                tracker=tracker,
                report=report,
            )
    except Stopped as stopped:
        words = ["--profile", profile, "--method", method, "--fold", fold, "--seed", seed]
        words += ["--data", data] if data else []
        words += ["--unseen", unseen] if unseen else []
        words += ["--init", init] if init else []
        words += ["--tracker", tracker] if tracker else []
        command = shlex.join(["python", "-m", "la", "train", *map(str, words)])
        print(f"{stopped}: {command}\nthe run is kept in {run.folder}", file=sys.stderr)
        return 0 if stop_after else REQUEUE
    print(path)
    return 0


@app.command()
def evaluate(
    context: Context,
    profile: Profile = "quick",
    data: Data = None,
    method: Method = "la",
    fold: Fold = 0,
    unseen: Unseen = None,
    ways: Ways = 1,
    shots: Shots = 1,
    episodes: Episodes = None,
    seed: Seed = 0,
    prompts: Prompts = "mask",
    checkpoint: Checkpoint = None,
    bfloat16: BFloat16 = False,
    support: Support = None,
    adapt_steps: AdaptSteps = 0,
    recompute: Recompute = False,
) -> None:
    """Score one method in one setting, or one support set on a folder, as JSON."""
    if support is not None:
        options.check_support_alone(context)
        own_data.evaluate_support(support, data, checkpoint, adapt_steps)
        return
    if adapt_steps:
        raise UserError("--adapt-steps is for a support set; give --support, or leave it out")
    import torch

    from la.experiment.job import Job, loaded
    from la.experiment.run import compute

    if bfloat16 and not checkpoint:
        raise UserError("--bfloat16 is for a --checkpoint; what is trained and stored is float32")
    if checkpoint and method != "la":
        raise UserError(
            f"--checkpoint {checkpoint} is a model already; leave out --method {method}"
        )
    measurement = options.measurement(profile, method, fold, ways, shots, seed, episodes, prompts)
    bench = options.workbench(profile, data, [measurement], unseen)
    if checkpoint:
        with torch.autocast(bench.device.type, torch.bfloat16, enabled=bfloat16):
            result = Job(bench, measurement).count(loaded(bench, checkpoint))
    else:
        result = compute(bench, "evaluate", [measurement], recompute=recompute)[0]
    per_class = {}
    for class_id, iou in zip(result.scores.classes, result.scores.iou.tolist(), strict=True):
        if not math.isnan(iou):  # an episode asked for the class
            per_class[bench.data.test.class_name(class_id)] = iou
    printed = {
        "miou_star": result.scores.miou_star,
        "per_class": per_class,
        "episodes": measurement.episodes,
        "episodes_sha256": result.episodes_sha256,
        "checkpoint_sha256": result.checkpoint_sha256,
        "seconds": result.seconds,
    }
    print(json.dumps(printed))


@app.command()
def episodes(
    profile: Profile = "quick",
    data: Data = None,
    fold: Fold = 0,
    unseen: Unseen = None,
    ways: Ways = 1,
    shots: Shots = 1,
    episodes: Episodes = None,
    seed: Seed = 0,
    prompts: Prompts = "mask",
) -> None:
    """Print an episode list as JSON lines."""
    measurement = options.measurement(profile, "", fold, ways, shots, seed, episodes, prompts)
    for episode in options.workbench(profile, data, unseen=unseen).episodes(measurement):
        print(episode.to_json())


@app.command()
def plan(
    profile: Profile = "quick",
    data: Data = None,
    folds: Folds = None,
    unseen: Unseen = None,
    table: Annotated[str, Option(help="the table to plan for")] = "table2",
    measure: Annotated[bool, Option(help="time a few steps, to estimate hours")] = True,
) -> None:
    """Stages, gigabytes, hours, what would stop the run, and which way fits this machine."""
    from la.experiment.planning import plan, ways
    from la.experiment.setup.drawable import drawable
    from la.experiment.setup.workbench import Workbench
    from la.report.pages import notebooks

    parameters = {} if folds is None else {"folds": options.numbers(folds)}
    bench = Workbench.open(profile, data, options.names(unseen))
    _, measurements = notebooks.plan_of(table, profile, parameters)
    if data is not None:
        print(bench.headline(), file=sys.stderr)
        measurements = drawable(bench, measurements)
    speed = ways.measure_speed(bench) if measure else None
    print(plan.plan(bench, measurements, speed))
    if speed and bench.config.data == "coco" and data is None:
        planned = {}
        for name in ways.PROFILES:
            planned[name] = notebooks.plan_of(table, name, parameters)[1]
        print(ways.report(bench, planned, speed.rates.disk))
