"""Annotations become visual prompts (paper 3.3): masks, boxes, points in proportion to area.

Prompts are drawn in original pixels, one `Drawn` per example, and collated in input pixels.
"""

import math
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from la.config import EpisodeConfig
from la.data.sampling.geometry import Frame
from la.types import PromptKind, Prompts

_MANY = 70  # [O] a class with more instances than this in an image is prompted only by masks
_LARGEST_JITTER = 20.0  # [O] pixels


@dataclass(frozen=True, slots=True)
class Cutout:
    """An instance: (h, w) bool pixels whose upper left corner is at (x, y) in the image."""

    x: int
    y: int
    pixels: np.ndarray

    @classmethod
    def of(cls, mask: np.ndarray) -> "Cutout":
        """From an (H, W) bool mask that is not empty."""
        left, right = _extent(mask, axis=1)
        top, bottom = _extent(mask[:, left:right], axis=0)
        pixels = mask[top:bottom, left:right]
        return cls(left, top, np.array(pixels, order="C"))

    @property
    def box(self) -> np.ndarray:
        """(4,) the tight box; its corners are outer edges of pixels."""
        height, width = self.pixels.shape
        right, bottom = self.x + width, self.y + height
        return np.array([self.x, self.y, right, bottom], dtype=float)

    def paint(self, canvas: np.ndarray, value: int) -> None:
        """Set the instance's pixels of an (H, W) canvas, in place."""
        height, width = self.pixels.shape
        place = canvas[self.y : self.y + height, self.x : self.x + width]
        np.copyto(place, value, where=self.pixels)


@dataclass
class Drawn:
    """The prompts of one example in original pixels, before `collate_prompts`."""

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
    """The prompts of one example: each of its instances draws a kind from `kinds`.

    Args:
        size: (H, W) of the image.
        jitter: move the corners of boxes at random. Only training does so: test prompts have
            the exact extent of the object.
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
                if jitter:
                    box = jittered(box, size, rng, config.box_jitter)
                drawn.boxes.append(box)
    return drawn


def draw_points(
    instance: Cutout,
    size: tuple[int, int],
    rng: np.random.Generator,
    most: int,
) -> np.ndarray:
    """(n, 2) centres of pixels inside an instance; n grows with its area, up to `most`.

    The paper says "proportionately to the mask area". The official code draws one point more
    than a Poisson number with mean 10 sqrt(share of the image), and so do we: with a plain
    proportion nearly every object would get one point.
    """
    inside = np.flatnonzero(instance.pixels)
    share = len(inside) / (size[0] * size[1])
    count = min(int(rng.poisson(10 * math.sqrt(share))) + 1, most)
    chosen = inside[rng.integers(len(inside), size=count)]
    y, x = np.divmod(chosen, instance.pixels.shape[1])
    centres = np.stack([x, y], axis=1) + 0.5
    return centres + (instance.x, instance.y)


def jittered(
    box: np.ndarray,
    size: tuple[int, int],
    rng: np.random.Generator,
    share: float,
) -> np.ndarray:
    """The box with corners moved by N(0, share * side), at most 20 pixels [O], inside the image.

    Corners that cross change places, and no side gets shorter than a pixel.
    """
    sides = box[2:] - box[:2]
    shift = rng.normal(0, share * np.concatenate([sides, sides]))
    shift = shift.clip(-_LARGEST_JITTER, _LARGEST_JITTER)
    corners = (box + shift).reshape(2, 2)
    limit = np.array([size[1], size[0]], dtype=float)  # (x, y)
    low = corners.min(0).clip(0, limit - 1)
    high = corners.max(0).clip(low + 1, limit)
    return np.concatenate([low, high])


def collate_prompts(
    drawn: list[tuple[Frame, Drawn]],
    supports: list[int],
    rows: list[int],
    mask_size: int,
) -> Prompts:
    """E examples in original pixels -> `Prompts` in input pixels, padded to a common P and Q.

    Args:
        drawn: the prompts of each example, and the frame of its support image.
        supports: the support image of each example, in [0, S).
        rows: the row of C of each example.
        mask_size: side of the square mask prompts.
    """
    masks = [np.empty((0, mask_size, mask_size), bool)]
    mask_example = []
    points = [np.empty((0, 2))] * len(drawn)
    labels = [np.empty(0, dtype=np.int64)] * len(drawn)
    boxes = [np.empty((0, 4))] * len(drawn)
    for e, (frame, prompts) in enumerate(drawn):
        if prompts.mask is not None:
            masks.append(frame.mask(prompts.mask, mask_size)[None])
            mask_example.append(e)
        if prompts.points:
            points[e] = frame.point_prompts(np.concatenate(prompts.points))
            labels[e] = np.concatenate(prompts.labels)
        if prompts.boxes:
            boxes[e] = frame.boxes(np.stack(prompts.boxes))
    return Prompts(
        masks=torch.from_numpy(np.concatenate(masks, dtype=np.float32)),
        mask_example=torch.tensor(mask_example, dtype=torch.int64),
        points=_padded(points, np.float32),
        point_labels=_padded(labels, np.int64),
        boxes=_padded(boxes, np.float32),
        boxes_valid=_padded([np.ones(len(of_one)) for of_one in boxes], bool),
        example_support=torch.tensor(supports, dtype=torch.int64),
        example_row=torch.tensor(rows, dtype=torch.int64),
    )


def _padded(rows: list[np.ndarray], dtype: type) -> Tensor:
    """Ragged (n_e, ...) arrays of E examples -> (E, max n_e, ...), padded with zeros."""
    longest = max(len(row) for row in rows)
    shape_of_one = rows[0].shape[1:]
    padded = np.zeros((len(rows), longest, *shape_of_one), dtype)
    for e, row in enumerate(rows):
        padded[e, : len(row)] = row
    return torch.from_numpy(padded)


def _extent(mask: np.ndarray, axis: int) -> tuple[int, int]:
    """The first row (axis 0) or column (axis 1) with a pixel of the mask, and one past the last."""
    positions = np.flatnonzero(mask.any(1 - axis))
    return int(positions[0]), int(positions[-1]) + 1
