"""What the start of the weights does: learning curves, and what differs from the paper."""

from collections.abc import Iterable, Sequence
from dataclasses import asdict
from statistics import fmean

import pandas as pd

from la.config import Config
from la.data.sampling.batches import drawable_shapes
from la.errors import UserError
from la.experiment.job import Job
from la.experiment.methods import CURVES, VARIANTS, label
from la.experiment.run import histories
from la.experiment.setup.measurements import Measurement, Result
from la.experiment.setup.workbench import Workbench
from la.profiles import profile
from la.report.scores.statistics import t_interval
from la.report.verdicts.finding import Finding
from la.rng import stream
from la.wording import counted, numbered


def learning_curves(results: Iterable[Result], config: Config) -> pd.DataFrame:
    """mIoU* in percent over the length of the training, for both starts of the weights.

    A row per start, setting, classes ("seen" or "unseen") and number of steps: `value` is the
    mean over folds and trainings, `half_width` half of its 95 % t-interval over trainings.
    """
    rows = []
    for r in results:
        m = r.measurement
        configure = CURVES[m.method].configure if m.method in CURVES else None
        if configure:
            run = configure(config)
            key = (run.model.start, m.setting, m.classes, run.train.steps)
            rows.append((*key, m.seed, 100 * r.scores.miou_star))
    keys = ["start", "setting", "classes", "steps"]
    points = pd.DataFrame(rows, columns=[*keys, "seed", "value"])
    trainings = points.groupby([*keys, "seed"], sort=False)["value"].mean()
    groups = trainings.groupby(keys, sort=False)
    half_width = groups.agg(lambda values: t_interval(values).half_width)
    return pd.DataFrame({"value": groups.mean(), "half_width": half_width}).reset_index()


def curve_table(curves: pd.DataFrame) -> pd.DataFrame:
    """`learning_curves` as text: rows (setting, classes, start), a column per number of steps."""
    texts = []
    for value, half_width in zip(curves["value"], curves["half_width"], strict=True):
        interval = "" if pd.isna(half_width) else f" ± {half_width:.1f}"
        texts.append(f"{value:.1f}{interval}")
    steps = [counted(n, "step") for n in curves["steps"]]
    shown = curves.assign(text=texts, steps=steps)
    rows = ["setting", "classes", "start"]
    wide = shown.pivot_table("text", rows, "steps", aggfunc="first", sort=False)
    return wide.rename_axis(columns=None).fillna("")


def with_shapes(bench: Workbench, name: str, fold: int) -> pd.DataFrame:
    """The history of the first training of a method, with the shape of each step's batches.

    Columns: those of `la.histories`, and shape, such as "16 x 1-way 1-shot".
    """
    run = Job(bench, Measurement(name, fold, 1, 1, 0, 1)).run
    if run is None:
        raise UserError(f"{name} is not trained, so it has no history")
    history = histories(bench, [name], fold)[label(name)]
    config = run.config
    seen = bench.classes(fold, seen=True)
    rules = bench.rules(config.evaluation.protocol)
    shapes = drawable_shapes(run.index, seen, rules, config.episodes.shapes)
    drawn = [batch_shape(shapes, config.train.seed, step) for step in history["step"]]
    return history.assign(shape=drawn)


def batch_shape(
    shapes: Sequence[tuple[int, int, int]],
    seed: int,
    step: int,
) -> str:
    """The (B, N, K) that `la.data.sampling.batches.TrainingBatches` draws for a step, in words."""
    rng = stream(seed, "batch shapes", step)
    n_episodes, n_ways, k_shots = shapes[int(rng.integers(len(shapes)))]
    return f"{n_episodes} x {n_ways}-way {k_shots}-shot"


def differences_from_paper(config: Config) -> pd.DataFrame:
    """Every setting in which a profile differs from `paper-sam`, read from the configurations."""
    paper = profile("paper-sam")
    rows: dict[tuple[str, str], dict[str, str]] = {}
    for part in ("model", "episodes", "train"):
        ours = asdict(getattr(config, part))
        theirs = asdict(getattr(paper, part))
        for name, value in ours.items():
            if value != theirs[name]:
                rows[part, name.replace("_", " ")] = {
                    config.profile: _in_words(name, value),
                    paper.profile: _in_words(name, theirs[name]),
                }
    return pd.DataFrame.from_dict(rows, orient="index")


def _in_words(name: str, value: object) -> str:
    """A setting as a reader writes it: no Python values, shapes as N-way K-shot."""
    if name == "shapes" and isinstance(value, tuple):
        shapes = [f"{size} x {n_ways}-way {k_shots}-shot" for size, n_ways, k_shots in value]
        return ", ".join(shapes)
    if isinstance(value, bool):
        return "yes" if value else "no"
    return "none" if value is None else str(value)


def two_lengths(results: Sequence[Result], config: Config) -> str:
    """Why the complete start scores less in the ladder than in the learning curves: the steps.

    Both are of the same folds, lists and seeds; "" where one of them has not been scored.
    """
    few, many = VARIANTS["la complete"], CURVES["la agreeing x1"]
    scores: dict[str, list[float]] = {few.label: [], many.label: []}
    shown = [r for r in results if r.measurement.classes == "unseen"]
    for r in shown:
        name = label(r.measurement.method)
        if name in scores and r.measurement.setting == shown[0].measurement.setting:
            scores[name].append(100 * r.scores.miou_star)
    if not all(scores.values()):
        return ""
    assert few.configure is not None and many.configure is not None
    n_few, n_many = few.configure(config).train.steps, many.configure(config).train.steps
    setting = shown[0].measurement.setting
    return (
        f"The complete start scores {fmean(scores[few.label]):.1f} % here and "
        f"{fmean(scores[many.label]):.1f} % in the learning curves, both in {setting} on the same "
        f"folds, lists and unseen classes. The trainings differ: those of the ladder take "
        f"{counted(n_few, 'step')}, those of this point of the curves {n_many}. Table 4 trains the "
        "complete model for as few steps as the ladder; its mean is over more trainings and lists."
    )


def what_the_start_does(curves: pd.DataFrame, folds: Sequence[int]) -> Finding:
    """The agreeing start after its shortest training against the usual one after its longest.

    Args:
        curves: `learning_curves`, with columns start, steps, setting, classes, value.
        folds: whose scores they are.
    """
    unseen = curves[curves["classes"] == "unseen"]
    if not {"usual", "agreeing"} <= set(unseen["start"]):
        return Finding("The two starts of the weights have not both been trained here.")
    setting = unseen["setting"].iloc[0]
    shown = unseen[unseen["setting"] == setting].sort_values("steps")
    agreeing = shown[shown["start"] == "agreeing"].iloc[0]
    usual = shown[shown["start"] == "usual"].iloc[-1]
    fold = numbered("fold", folds)
    first, last = counted(agreeing["steps"], "step"), counted(usual["steps"], "step")
    return Finding(
        f"On the unseen classes of {fold} in {setting} LA scores {agreeing['value']:.1f} % after "
        f"{first} from the agreeing start, and {usual['value']:.1f} % after {last} from the usual "
        "one."
    )
