"""Turns annotations of stored pixels as EXIF turns the photograph itself: upright."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image

from la.data.pictures.images import orientation
from la.errors import UserError
from la.predict.prompts.drawing import Annotation
from la.types import Box, Point

TURNS: dict[int, Callable[[np.ndarray], np.ndarray]] = {
    # by EXIF orientation: those that exchange width and height
    5: np.transpose,
    6: lambda pixels: np.rot90(pixels, -1),
    7: lambda pixels: np.rot90(pixels, 2).T,
    8: np.rot90,
}


def annotated_frame(
    stated: tuple[int, int],
    size: tuple[int, int],
    path: Path,
    turn: int,
) -> tuple[int, int]:
    """(H, W) of the picture that was annotated: that of the upright photograph or of its file.

    Args:
        stated: (H, W) that the annotations state.
        size: (H, W) of the photograph, upright.
        path: of the photograph.
        turn: how its pixels are stored, by EXIF.

    Raises:
        UserError: it was a picture of another size.
    """
    if stated == size or (stated == size[::-1] and turn in TURNS):
        return stated
    raise UserError(
        f"{path} has {size[1]} x {size[0]} pixels, its annotations are for "
        f"{stated[1]} x {stated[0]}; put back the photograph that was annotated"
    )


def upright_pixels(pixels: np.ndarray, size: tuple[int, int], path: Path) -> np.ndarray:
    """Pixels (H, W) that were annotated, in the frame of their upright photograph.

    Raises:
        UserError: see `annotated_frame`.
    """
    if pixels.shape == size:
        return pixels
    with Image.open(path) as stored:
        turn = orientation(stored)
    annotated_frame(pixels.shape, size, path, turn)
    return np.ascontiguousarray(TURNS[turn](pixels))


def turned(
    annotation: Annotation,
    size: tuple[int, int],
    turn: int,
) -> Annotation:
    """A prompt on the upright photograph.

    Args:
        annotation: the same prompt on the pixels as stored.
        size: (H, W) of the pixels as stored.
        turn: the EXIF orientation of the photograph, a key of `TURNS`.
    """
    match annotation:
        case Point(x, y, positive):
            return Point(*_turned(x, y, size, turn), positive)
        case Box(x0, y0, x1, y1):
            corners = [_turned(x, y, size, turn) for x, y in ((x0, y0), (x1, y1))]
            (left, right), (top, bottom) = (sorted(values) for values in zip(*corners, strict=True))
            return Box(left, top, right, bottom)
    return np.ascontiguousarray(TURNS[turn](annotation))


def _turned(
    x: float,
    y: float,
    size: tuple[int, int],
    turn: int,
) -> tuple[float, float]:
    """The place of a point on the upright photograph."""
    height, width = size
    left = height - y if turn in (6, 7) else y
    top = width - x if turn in (7, 8) else x
    return left, top
