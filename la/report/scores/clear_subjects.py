"""Scores on clear subjects: episodes whose class covers a good part of both photographs."""

import math
from collections.abc import Iterable

import numpy as np
import pandas as pd

from la.errors import UserError
from la.experiment.methods import label
from la.experiment.setup.measurements import Result
from la.experiment.setup.workbench import Workbench
from la.learn.metrics import Scores
from la.report.scores.tables import in_order, prompts_of
from la.types import Episode

Clear = list[tuple[tuple[int, ...], np.ndarray]]  # class ids and confusion of each episode

SMALLEST_SHARE = 0.08  # of the query and of the support


def clear_subjects(bench: Workbench, results: Iterable[Result]) -> pd.DataFrame:
    """mIoU* in percent on the 1-way 1-shot episodes with a clear subject, a row per method.

    The lists of all folds and seeds are joined, since few episodes are left of each; a column per
    kind of prompts, and the number of these episodes.

    Raises:
        UserError: none of the results is 1-way 1-shot.
    """
    clear: dict[tuple[str, str], Clear] = {}  # by method and prompts
    for result in in_order(results):
        m = result.measurement
        if (m.n_ways, m.k_shots) == (1, 1):
            key = label(m.method), prompts_of(m)
            clear.setdefault(key, []).extend(_clear_episodes(bench, result))
    if not clear:
        raise UserError("clear subjects are scored with 1-way 1-shot episodes, and there are none")
    columns: dict[str, dict[str, float]] = {}
    counts: dict[str, int] = {}
    for (method, prompts), episodes in clear.items():
        column = columns.setdefault(prompts, {})
        column[method] = round(100 * _miou(episodes), 1)
        counts[method] = len(episodes)  # the same for all kinds of prompts
    return pd.DataFrame(columns).assign(episodes=pd.Series(counts))


def _clear_episodes(bench: Workbench, result: Result) -> Clear:
    """The episodes of a result whose class is large in the query and in the support."""
    clear = []
    fold = result.measurement.fold
    episodes = bench.episodes(result.measurement)
    for episode, confusion in zip(episodes, result.confusion, strict=True):
        query_share = confusion[1].sum() / confusion.sum()
        smaller = min(query_share, support_share(bench, fold, episode))
        if smaller >= SMALLEST_SHARE:
            clear.append((episode.class_ids, confusion))
    return clear


def _miou(episodes: Clear) -> float:
    """mIoU* over the classes of these episodes; NaN without any."""
    if not episodes:
        return math.nan
    classes: set[int] = set()
    for class_ids, _ in episodes:
        classes.update(class_ids)
    return Scores.of(episodes, classes).miou_star


def support_share(bench: Workbench, fold: int, episode: Episode) -> float:
    """The share of the support's pixels that the class covers in a 1-way 1-shot episode."""
    loader = bench.loader(bench.data.test, fold, source="ids")
    (image_id,), (class_id,) = episode.support_ids, episode.class_ids
    canvas = np.zeros(bench.data.test.size(image_id), bool)
    for instance in loader.instances(image_id, class_id):
        instance.paint(canvas, True)
    return float(canvas.mean())
