"""A shape of one class on one photograph, as files of other programs have it."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from la.errors import UserError
from la.types import Box, Point


@dataclass(frozen=True)
class Polygons:
    """Rings [x, y, x, y, ...] in original pixels; with `relative`, as shares of width, height."""

    rings: list[list[float]]
    relative: bool = False


@dataclass(frozen=True)
class RelativeBox:
    """A box by its centre and sides, as shares of width and height."""

    x: float
    y: float
    width: float
    height: float


Shape = Box | Point | RelativeBox | Polygons | dict[str, Any] | np.ndarray  # dict: COCO's runs


@dataclass(frozen=True)
class Marked:
    """A shape of one class on one photograph."""

    photo: str  # its file name, or the name without suffix
    cls: str
    shape: Shape
    size: tuple[int, int] | None = None  # (H, W) that the file states


def text_of(path: Path) -> str:
    """The text of a file.

    Raises:
        UserError: it is not in UTF-8.
    """
    try:
        return path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise UserError(
            f"{path} is not in UTF-8: byte {error.start} belongs to another encoding; convert the "
            "file, as with iconv -f latin1 -t utf-8"
        ) from None
