"""LabelMe's files: a JSON file for each photograph, with polygons, boxes, points and masks."""

import base64
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from la.data.coco.entries import text_of
from la.data.coco.numbers import not_finite
from la.data.coco.segmentations import Unusable, flat_ring
from la.errors import UserError
from la.formats.marked import Marked, Polygons, Shape, reason_of, stated_size
from la.types import Box, Point

# An integer of hundreds of digits, for instance, overflows.
UNUSABLE = (LookupError, TypeError, ValueError, OverflowError, OSError, MemoryError, Unusable)


def read_labelme(content: dict[str, Any], path: Path) -> Iterator[Marked]:
    """The shapes of a LabelMe file.

    Raises:
        UserError: one of them is damaged, or of a kind that cannot be a prompt.
    """
    if not isinstance(content["shapes"], list):
        raise UserError(f"{path}: shapes is not a list, as LabelMe writes it")
    for number, entry in enumerate(content["shapes"]):
        try:
            size = stated_size(content.get("imageHeight"), content.get("imageWidth"))
            shape = _shape(entry, size)
            marked = Marked(_photo(content, path), text_of(entry, "label"), shape, size)
        except UNUSABLE as error:
            reason = reason_of(error)
            raise UserError(f"{path}: shapes[{number}] cannot be used ({reason})") from None
        yield marked


def _photo(content: dict[str, Any], path: Path) -> str:
    """The name of the photograph; without one, that of the file, which LabelMe writes beside it."""
    return path.stem if content.get("imagePath") is None else text_of(content, "imagePath")


def _shape(entry: dict[str, Any], size: tuple[int, int] | None) -> Shape:
    """A shape of LabelMe on a photograph of this (H, W).

    Raises:
        LookupError, TypeError, ValueError, OSError: it lacks something, or is of another kind.
    """
    points = _points(entry["points"])
    kind = entry.get("shape_type") or "polygon"
    if kind == "polygon":
        return Polygons([points.ravel().tolist()])
    if kind == "rectangle":
        (x0, y0), (x1, y1) = points.min(0).tolist(), points.max(0).tolist()
        return Box(x0, y0, x1, y1)
    if kind == "point":
        return Point(*points[0].tolist())
    if kind == "mask":
        return _mask(entry["mask"], points[0], size)
    raise ValueError(f"its shape_type is {kind!r:.40}; make it a polygon")


def _points(written: Any) -> np.ndarray:
    """(n, 2) coordinates x, y of a list of points.

    Raises:
        ValueError: it is empty or no such list, or a coordinate is not a finite number.
    """
    flat = flat_ring(written)
    is_list = isinstance(flat, list) and bool(flat) and len(flat) % 2 == 0
    if not is_list or any(isinstance(number, list | dict) for number in flat):
        raise ValueError(f"points is {written!r:.40}, not a list of [x, y]")
    odd = not_finite(flat)
    if odd:
        raise ValueError(f"points holds {odd}")
    return np.array(flat, float).reshape(-1, 2)


def _mask(
    text: str,
    corner: np.ndarray,
    size: tuple[int, int] | None,
) -> np.ndarray:
    """(H, W) bool: a mask of LabelMe's assistant, a PNG in base64 with its upper left corner.

    Raises:
        ValueError, OSError: the PNG is damaged, or the size of the photograph is not stated.
    """
    if size is None:
        raise ValueError("it needs imageHeight and imageWidth")
    with Image.open(BytesIO(base64.b64decode(text))) as png:
        part = np.array(png) > 0
    mask = np.zeros(size, bool)
    x, y = (max(0, int(place)) for place in corner)
    window = mask[y : y + part.shape[0], x : x + part.shape[1]]
    window[:] = part[: window.shape[0], : window.shape[1]]
    return mask
