"""COCO-20^i: which classes are seen in training and which are kept for the test (paper 4.1)."""

from typing import Literal

import numpy as np

from la.errors import UserError

N_FOLDS = 4
Rule = Literal["interleaved", "blocks"]


def unseen(
    category_ids: np.ndarray,
    fold: int,
    rule: Rule,
) -> tuple[int, ...]:
    """Class ids of the fold, by the rank of each category among the sorted ids.

    `interleaved` holds ranks fold, fold + 4, fold + 8, ... (official code, HSNet, DCAMA, FPTrans);
    `blocks` holds a quarter of the ranks in one piece (PANet, most multi-way systems of Table 2).
    Fewer than four classes are too few to hold any out: each fold tests all of them.

    Raises:
        UserError: there is no such fold, or no category.
    """
    if fold not in range(N_FOLDS):
        raise UserError(f"no fold {fold}; known: 0, 1, 2, 3")
    ids = np.sort(category_ids)
    if not len(ids):
        raise UserError("the data have no class; annotate at least one object")
    if holds_none_out(ids):
        of_fold = ids
    elif rule == "interleaved":
        of_fold = ids[fold::N_FOLDS]
    else:
        of_fold = np.array_split(ids, N_FOLDS)[fold]
    return tuple(of_fold.tolist())


def seen(
    category_ids: np.ndarray,
    fold: int,
    rule: Rule,
) -> tuple[int, ...]:
    """The classes that training may use: the other three quarters, or all if none is held out."""
    of_fold = unseen(category_ids, fold, rule)
    if holds_none_out(category_ids):
        return of_fold
    return tuple(np.setdiff1d(category_ids, of_fold).tolist())


def holds_none_out(category_ids: np.ndarray) -> bool:
    """Whether there are too few classes for folds, so that all are trained and tested on."""
    return len(category_ids) < N_FOLDS
