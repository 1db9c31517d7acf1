"""COCO-20^i: which classes are seen in training and which are kept for the test (paper 4.1)."""

from typing import Literal

import numpy as np

from la.errors import UserError

N_FOLDS = 4
Rule = Literal["interleaved", "blocks"]


def unseen(category_ids: np.ndarray, fold: int, rule: Rule) -> tuple[int, ...]:
    """Class ids of the fold, by the rank of each category among the sorted ids.

    `interleaved` holds ranks fold, fold + 4, fold + 8, ... (official code, HSNet, DCAMA, FPTrans);
    `blocks` holds a quarter of the ranks in one piece (PANet, most multi-way systems of Table 2).

    Raises:
        ValueError: there is no such fold, or too few categories to make four.
    """
    if fold not in range(N_FOLDS):
        raise UserError(f"no fold {fold}; known: 0, 1, 2, 3")
    ids = np.sort(category_ids)
    if len(ids) < N_FOLDS:
        raise UserError(
            f"{len(ids)} categories cannot be split into {N_FOLDS} folds; annotate at least 4"
        )
    parts = [ids[i::N_FOLDS] for i in range(N_FOLDS)]
    return tuple((parts if rule == "interleaved" else np.array_split(ids, N_FOLDS))[fold].tolist())


def seen(category_ids: np.ndarray, fold: int, rule: Rule) -> tuple[int, ...]:
    """The other three quarters: what training may use."""
    return tuple(np.setdiff1d(category_ids, unseen(category_ids, fold, rule)).tolist())
