"""Vector prompts: what a person draws on an image, as typed values and as JSON (paper 3.1).

A vector prompt is a JSON object in original pixels; pixel (0, 0) reaches from (0, 0) to (1, 1):

    {"img": 0, "cls": 1, "type": "point", "pts": [[x, y]], "label": 1}     label -1: not this class
    {"img": 0, "cls": 1, "type": "box", "pts": [[x0, y0], [x1, y1]]}
    {"img": 0, "cls": 1, "type": "brush", "pts": [[x, y], ...], "r": 12, "erase": false}
    {"img": 0, "cls": 1, "type": "lasso", "pts": [[x, y], ...], "erase": false}
    {"img": 0, "cls": 1, "type": "mask", "pts": [], "counts": [...]}       COCO runs, by column

`img` counts the images from 0, `cls` the classes from 1 (row 0 is background). Brush, lasso and
mask prompts of one image and class make one mask, in order; `erase` removes pixels of that class.
"""

from collections.abc import Iterable
from typing import Annotated, Any, Literal

import msgspec
import numpy as np
from msgspec import Meta, Struct
from pycocotools import mask as coco_mask

from la.errors import UserError

XY = tuple[float, float]
Polyline = Annotated[tuple[XY, ...], Meta(min_length=1)]
Polygon = Annotated[tuple[XY, ...], Meta(min_length=3)]
ImageNumber = Annotated[int, Meta(ge=0)]
ClassNumber = Annotated[int, Meta(ge=1)]
RunLength = Annotated[int, Meta(ge=0)]
Radius = Annotated[float, Meta(ge=0.1, le=1e5)]  # in pixels


class _OnImage(Struct, frozen=True, forbid_unknown_fields=True, tag_field="type"):
    img: ImageNumber
    cls: ClassNumber


class PointPrompt(_OnImage, frozen=True, tag="point"):
    """A click on the class (label 1), or on what does not belong to it (label -1)."""

    pts: tuple[XY]
    label: Literal[1, -1] = 1


class BoxPrompt(_OnImage, frozen=True, tag="box"):
    """Two opposite corners of a box."""

    pts: tuple[XY, XY]


class BrushPrompt(_OnImage, frozen=True, tag="brush"):
    """All pixels whose centre is within `r` of a polyline."""

    pts: Polyline
    r: Radius = 12
    erase: bool = False


class LassoPrompt(_OnImage, frozen=True, tag="lasso"):
    """All pixels whose centre is inside a closed polygon."""

    pts: Polygon
    erase: bool = False


class MaskPrompt(_OnImage, frozen=True, tag="mask"):
    """All pixels of a mask, as COCO's run lengths: down the columns, background first."""

    counts: tuple[RunLength, ...]
    pts: tuple[()] = ()


VectorPrompt = PointPrompt | BoxPrompt | BrushPrompt | LassoPrompt | MaskPrompt


def from_json(prompts: object) -> tuple[VectorPrompt, ...]:
    """The typed prompts of a list of JSON objects.

    Raises:
        UserError: an entry is not a vector prompt; the message says which and why.
    """
    try:
        return msgspec.convert(prompts, tuple[VectorPrompt, ...])
    except msgspec.ValidationError as error:
        text = str(error).replace("`$", "`prompts")
        raise UserError(text) from None


def to_json(prompts: Iterable[VectorPrompt]) -> list[dict[str, Any]]:
    """The prompts as JSON objects; the inverse of `from_json`."""
    encoded = msgspec.json.encode(list(prompts))
    return msgspec.json.decode(encoded)


def mask_prompt(mask: np.ndarray, img: int, cls: int) -> MaskPrompt:
    """A mask (H, W) as a prompt, without loss."""
    pixels = np.asarray(mask, bool).ravel(order="F")
    is_change = np.diff(pixels, prepend=False)
    changes = np.flatnonzero(is_change)
    counts = np.diff(changes, prepend=0, append=pixels.size)
    return MaskPrompt(img, cls, tuple(counts.tolist()))


def mask_of(prompt: MaskPrompt, size: tuple[int, int]) -> np.ndarray:
    """The mask (H, W) of a prompt whose counts add up to H * W."""
    height, width = size
    # pycocotools takes run lengths as a list too, which its types do not say.
    runs: Any = {"size": [height, width], "counts": list(prompt.counts)}
    compressed: Any = coco_mask.frPyObjects(runs, height, width)
    return coco_mask.decode(compressed).astype(bool)
