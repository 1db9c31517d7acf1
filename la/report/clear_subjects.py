"""Scores on clear subjects: episodes whose class covers a good part of both photographs."""

from collections.abc import Iterable

import numpy as np
import pandas as pd

from la.errors import UserError
from la.experiment.measurements import Result
from la.experiment.methods import label
from la.experiment.workbench import Workbench
from la.learn.metrics import Scores
from la.report.tables import in_order, prompts_of
from la.types import Episode

SMALLEST_SHARE = 0.08  # of the query and of the support


def clear_subjects(bench: Workbench, results: Iterable[Result]) -> pd.DataFrame:
    """mIoU* in percent on the 1-way 1-shot episodes with a clear subject, a row per method.

    The lists of all folds and seeds are joined, since few episodes are left of each; a column per
    kind of prompts, and the number of these episodes.

    Raises:
        UserError: none of the results is 1-way 1-shot.
    """
    parts: dict[tuple[str, str], list[tuple[tuple[int, ...], np.ndarray]]] = {}
    for result in in_order(results):
        m = result.measurement
        if (m.n_ways, m.k_shots) != (1, 1):
            continue
        row = parts.setdefault((label(m.method), prompts_of(m)), [])
        episodes = bench.episodes(m)
        for episode, confusion in zip(episodes, result.confusion, strict=True):
            truth = confusion[1].sum() / confusion.sum()
            if truth >= SMALLEST_SHARE and support_share(bench, m.fold, episode) >= SMALLEST_SHARE:
                row.append((episode.class_ids, confusion))
    if not parts:
        raise UserError("clear subjects are scored with 1-way 1-shot episodes, and there are none")
    columns: dict[str, dict[str, float]] = {}
    counts: dict[str, int] = {}
    for (method, prompts), clear in parts.items():
        classes = {class_id for ids, _ in clear for class_id in ids}
        miou = Scores.of(clear, classes).miou_star if clear else np.nan
        columns.setdefault(prompts, {})[method] = round(100 * miou, 1)
        counts[method] = len(clear)  # whatever the prompts are, the episodes are the same
    return pd.DataFrame(columns).assign(episodes=pd.Series(counts))


def support_share(bench: Workbench, fold: int, episode: Episode) -> float:
    """The share of the support's pixels that the class covers in a 1-way 1-shot episode."""
    loader = bench.loader(bench.data.test, fold, source="ids")
    (image_id,), (class_id,) = episode.support_ids, episode.class_ids
    canvas = np.zeros(bench.data.test.size(image_id), bool)
    for instance in loader.instances(image_id, class_id):
        instance.paint(canvas, True)
    return float(canvas.mean())
