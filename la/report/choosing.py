"""What examples chosen by clustering gain over random ones, as a table and a sentence."""

from collections.abc import Sequence

import pandas as pd

from la.errors import UserError
from la.experiment.chosen_examples import compare, pools
from la.experiment.job import Job
from la.experiment.measurements import Measurement
from la.experiment.methods import label
from la.experiment.workbench import Workbench
from la.report.finding import Finding
from la.report.statistics import t_interval

METHODS = ("la", "threshold_prototype")


def by_class(
    bench: Workbench,
    folds: Sequence[int],
    shots: Sequence[int],
    *,
    n_candidates: int,
    n_queries: int,
    n_draws: int,
) -> pd.DataFrame:
    """IoU of each unseen class with chosen and with random supports, in percent.

    Each method has the bias that it has in the tables.

    Returns:
        Columns method, k_shots, fold, class_id, chosen, random; without folds in which no class
        has images enough.

    Raises:
        UserError: no class has more than `n_candidates` images.
    """
    frames = []
    possible = []
    for fold in folds:
        if pools(bench, fold, n_candidates=n_candidates, n_queries=n_queries):
            possible.append(fold)
    if not possible:
        raise UserError(
            f"no class has more than {n_candidates} test images to choose from; lower that number, "
            f"as with python -m la run choosing -p candidates={n_candidates // 2}"
        )
    for method in METHODS:
        for fold in possible:
            for k_shots in shots:
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
    columns = ["method", "k_shots", "fold", "class_id", "chosen", "random"]
    return pd.concat(frames, ignore_index=True)[columns]


def gains(classes: pd.DataFrame) -> pd.DataFrame:
    """The mean over classes, and the gain with half of its 95 % interval over classes.

    Args:
        classes: from `by_class`.

    Returns:
        Indexed by method and k_shots; columns classes, chosen, random, gain, half_width.
    """
    rows = {}
    for key, frame in classes.groupby(["method", "k_shots"], sort=False):
        gain = t_interval((frame["chosen"] - frame["random"]).tolist())
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
    """The gain of LA for each number of examples, in a sentence."""
    rows = table.loc[label("la")]
    parts = []
    for k_shots, row in rows.iterrows():
        resolved = abs(row["gain"]) > row["half_width"]
        text = f"{row['gain']:+.1f} ± {row['half_width']:.1f} points with K = {k_shots}"
        parts.append(text if resolved else f"{text} (unresolved)")
    sentence = f"Examples chosen by clustering change LA's IoU by {', '.join(parts)}."
    return Finding(sentence)
