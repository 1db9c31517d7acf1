"""What the start of the weights does: learning curves, and the start without each of its parts."""

from collections.abc import Iterable
from dataclasses import asdict

import pandas as pd

from la.config import Config, profile
from la.experiment.measurements import Result
from la.experiment.methods import CURVES, LADDER, VARIANTS
from la.report.analysis import ablations
from la.report.findings import Finding
from la.report.statistics import t_interval


def learning_curves(results: Iterable[Result], config: Config) -> pd.DataFrame:
    """mIoU* in percent over the length of the training, for both starts of the weights.

    A row per start, setting, classes ("seen" or "unseen") and number of steps: `value` is the
    mean over folds and trainings, `half_width` half of its 95 % t-interval over trainings.
    """
    rows = []
    for r in results:
        m = r.measurement
        if m.method in CURVES:
            run = CURVES[m.method].configure(config)
            what = (run.model.start, m.setting, m.classes, run.train.steps)
            rows.append((*what, m.seed, 100 * r.scores.miou_star))
    keys = ["start", "setting", "classes", "steps"]
    lines = pd.DataFrame(rows, columns=[*keys, "seed", "value"])
    trainings = lines.groupby([*keys, "seed"], sort=False)["value"].mean()
    groups = trainings.groupby(keys, sort=False)
    half_width = groups.agg(lambda values: t_interval(values).half_width)
    return pd.DataFrame({"value": groups.mean(), "half_width": half_width}).reset_index()


def differences_from_paper(config: Config) -> pd.DataFrame:
    """Every setting in which a profile differs from `paper-sam`, read from the configurations."""
    paper = profile("paper-sam")
    rows = {}
    for part in ("model", "episodes", "train"):
        ours, theirs = asdict(getattr(config, part)), asdict(getattr(paper, part))
        for name, value in ours.items():
            if value != theirs[name]:
                rows[part, name] = {config.profile: str(value), paper.profile: str(theirs[name])}
    return pd.DataFrame.from_dict(rows, orient="index")


def ladder(results: Iterable[Result]) -> pd.DataFrame:
    """The agreeing start with each part switched off, minus the complete one; as `ablations`."""
    kept = []
    for r in results:
        m = r.measurement
        if m.classes == "unseen" and (m.method in LADDER or m.method in VARIANTS):
            kept.append(r)
    return ablations(kept)


def what_the_start_does(curves: pd.DataFrame) -> Finding:
    """The usual start against the agreeing one at the longest training of both.

    Args:
        curves: `learning_curves`, with columns start, steps, setting, classes, value.
    """
    unseen = curves[curves["classes"] == "unseen"]
    setting = unseen["setting"].iloc[0] if len(unseen) else ""
    one = unseen[unseen["setting"] == setting].pivot_table("value", "steps", "start")
    if not {"usual", "agreeing"} <= set(one.columns):
        return Finding("The two starts of the weights have not both been trained here.")
    usual, agreeing = one["usual"].dropna(), one["agreeing"].dropna()
    return Finding(
        f"On unseen classes in {setting} LA scores {agreeing.iloc[0]:.1f} % after "
        f"{agreeing.index[0]} steps when its weights begin agreeing; with the usual start it "
        f"has {usual.iloc[-1]:.1f} % after {usual.index[-1]} steps."
    )
