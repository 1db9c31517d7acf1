"""Turns what was annotated on the pixels as stored, as EXIF turns their photograph upright."""

import numpy as np
from PIL import Image

from la.predict.drawing import Annotation
from la.types import Box, Point

TURNS = {  # by EXIF orientation: those that exchange width and height
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


def turned(
    annotation: Annotation,
    size: tuple[int, int],
    orientation: int,
) -> Annotation:
    """A prompt on the upright photograph.

    Args:
        annotation: the same prompt on the pixels as stored.
        size: (H, W) of the pixels as stored.
        orientation: of the photograph, a key of `TURNS`.
    """
    match annotation:
        case Point(x, y, positive):
            return Point(*_turned(x, y, size, orientation), positive)
        case Box(x0, y0, x1, y1):
            corners = [_turned(x, y, size, orientation) for x, y in ((x0, y0), (x1, y1))]
            (left, right), (top, bottom) = (sorted(values) for values in zip(*corners, strict=True))
            return Box(left, top, right, bottom)
    return np.asarray(Image.fromarray(annotation).transpose(TURNS[orientation]))


def _turned(
    x: float,
    y: float,
    size: tuple[int, int],
    orientation: int,
) -> tuple[float, float]:
    """The place of a point on the upright photograph."""
    height, width = size
    left = height - y if orientation in (6, 7) else y
    top = width - x if orientation in (7, 8) else x
    return left, top
