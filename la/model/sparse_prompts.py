"""Points and boxes of a batch as places and kinds, and pairs that have no prompt."""

from dataclasses import replace

import torch
import torch.nn.functional as F
from torch import Tensor

from la.types import Prompts

NEGATIVE, POSITIVE, TOP_LEFT, BOTTOM_RIGHT, PADDING, NOTHING = range(6)  # kinds of sparse prompt


def kinds(prompts: Prompts, corners_valid: Tensor) -> Tensor:
    """(E, P + 2Q): of points, and of box corners, which alternate top-left, bottom-right."""
    labels = prompts.point_labels
    signs = torch.where(labels > 0, POSITIVE, NEGATIVE)
    points = torch.where(labels == 0, PADDING, signs)
    number = torch.arange(corners_valid.shape[1], device=labels.device)
    corner = TOP_LEFT + number % 2
    corners = torch.where(corners_valid, corner, PADDING)
    return torch.cat([points, corners], 1)


def places(prompts: Prompts) -> Tensor:
    """(E, P + 2Q, 2): the points, then the corners of the boxes."""
    corners = prompts.boxes.unflatten(2, (2, 2)).flatten(1, 2)
    return torch.cat([prompts.points, corners], dim=1)


def with_unprompted(
    prompts: Prompts,
    support: Tensor,
    row: Tensor,
) -> Prompts:
    """`prompts` and, after them, one pair without any prompt for each (support, row)."""
    n_more = len(support)
    of_matrix = (0, 0, 0, n_more)  # rows that are added to (E, P) and (E, P, 2)
    of_cube = (0, 0, 0, 0, 0, n_more)
    return replace(
        prompts,
        points=F.pad(prompts.points, of_cube),
        point_labels=F.pad(prompts.point_labels, of_matrix),
        boxes=F.pad(prompts.boxes, of_cube),
        boxes_valid=F.pad(prompts.boxes_valid, of_matrix),
        example_support=torch.cat([prompts.example_support, support]),
        example_row=torch.cat([prompts.example_row, row]),
    )


def has_mask(prompts: Prompts) -> Tensor:
    """(E,) bool: pairs that carry a mask."""
    none = torch.zeros_like(prompts.example_row, dtype=torch.bool)
    return none.index_fill(0, prompts.mask_example, True)
