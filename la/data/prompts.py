"""Annotations become visual prompts (paper 3.3): masks as they are, boxes, points in proportion to area."""

from dataclasses import dataclass, field

import numpy as np

from la.config import EpisodeConfig
from la.types import PromptKind

_MANY = 70  # [O] a class with more instances than this in an image is prompted by masks alone


@dataclass
class Drawn:
    """The prompts of one example in original pixels, before they become rows of `Prompts`."""

    mask: np.ndarray | None = None  # (H, W) bool, the union of the instances that drew a mask
    points: list[np.ndarray] = field(default_factory=list)  # each (n, 2)
    labels: list[np.ndarray] = field(default_factory=list)  # each (n,), 1 positive or -1 negative
    boxes: list[np.ndarray] = field(default_factory=list)  # each (4,)


def draw_prompts(
    instances: list[np.ndarray],
    kinds: tuple[PromptKind, ...],
    rng: np.random.Generator,
    config: EpisodeConfig,
    *,
    jitter: bool,
) -> Drawn:
    """Each instance draws its kind from `kinds`; `instances` are (H, W) bool masks, none empty.

    Only training jitters boxes: the test prompts with the exact extent of the object.
    """
    drawn = Drawn()
    if len(instances) > _MANY:
        kinds = (PromptKind.MASK,)
    for mask in instances:
        match kinds[int(rng.integers(len(kinds)))]:
            case PromptKind.MASK:
                drawn.mask = mask if drawn.mask is None else drawn.mask | mask
            case PromptKind.POINT:
                points = draw_points(mask, rng, config.max_points)
                drawn.points.append(points)
                drawn.labels.append(np.ones(len(points), dtype=np.int64))
            case PromptKind.BOX:
                box = box_of(mask)
                drawn.boxes.append(
                    jittered(box, mask.shape, rng, config.box_jitter) if jitter else box
                )
    return drawn


def draw_points(mask: np.ndarray, rng: np.random.Generator, most: int) -> np.ndarray:
    """(n, 2) pixel positions inside an (H, W) mask, n growing with its area up to `most`.

    The paper says "proportionately to the mask area"; the official code draws a Poisson number with mean
    10 sqrt(area share), and so do we: a plain proportion gives one point to nearly every object.
    """
    inside = np.flatnonzero(mask)
    mean = 10 * np.sqrt(len(inside) / mask.size)
    count = int(np.clip(rng.poisson(mean) + 1, 1, most))
    y, x = np.unravel_index(inside[rng.integers(len(inside), size=count)], mask.shape)
    return np.stack([x, y], axis=1).astype(float)


def box_of(mask: np.ndarray) -> np.ndarray:
    """(4,) the tight box around the true pixels of an (H, W) mask, outer edges included."""
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    return np.array([columns[0], rows[0], columns[-1] + 1, rows[-1] + 1], dtype=float)


def jittered(
    box: np.ndarray, size: tuple[int, int], rng: np.random.Generator, share: float
) -> np.ndarray:
    """The box with corners moved by N(0, share * side), at most 20 pixels [O], inside the image."""
    sides = np.tile(box[2:] - box[:2], 2)
    moved = box + np.clip(rng.normal(0, share * sides), -20, 20)
    limit = np.array([size[1], size[0], size[1], size[0]], dtype=float)
    moved = np.clip(moved, 0, limit)
    low, high = np.minimum(moved[:2], moved[2:]), np.maximum(moved[:2], moved[2:])
    return np.concatenate([low, np.maximum(high, low + 1)])
