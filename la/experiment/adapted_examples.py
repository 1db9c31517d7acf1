"""What adapting the decoder to the examples brings: equal examples and queries, with and without.

As on a user's photographs, one support set is used for many queries. The examples are the random
ones of `la.experiment.chosen_examples`.
"""

import numpy as np
import pandas as pd
import torch

from la.experiment.chosen_examples import episode, iou, pools, random_supports
from la.experiment.setup.workbench import Workbench
from la.learn.adaptation import adapted_weights, with_decoder
from la.learn.device import to_device
from la.model.label_anything import LabelAnything
from la.types import Episode, Segmenter


def compare(
    bench: Workbench,
    segmenter: Segmenter,
    fold: int,
    *,
    k_shots: int,
    n_candidates: int,
    n_queries: int,
    n_draws: int,
    bias: float = 0.0,
) -> pd.DataFrame:
    """The adapted and the unchanged decoder on the same supports and queries, a row per class.

    Args:
        segmenter: a `LabelAnything`; its background's score gets `bias` in both cases.
        n_draws: how often supports are drawn; the IoU is averaged over them.

    Returns:
        Columns class_id, adapted and unchanged: the IoU of the class over its queries, in percent.
    """
    assert isinstance(segmenter, LabelAnything)
    rows = []
    for pool in pools(bench, fold, n_candidates=n_candidates, n_queries=n_queries):
        before, after = [], []
        for images in random_supports(pool, k_shots, n_draws):
            before.append(iou(bench, segmenter, pool, fold, images, bias))
            supports = episode(pool, pool.queries[0], images)
            adapted = _adapted(bench, segmenter, fold, supports)
            after.append(iou(bench, adapted, pool, fold, images, bias))
        row = {"class_id": pool.class_id, "adapted": np.mean(after), "unchanged": np.mean(before)}
        rows.append(row)
    return pd.DataFrame(rows)


def _adapted(
    bench: Workbench,
    model: LabelAnything,
    fold: int,
    supports: Episode,
) -> LabelAnything:
    """The model with a decoder that is adapted to the supports of an episode."""
    loader = bench.loader(bench.data.test, fold, images=bench.images_of([supports]))
    batch = to_device(loader([supports]), bench.device)
    with torch.no_grad():
        images = model.encode(batch, batch.source.support)
    return with_decoder(model, adapted_weights(model, images, batch.prompts))
