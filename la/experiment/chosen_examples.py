"""Which images to mark: supports chosen by clustering a pool, against random ones.

The paper leaves the choice of examples to future work (Sec. 5). For each class a pool of images is
described by the mean feature of the class; the K medoids of the pool become the supports. They are
compared with K random images of the same pool on the same queries.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch.nn.functional as F

from la.comparators.raster import Raster
from la.comparators.tokens import tokens
from la.data.sampling.episodes import presence
from la.errors import UserError
from la.experiment.job import listed
from la.experiment.setup.measurements import Measurement
from la.experiment.setup.workbench import Workbench
from la.learn.evaluation import miou
from la.rng import stream
from la.types import Episode, Example, PromptKind, Segmenter
from la.wording import counted


@dataclass(frozen=True)
class Pool:
    """Images that show one class: those to choose supports from, and those to segment."""

    class_id: int
    candidates: tuple[int, ...]  # image ids
    queries: tuple[int, ...]


def medoids(vectors: np.ndarray, k: int) -> list[int]:
    """Positions of k vectors to which all others are nearest on average (k-medoids).

    Args:
        vectors: (n, V) of length 1; the distance is 1 minus the cosine.

    Returns:
        k positions, ascending. Medoids are added greedily and then exchanged one at a time as
        long as an exchange helps.

    Raises:
        ValueError: there are fewer than k vectors.
    """
    n = len(vectors)
    if not 1 <= k <= n:
        raise ValueError(f"{k} medoids of {n} vectors cannot be chosen")
    distance = 1 - vectors @ vectors.T  # (n, n)

    def cost(positions: Sequence[int]) -> float:
        return float(distance[:, list(positions)].min(1).sum())

    chosen: list[int] = []
    while len(chosen) < k:
        rest = [i for i in range(n) if i not in chosen]
        chosen.append(min(rest, key=lambda i: cost([*chosen, i])))
    improved = True
    while improved:
        improved = False
        for place in range(k):
            others = chosen[:place] + chosen[place + 1 :]
            rest = [i for i in range(n) if i not in others]
            best = min(rest, key=lambda i: cost([*others, i]))
            if cost([*others, best]) < cost(chosen) - 1e-12:
                chosen[place] = best
                improved = True
    return sorted(chosen)


def pools(
    bench: Workbench,
    fold: int,
    *,
    n_candidates: int,
    n_queries: int,
) -> list[Pool]:
    """A pool for each unseen class of the fold that has enough images; shuffled by a fixed seed."""
    index = bench.data.test
    class_ids = bench.classes(fold, seen=False)
    shown = presence(index, class_ids, bench.rules("clean"))  # (n_images, n_classes)
    of_classes = []
    for column, class_id in enumerate(class_ids):
        images = index.image_ids[shown[:, column]]
        if len(images) <= n_candidates:
            continue
        order = stream(class_id, "pool").permutation(len(images))
        shuffled = images[order].tolist()
        queries = shuffled[n_candidates : n_candidates + n_queries]
        of_classes.append(Pool(class_id, tuple(shuffled[:n_candidates]), tuple(queries)))
    return of_classes


def most_images(bench: Workbench, folds: Sequence[int]) -> int:
    """The test images of the most frequent unseen class of these folds; 0 without a class."""
    most = 0
    for fold in folds:
        class_ids = bench.classes(fold, seen=False)
        shown = presence(bench.data.test, class_ids, bench.rules("clean"))
        most = max(most, int(shown.sum(0).max(initial=0)))
    return most


def describe(bench: Workbench, pool: Pool, fold: int) -> np.ndarray:
    """The mean feature of the class in each candidate image, (n, V), of length 1."""
    episodes = [episode(pool, image_id, [image_id]) for image_id in pool.candidates]
    loader = bench.loader(bench.data.test, fold, images=pool.candidates)
    model = bench.config.model
    values = tokens(loader(episodes), Raster(model.image_size, model.mask_size))
    return F.normalize(values.prototypes[:, 1], dim=-1).numpy()


def compare(
    bench: Workbench,
    segmenter: Segmenter,
    fold: int,
    *,
    k_shots: int,
    n_candidates: int = 20,
    n_queries: int = 10,
    n_draws: int = 5,
    bias: float = 0.0,
) -> pd.DataFrame:
    """Chosen and random supports on the same queries, a row per class.

    Args:
        segmenter: scores the queries; its background's score gets `bias`.
        n_draws: how often random supports are drawn; their IoU is averaged.

    Returns:
        Columns class_id, chosen and random: the IoU of the class over its queries, in percent.

    Raises:
        UserError: no class of the fold has more than `n_candidates` images.
    """
    rows = []
    of_classes = pools(bench, fold, n_candidates=n_candidates, n_queries=n_queries)
    if not of_classes:
        raise UserError(
            f"no class of fold {fold} has more than {counted(n_candidates, 'image')}; "
            "ask for fewer candidates"
        )
    for pool in of_classes:
        vectors = describe(bench, pool, fold)
        supports = [[pool.candidates[i] for i in medoids(vectors, k_shots)]]
        supports += random_supports(pool, k_shots, n_draws)
        scores = []
        for images in supports:
            scores.append(iou(bench, segmenter, pool, fold, images, bias))
        chosen, *random = scores
        row = {"class_id": pool.class_id, "chosen": chosen, "random": np.mean(random)}
        rows.append(row)
    return pd.DataFrame(rows)


def random_supports(pool: Pool, k_shots: int, n_draws: int) -> list[list[int]]:
    """Draws of K different candidates of a pool, as image ids; the same in every call."""
    draws = []
    for draw in range(n_draws):
        rng = stream(pool.class_id, "draw", draw)
        positions = rng.choice(len(pool.candidates), size=k_shots, replace=False)
        draws.append([pool.candidates[i] for i in positions])
    return draws


def iou(
    bench: Workbench,
    segmenter: Segmenter,
    pool: Pool,
    fold: int,
    supports: list[int],
    bias: float,
) -> float:
    """IoU of the class over all queries with the same supports, in percent."""
    episodes = [episode(pool, query_id, supports) for query_id in pool.queries]
    setting = Measurement("", fold, 1, len(supports), 0, len(episodes))
    counts = listed(bench, setting, episodes).count(segmenter, (bias,))
    return 100 * miou(episodes, counts[0])


def episode(pool: Pool, query_id: int, supports: Sequence[int]) -> Episode:
    """One class, prompted by a mask on each support image; equal supports have equal prompts."""
    examples = tuple(Example(i, 1, (PromptKind.MASK,)) for i in range(len(supports)))
    return Episode(
        query_id,
        (pool.class_id,),
        tuple(supports),
        examples,
        seed=pool.class_id,
    )
