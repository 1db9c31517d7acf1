"""Annotations become visual prompts (paper 3.3): masks, boxes, points in proportion to area."""

import math
from dataclasses import dataclass, field

import numpy as np

from la.config import EpisodeConfig
from la.types import PromptKind

_MANY = 70  # [O] a class with more instances than this in an image is prompted by masks alone


@dataclass(frozen=True, slots=True)
class Cutout:
    """An instance: (h, w) bool pixels whose upper left corner is at (x, y) of the image."""

    x: int
    y: int
    pixels: np.ndarray

    @classmethod
    def of(cls, mask: np.ndarray) -> "Cutout":
        """From an (H, W) bool mask that is not empty."""
        columns = np.flatnonzero(mask.any(0))
        left, right = int(columns[0]), int(columns[-1]) + 1
        rows = np.flatnonzero(mask[:, left:right].any(1))
        top, bottom = int(rows[0]), int(rows[-1]) + 1
        return cls(left, top, np.array(mask[top:bottom, left:right], order="C"))

    @property
    def box(self) -> np.ndarray:
        """(4,) the tight box, outer edges included."""
        height, width = self.pixels.shape
        return np.array([self.x, self.y, self.x + width, self.y + height], dtype=float)

    def paint(self, canvas: np.ndarray, value: int) -> None:
        """Set the instance's pixels of an (H, W) canvas, in place."""
        height, width = self.pixels.shape
        place = canvas[self.y : self.y + height, self.x : self.x + width]
        np.copyto(place, value, where=self.pixels)


@dataclass
class Drawn:
    """The prompts of one example in original pixels, before they become rows of `Prompts`."""

    mask: np.ndarray | None = None  # (H, W) bool, the union of the instances that drew a mask
    points: list[np.ndarray] = field(default_factory=list)  # each (n, 2)
    labels: list[np.ndarray] = field(default_factory=list)  # each (n,), 1 positive or -1 negative
    boxes: list[np.ndarray] = field(default_factory=list)  # each (4,)


def draw_prompts(
    instances: list[Cutout],
    size: tuple[int, int],
    kinds: tuple[PromptKind, ...],
    rng: np.random.Generator,
    config: EpisodeConfig,
    *,
    jitter: bool,
) -> Drawn:
    """Each instance on an image of `size` (H, W) draws its kind from `kinds`.

    Only training jitters boxes: the test prompts with the exact extent of the object.
    """
    drawn = Drawn()
    if len(instances) > _MANY:
        kinds = (PromptKind.MASK,)
    for instance in instances:
        match kinds[int(rng.integers(len(kinds)))]:
            case PromptKind.MASK:
                if drawn.mask is None:
                    drawn.mask = np.zeros(size, dtype=bool)
                instance.paint(drawn.mask, True)
            case PromptKind.POINT:
                points = draw_points(instance, size, rng, config.max_points)
                drawn.points.append(points)
                drawn.labels.append(np.ones(len(points), dtype=np.int64))
            case PromptKind.BOX:
                box = instance.box
                drawn.boxes.append(jittered(box, size, rng, config.box_jitter) if jitter else box)
    return drawn


def draw_points(
    instance: Cutout, size: tuple[int, int], rng: np.random.Generator, most: int
) -> np.ndarray:
    """(n, 2) centres of pixels inside an instance; n grows with its area, up to `most`.

    The paper says "proportionately to the mask area". The official code draws a Poisson
    number with mean 10 sqrt(share of the image), and so do we: with a plain proportion
    nearly every object would get one point.
    """
    inside = np.flatnonzero(instance.pixels)
    mean = 10 * math.sqrt(len(inside) / (size[0] * size[1]))
    count = min(int(rng.poisson(mean)) + 1, most)
    chosen = inside[rng.integers(len(inside), size=count)]
    y, x = np.divmod(chosen, instance.pixels.shape[1])
    return np.stack([x + instance.x + 0.5, y + instance.y + 0.5], axis=1)


def jittered(
    box: np.ndarray, size: tuple[int, int], rng: np.random.Generator, share: float
) -> np.ndarray:
    """The box with corners moved by N(0, share * side), at most 20 pixels [O], inside the image.

    It stays a box: corners that cross change places, and no side falls below a pixel.
    """
    sides = np.concatenate([box[2:] - box[:2]] * 2)
    limit = np.array([size[1], size[0]], dtype=float)
    moved = (box + rng.normal(0, share * sides).clip(-20, 20)).reshape(2, 2)
    low = moved.min(0).clip(0, limit - 1)
    return np.concatenate([low, moved.max(0).clip(low + 1, limit)])
