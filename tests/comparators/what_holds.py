"""What holds for every comparator, trained or not: its rows, its episodes, its order."""

from dataclasses import replace

import torch

from la.types import Batch, Segmenter
from tests.comparators.episodes import second_episode

TOLERANCE = {"atol": 1e-4, "rtol": 1e-4}


def absent_rows_are_minus_infinity(segmenter: Segmenter, batch: Batch) -> None:
    """Rows that an episode does not have are -inf, and the others finite."""
    scores = segmenter(batch)
    valid = batch.class_valid[:, :, None, None].expand_as(scores)
    assert scores[valid].isfinite().all() and (scores[~valid] == -torch.inf).all()


def an_episode_scores_the_same_alone(segmenter: Segmenter, batch: Batch) -> None:
    """The second episode of the batch, which has two rows, scores as in the batch."""
    together = segmenter(batch)[1, :2]
    alone = segmenter(second_episode(batch))[0]
    torch.testing.assert_close(alone, together, **TOLERANCE)


def permuted_classes_permute_the_scores(segmenter: Segmenter, batch: Batch) -> None:
    """Classes 1 and 2 of the first episode exchanged: their scores are, too."""
    swap = torch.tensor([0, 2, 1])
    swapped = replace(
        batch,
        prompts=replace(batch.prompts, example_row=swap[batch.prompts.example_row]),
        class_valid=batch.class_valid[:, swap],
        class_ids=None if batch.class_ids is None else batch.class_ids[:, swap],
        target=swap[batch.target],
    )
    scores, permuted = segmenter(batch)[0], segmenter(swapped)[0, swap]
    torch.testing.assert_close(permuted, scores, **TOLERANCE)
