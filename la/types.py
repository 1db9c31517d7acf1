"""The vocabulary of the project: shape letters, and the values that its parts exchange.

Shape glossary; a letter has one meaning everywhere:

    B  episodes of a batch            N  ways, foreground classes of an episode
    S  support images of the batch    C  N + 1 rows; row 0 is background on every class axis
    E  examples: (support image, class) pairs that carry a prompt (Sec. 3.2 indexes them E_ni)
    M  examples that carry a mask     P, Q  points, boxes of one example
    K  shots: examples per class      R  rows of the class token pool
    D  embedding width                V  backbone width
    H W  pixels                       h w  feature cells
    T  tokens of a sequence           L  support images of one episode

Coordinates are (x, y), sizes (H, W), boxes (x0, y0, x1, y1). *Original* pixels are those of the
image file, *input* pixels those of the resized (and perhaps padded) square that the backbone
encodes.

Coordinates are continuous: the pixel in column x and row y extends from (x, y) to (x + 1, y + 1),
and its centre is (x + 0.5, y + 0.5). That holds for clicks, for sampled points, and for boxes,
whose corners are outer edges. `Prompts.points` is the exception and follows the official code: it
holds the index of a pixel, scaled to the input frame (`Frame.point_prompts`), and the model adds
half a pixel.

Support images and examples are flat over the whole batch, with index vectors back to their episode:
cost grows with what was annotated, not with (images x classes), and there is no padding to mask.

This module does not import torch, because commands that need no model should start at once.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass, is_dataclass, replace
from enum import StrEnum
from typing import TYPE_CHECKING, Protocol, TypeVar, cast

if TYPE_CHECKING:
    from _typeshed import DataclassInstance
    from torch import Tensor

T = TypeVar("T")

IGNORE = -100  # target value of unscored pixels; the default ignore_index of cross_entropy


class PromptKind(StrEnum):
    """The three kinds of visual prompt (paper 3.1)."""

    MASK = "mask"
    BOX = "box"
    POINT = "point"


@dataclass(frozen=True, slots=True)
class Point:
    """A click at (x, y) in original pixels; `positive=False` says "not this class"."""

    x: float
    y: float
    positive: bool = True


@dataclass(frozen=True, slots=True)
class Box:
    """A box with corners (x0, y0) and (x1, y1) in original pixels."""

    x0: float
    y0: float
    x1: float
    y1: float


@dataclass(frozen=True, slots=True)
class Example:
    """One class on one support image. Each of its instances draws its prompt kind from `kinds`."""

    support: int  # position in Episode.support_ids
    row: int  # row of C, 1..N
    kinds: tuple[PromptKind, ...]


@dataclass(frozen=True, slots=True)
class Episode:
    """What to segment and from which examples: ids only, no pixels (paper 3.1).

    The query is never among the supports; `class_ids[n]` is the category id of row n + 1.
    `seed` fixes the prompts that are drawn and the rows of the class token pool.
    """

    query_id: int
    class_ids: tuple[int, ...]
    support_ids: tuple[int, ...]
    examples: tuple[Example, ...]
    seed: int

    @property
    def n_ways(self) -> int:
        """N, foreground classes."""
        return len(self.class_ids)

    def class_of(self, example: Example) -> int:
        """The category id of an example."""
        return self.class_ids[example.row - 1]

    def image_of(self, example: Example) -> int:
        """The id of an example's support image."""
        return self.support_ids[example.support]

    def to_json(self) -> str:
        """One line of an episode list; the same episode always gives the same bytes."""
        return json.dumps(asdict(self), separators=(",", ":"), sort_keys=True)


@dataclass(frozen=True)
class Prompts:
    """The visual prompts of E examples (paper 3.1, A_i), flat over the batch, in input pixels.

    Padded points have 0 in `point_labels`, padded boxes False in `boxes_valid`; neither is ever
    read.
    """

    masks: Tensor  # (M, Hm, Wm) float, 1 inside the object; only examples that carry a mask
    mask_example: Tensor  # (M,) int64, the example of each mask, ascending
    points: Tensor  # (E, P, 2) float, pixel indices: half a pixel less than coordinates
    point_labels: Tensor  # (E, P) int64: 1 positive, -1 negative, 0 padding
    boxes: Tensor  # (E, Q, 4) float
    boxes_valid: Tensor  # (E, Q) bool
    example_support: Tensor  # (E,) int64 in [0, S)
    example_row: Tensor  # (E,) int64 in [1, C)

    def __post_init__(self) -> None:
        check_shapes(
            "Prompts",
            masks=(self.masks, "M Hm Wm"),
            mask_example=(self.mask_example, "M"),
            points=(self.points, "E P 2"),
            point_labels=(self.point_labels, "E P"),
            boxes=(self.boxes, "E Q 4"),
            boxes_valid=(self.boxes_valid, "E Q"),
            example_support=(self.example_support, "E"),
            example_row=(self.example_row, "E"),
        )


@dataclass(frozen=True)
class Pixels:
    """Normalised input images, which the backbone has still to encode."""

    query: Tensor  # (B, 3, H, W)
    support: Tensor  # (S, 3, H, W)


@dataclass(frozen=True)
class Features:
    """Input images that the frozen backbone has already encoded."""

    query: Tensor  # (B, V, h, w) float16 as stored; `to_device` widens it
    support: Tensor  # (S, V, h, w)


@dataclass(frozen=True)
class Batch:
    """B episodes as tensors. Rows beyond an episode's own N are False in `class_valid`."""

    source: Pixels | Features
    support_episode: Tensor  # (S,) int64 in [0, B), ascending
    prompts: Prompts
    token_rows: Tensor  # (B, C) int64 in [0, R), rows of the class token pool; row 0 for background
    class_valid: Tensor  # (B, C) bool; row 0 always True
    target: Tensor  # (B, H, W) int in [0, C) or IGNORE; original pixels, padded with IGNORE
    query_size: Tensor  # (B, 2) int64, original (H, W); on the CPU
    # (B, C) int64 category ids, -1 for background and padded rows; None if they are not known
    class_ids: Tensor | None = None
    # (E, Hm, Wm) bool: the prompted object of each example, for any kind of prompt; None
    # unless training has an attention loss
    objects: Tensor | None = None

    @property
    def n_rows(self) -> int:
        """C: background and the classes of the widest episode."""
        return self.class_valid.shape[1]

    def pin_memory(self) -> Batch:
        """A copy in page-locked memory, from which a GPU can copy while it computes."""
        return map_tensors(self, lambda tensor: tensor.pin_memory())


@dataclass(frozen=True)
class ModelCard:
    """What a checkpoint states about its weights."""

    name: str
    sha256: str  # of the weights
    trained_on: str
    bias: float = 0.0  # added to the background's logit, calibrated on seen classes


class Segmenter(Protocol):
    """Anything that turns a batch into scores: the model, a comparator, a method of your own."""

    def __call__(self, batch: Batch) -> Tensor:
        """Scores (B, C, h, w) over the input frame, at any resolution; the argmax over C labels."""
        ...


def check_shapes(owner: str, **named: tuple[Tensor, str]) -> dict[str, int]:
    """Bind the letters of each tensor's shape spec, in order, and return their sizes.

    Raises:
        ValueError: a tensor disagrees with its spec or with an earlier tensor.
    """
    sizes: dict[str, int] = {}
    bound_by: dict[str, str] = {}  # the tensor that first used a letter
    for name, (tensor, spec) in named.items():
        letters, shape = spec.split(), tuple(tensor.shape)
        mismatch = f"{owner}.{name} has shape {shape}; expected ({', '.join(letters)})"
        if len(letters) != len(shape):
            raise ValueError(mismatch)
        for letter, size in zip(letters, shape, strict=True):
            if letter.isdigit():
                if size != int(letter):
                    raise ValueError(mismatch)
                continue
            expected = sizes.setdefault(letter, size)
            earlier = bound_by.setdefault(letter, name)
            if size != expected:
                raise ValueError(f"{mismatch}, and {owner}.{earlier} has {letter}={expected}")
    return sizes


def map_tensors(value: T, function: Callable[[Tensor], Tensor]) -> T:
    """A copy of a (nested) dataclass with `function` applied to every tensor in it."""
    from torch import Tensor

    if isinstance(value, Tensor):
        return cast(T, function(value))
    if isinstance(value, type) or not is_dataclass(value):
        return value
    fields = {name: map_tensors(field, function) for name, field in vars(value).items()}
    return cast(T, replace(cast("DataclassInstance", value), **fields))
