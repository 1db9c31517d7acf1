"""Weighted k-means of the support tokens of every row at once, without a random start."""

import torch
import torch.nn.functional as F
from torch import Tensor

from la.comparators.tokens import share

OUT_OF_REACH = -1e4  # closeness of a part without members; below every other one


def k_means(
    points: Tensor,
    weights: Tensor,
    *,
    parts: int,
    rounds: int,
    spherical: bool = False,
) -> tuple[Tensor, Tensor]:
    """The parts of each row.

    The parts begin with equal mass in the order of the points. The gradient flows
    through the last means, not through the assignment.

    Args:
        points: (B, J, D); of length 1 where `spherical`.
        weights: (B, J, C), how much each point belongs to each row.
        spherical: centres have length 1 and a point joins the one of the largest cosine;
            otherwise it joins the nearest in Euclidean distance.

    Returns:
        (B, C, parts, D) centres, and (B, C, parts) bool: whether a part has no members.
    """
    mass = share(weights, dim=1)
    before = mass.cumsum(1) - mass / 2  # the share of the row's mass before each point
    part = (before * parts).long().clamp(0, parts - 1)  # (B, J, C)
    for _ in range(rounds):
        member = F.one_hot(part, parts) * weights[..., None]  # (B, J, C, parts)
        empty = member.sum(1) == 0
        if not spherical:
            member = share(member, dim=1)
        centres = torch.einsum("bjcp,bjv->bcpv", member, points)
        if spherical:
            centres = F.normalize(centres, dim=-1)
        closeness = torch.einsum("bjv,bcpv->bjcp", points, centres)
        if not spherical:
            # |x - m|^2 is smallest where x m - |m|^2 / 2 is largest.
            length = centres.square().sum(-1)  # (B, C, parts)
            closeness = closeness - length[:, None] / 2
        closeness = closeness.masked_fill(empty[:, None], OUT_OF_REACH)
        part = closeness.argmax(-1)
    return centres, empty


def nearest(points: Tensor, centres: Tensor, empty: Tensor) -> Tensor:
    """The largest cosine to a part of each row: (B, J, D) points to (B, J, C)."""
    cosines = torch.einsum("bjv,bcpv->bjcp", points, centres)
    return cosines.masked_fill(empty[:, None], OUT_OF_REACH).amax(-1)
