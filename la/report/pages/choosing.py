"""What examples chosen by clustering gain over random ones: the parts of the page `choosing`."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from la.errors import UserError
from la.experiment.chosen_examples import compare, most_images, pools
from la.experiment.job import Job
from la.experiment.methods import label
from la.experiment.setup.measurements import Measurement
from la.experiment.setup.workbench import Workbench
from la.provenance import provenance
from la.report.figures.canvas import COLOURS, LABEL, stacked
from la.report.scores.statistics import Interval, t_interval
from la.report.verdicts.finding import Finding
from la.wording import counted

METHODS = ("la", "threshold_prototype")
EXTREMES = 5  # classes that are listed at each end


@dataclass(frozen=True)
class Study:
    """Chosen against random supports, by class, and where the numbers come from."""

    classes: pd.DataFrame  # columns method, k_shots, fold, class_id, chosen, random; in percent
    facts: Mapping[str, str]  # what a reader needs to compute them again


def by_class(
    bench: Workbench,
    folds: Sequence[int],
    shots: Sequence[int],
    *,
    n_candidates: int,
    n_queries: int,
    n_draws: int,
) -> Study:
    """IoU of each unseen class with chosen and with random supports.

    Each method has the bias that it has in the tables. Folds in which no class has enough images
    are left out, and so is a K that is not below the number of candidates.

    Raises:
        UserError: no class has more than `n_candidates` images, or a number is too small.
    """
    _check_numbers(n_candidates, n_queries, n_draws)
    folds = bench.distinct(folds)
    possible = []
    for fold in folds:
        if pools(bench, fold, n_candidates=n_candidates, n_queries=n_queries):
            possible.append(fold)
    if not possible:
        raise UserError(_too_few_images(n_candidates, most_images(bench, folds)))
    frames = []
    models = set()
    codes = set()
    for method in METHODS:
        for fold in possible:
            for k_shots in (k for k in shots if k < n_candidates):
                job = Job(bench, Measurement(method, fold, 1, k_shots, 0, 1))
                fitted = job.fitted()
                frame = compare(
                    bench,
                    fitted.segmenter,
                    fold,
                    k_shots=k_shots,
                    n_candidates=n_candidates,
                    n_queries=n_queries,
                    n_draws=n_draws,
                    bias=fitted.fit.bias,
                )
                frames.append(frame.assign(method=label(method), k_shots=k_shots, fold=fold))
                codes.add(job.code)
                if fitted.checkpoint_sha256:
                    models.add(f"{fitted.checkpoint_sha256[:16]} (fold {fold})")
    columns = ["method", "k_shots", "fold", "class_id", "chosen", "random"]
    facts = {
        "data": f"{bench.data.name} {bench.data.fingerprint}",
        "checkpoints (SHA-256, first digits)": ", ".join(sorted(models)),
        "scoring code (digest)": ", ".join(sorted(codes)),
    }
    classes = pd.concat(frames, ignore_index=True)[columns]
    return Study(classes, facts | provenance())


def _check_numbers(n_candidates: int, n_queries: int, n_draws: int) -> None:
    """Raise a UserError that names the parameter which leaves nothing to compare."""
    for name, number, least in (
        ("candidates", n_candidates, 2),
        ("queries", n_queries, 1),
        ("draws", n_draws, 1),
    ):
        if number < least:
            raise UserError(f"{name}={number} is too few; at least {least} are needed")


def _too_few_images(n_candidates: int, most: int) -> str:
    """That no class has enough images, and how many candidates the data allow."""
    text = f"no class has more than {counted(n_candidates, 'test image')} to choose from"
    if most < 3:
        return f"{text}, and 2 candidates and a query are the least; annotate more images"
    advice = f"python -m la run choosing -p candidates={max(2, most // 2)}"
    return f"{text}, and none more than {most}; lower that number, as with {advice}"


def gains(classes: pd.DataFrame) -> pd.DataFrame:
    """The mean over classes, and the gain with half of its 95 % interval over classes.

    Args:
        classes: of a `Study`.

    Returns:
        Indexed by method and k_shots; columns classes, chosen, random, gain, half_width, which is
        NaN for a single class.
    """
    rows = {}
    for key, frame in classes.groupby(["method", "k_shots"], sort=False):
        gain = t_interval(_gain(frame).tolist())
        rows[key] = {
            "classes": len(frame),
            "chosen": frame["chosen"].mean(),
            "random": frame["random"].mean(),
            "gain": gain.value,
            "half_width": gain.half_width,
        }
    table = pd.DataFrame.from_dict(rows, orient="index")
    return table.rename_axis(["method", "k_shots"])


def finding(table: pd.DataFrame) -> Finding:
    """The gain of LA for each number of examples, in a sentence.

    Args:
        table: from `gains`.
    """
    parts = []
    for k_shots, row in table.loc[label("la")].iterrows():
        gain = _interval(row)
        text = f"{gain.points} points with K = {k_shots}"
        parts.append(text if gain.resolved else f"{text} (unresolved)")
    sentence = f"Examples chosen by clustering change LA's IoU by {', '.join(parts)}."
    return Finding(sentence)


def chart(classes: pd.DataFrame) -> Figure:
    """A panel per method, a row per K: dots for the gains of classes, a mark for their mean.

    Args:
        classes: of a `Study`.
    """
    table = gains(classes)
    methods = list(table.index.get_level_values("method").unique())
    n_rows = table.index.get_level_values("k_shots").nunique()
    figure, axes = stacked(len(methods), 0.7 + 0.4 * n_rows, shares_x=True)
    for axis, method in zip(axes, methods, strict=True):
        rows = table.loc[method]
        for row, (k_shots, means) in enumerate(rows.iterrows()):
            is_shown = (classes["method"] == method) & (classes["k_shots"] == k_shots)
            dots = _gain(classes[is_shown])
            axis.scatter(dots, [row] * len(dots), s=18, fc="none", ec=COLOURS[1])
            gain = _interval(means)
            axis.errorbar(
                gain.value,
                row,
                xerr=np.nan_to_num(gain.half_width),
                fmt="kD",
                ms=4,
                capsize=3,
            )
            axis.annotate(
                f"{gain.value:+.1f}",
                (gain.value, row),
                xytext=(0, 6),
                textcoords="offset points",
                ha="center",
                fontsize=LABEL,
            )
        axis.axvline(0, color="black", lw=0.8)
        axis.set(yticks=range(len(rows)), yticklabels=[f"K = {k}" for k in rows.index])
        axis.set(title=method)
        axis.margins(y=0.25)
        axis.invert_yaxis()
    axes[-1].set_xlabel("chosen minus random examples\n(points of IoU)")
    return figure


def printed(table: pd.DataFrame) -> pd.DataFrame:
    """`gains` as the page prints it: rounded, the gain with its interval and a verdict."""
    rows = {}
    for key, row in table.iterrows():
        gain = _interval(row)
        rows[key] = {
            "classes": f"{row['classes']:.0f}",
            "chosen, IoU (%)": f"{row['chosen']:.1f}",
            "random, IoU (%)": f"{row['random']:.1f}",
            "gain ± (points)": gain.points,
            " ": "" if gain.resolved else "unresolved",
        }
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis(["", "K"])


def extremes(classes: pd.DataFrame, class_name: Callable[[int], str]) -> pd.DataFrame:
    """The classes that gain most and least with one example for LA, in percent.

    Args:
        classes: of a `Study`.
        class_name: gives the name of a class id.
    """
    is_shown = (classes["method"] == label("la")) & (classes["k_shots"] == classes["k_shots"].min())
    one = classes[is_shown]
    names = {"chosen": "chosen, IoU (%)", "random": "random, IoU (%)"}
    table = one[list(names)].rename(columns=names)
    table["gain (points)"] = _gain(one)
    table.index = pd.Index(map(class_name, one["class_id"]), name="class")
    table = table.sort_values("gain (points)", ascending=False).round(1)
    if len(table) <= 2 * EXTREMES:
        return table
    return pd.concat([table.head(EXTREMES), table.tail(EXTREMES)])


def basis(headline: str, study: Study, *, n_candidates: int, n_queries: int, n_draws: int) -> str:
    """How the numbers of the page were made, in two lines of Markdown."""
    classes = study.classes
    n_classes = classes.groupby(["fold", "class_id"]).ngroups
    n_folds = classes["fold"].nunique()
    text = (
        f"{counted(n_classes, 'class')} of {counted(n_folds, 'fold')}, 1-way, masks; "
        f"for each class a pool of {counted(n_candidates, 'image')} to choose from, up to "
        f"{counted(n_queries, 'other image')} as queries, and "
        f"{counted(n_draws, 'random choice')}, whose scores are averaged. LA has one training for "
        "each fold. ± is half of the 95 % t-interval of the gain over classes."
    )
    return f"{headline}\n\n{text}"


def _gain(classes: pd.DataFrame) -> pd.Series:
    return classes["chosen"] - classes["random"]


def _interval(row: pd.Series) -> Interval:
    """The gain in a row of `gains`."""
    gain, half_width = row["gain"], row["half_width"]
    return Interval(gain, gain - half_width, gain + half_width)
