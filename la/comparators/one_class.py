"""An N-way row from any 1-way method, by the rule of the paper's Table 3."""

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from la.comparators.tokens import mask_absent_rows
from la.types import Batch, Prompts, Segmenter


@dataclass(frozen=True)
class OneClassAtATime:
    """Runs a segmenter once per class and merges the binary scores (b_c, f_c).

    As in the authors' code, f alone, not f - b, decides between classes, and the score of
    background is the b of the class with the largest f.

    `mispaired` reproduces a fault of that code: in each pass the masks of the class, k of
    them, are laid over the *first* k supports of the episode, in the order of the classes,
    whatever those show.
    """

    segmenter: Segmenter
    mispaired: bool = False

    def __call__(self, batch: Batch) -> Tensor:
        """Scores (B, C, h, w)."""
        foregrounds, backgrounds = [], []
        for row in range(1, batch.n_rows):
            has_row = batch.class_valid[:, row]
            binary = self.segmenter(one_class(batch, row, mispaired=self.mispaired))
            shape = (len(has_row), *binary.shape[1:])
            scores = binary.new_full(shape, -torch.inf)
            scores[has_row] = binary
            backgrounds.append(scores[:, 0])
            foregrounds.append(scores[:, 1])
        foreground = torch.stack(foregrounds, dim=1)  # (B, N, h, w)
        winner = foreground.argmax(1, keepdim=True)
        background = torch.stack(backgrounds, dim=1).gather(1, winner)
        return mask_absent_rows(torch.cat([background, foreground], dim=1), batch)


def one_class(batch: Batch, row: int, *, mispaired: bool = False) -> Batch:
    """The 1-way batch of a row: its episodes, with the supports that carry the class."""
    has_row = batch.class_valid[:, row]
    examples = (batch.prompts.example_row == row).nonzero()[:, 0]
    support = batch.prompts.example_support[examples]
    episode = batch.support_episode[support]
    if mispaired:
        support = _first_supports(batch, episode)
    renumbered = has_row.cumsum(0) - 1
    rows = torch.tensor([0, row], device=has_row.device)
    class_ids = batch.class_ids
    return replace(
        batch,
        source=replace(
            batch.source,
            query=batch.source.query[has_row],
            support=batch.source.support[support],
        ),
        support_episode=renumbered[episode],
        prompts=_only(batch.prompts, examples),
        token_rows=batch.token_rows[has_row][:, rows],
        class_valid=batch.class_valid[has_row][:, rows],
        class_ids=None if class_ids is None else class_ids[has_row][:, rows],
        target=batch.target[has_row],
        query_size=batch.query_size[has_row],
        objects=None,
    )


def _first_supports(batch: Batch, episode: Tensor) -> Tensor:
    """The first supports of each episode, as many as it has examples in `episode`.

    Supports are in the order of the classes that they carry. In the batch's own order the class
    that the query shows comes first, and the fault would not affect it.
    """
    n_supports = len(batch.support_episode)
    last = torch.full((n_supports,), batch.n_rows, device=episode.device)
    carriers, rows = batch.prompts.example_support, batch.prompts.example_row
    first_row = last.scatter_reduce(0, carriers, rows, "amin")
    by_class = batch.support_episode * (batch.n_rows + 1) + first_row
    order = by_class.argsort(stable=True)
    positions = torch.arange(len(episode), device=episode.device)
    rank = positions - torch.searchsorted(episode, episode)
    return order[torch.searchsorted(batch.support_episode, episode) + rank]


def _only(prompts: Prompts, examples: Tensor) -> Prompts:
    """The prompts of these examples, in ascending order, as row 1 of supports 0, 1, ..."""
    numbers = torch.arange(len(examples), device=examples.device)
    number_of = torch.full_like(prompts.example_row, -1)
    number_of[examples] = numbers
    mask_example = number_of[prompts.mask_example]
    has_mask = mask_example >= 0
    return Prompts(
        masks=prompts.masks[has_mask],
        mask_example=mask_example[has_mask],
        points=prompts.points[examples],
        point_labels=prompts.point_labels[examples],
        boxes=prompts.boxes[examples],
        boxes_valid=prompts.boxes_valid[examples],
        example_support=numbers,
        example_row=torch.ones_like(numbers),
    )
