"""A shape of another program on its photograph, as a prompt in original pixels (paper 3.1)."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from la.data.coco.segmentations import Outline, Unusable, outline
from la.data.pictures.images import orientation
from la.errors import UserError
from la.formats.marked import Marked, Polygons, RelativeBox
from la.predict.prompts.drawing import Annotation
from la.predict.prompts.photos import open_photo
from la.predict.prompts.upright import annotated_frame, turned
from la.types import Box, Point


@dataclass(frozen=True)
class MarkedPhoto:
    """A photograph, which can be read."""

    path: Path
    size: tuple[int, int]  # (H, W), upright
    orientation: int  # how its pixels are stored, by EXIF

    @classmethod
    def opened(cls, path: Path) -> "MarkedPhoto":
        """From its file.

        Raises:
            UserError: the file is not an image, or is damaged.
        """
        photo = open_photo(path)
        with Image.open(path) as stored:
            return cls(path, (photo.height, photo.width), orientation(stored))

    def annotation(self, entry: Marked) -> tuple[Annotation | None, bool]:
        """A shape on this photograph as a prompt in upright pixels.

        Returns:
            The prompt, None if the shape marks no pixel; and whether it was cut at the border.

        Raises:
            UserError: the shape was marked on a picture of another size, or a mask is damaged.
        """
        frame = self._frame(entry)
        annotation, is_cut = _annotation(entry, frame, self.path)
        if annotation is not None and frame != self.size:
            annotation = turned(annotation, frame, self.orientation)
        return annotation, is_cut

    def _frame(self, entry: Marked) -> tuple[int, int]:
        """(H, W) of the picture on which a shape was marked: as it is upright, or as it is stored.

        Raises:
            UserError: the shape was marked on a picture of another size.
        """
        stated = entry.shape.shape if isinstance(entry.shape, np.ndarray) else entry.size
        if stated is None:
            return self.size
        return annotated_frame(stated, self.size, self.path, self.orientation)


def _annotation(
    entry: Marked,
    size: tuple[int, int],
    path: Path,
) -> tuple[Annotation | None, bool]:
    """A shape on a picture of `size` (H, W) as a prompt in its pixels.

    Returns:
        The prompt, None if the shape marks no pixel; and whether it was cut at the border.

    Raises:
        UserError: a mask is damaged.
    """
    height, width = size
    match entry.shape:
        case Point(x, y):
            is_inside = 0 <= x <= width and 0 <= y <= height
            return (entry.shape if is_inside else None), False
        case RelativeBox(x, y, box_width, box_height):
            x0 = (x - box_width / 2) * width
            x1 = (x + box_width / 2) * width
            y0 = (y - box_height / 2) * height
            y1 = (y + box_height / 2) * height
            return _cropped(Box(x0, y0, x1, y1), size)
        case Box():
            return _cropped(entry.shape, size)
        case np.ndarray():
            return (entry.shape if entry.shape.any() else None), False
    try:
        drawn = _outline(entry.shape, size)
    except Unusable as error:
        raise UserError(
            f"{path}: a mask of {entry.cls} cannot be drawn ({error}){entry.hint}"
        ) from None
    mask = drawn.draw(height, width)
    return (mask if mask.any() else None), drawn.leaves(height, width)


def _cropped(box: Box, size: tuple[int, int]) -> tuple[Box | None, bool]:
    """The part of a box on an image of `size` (H, W), if any; and whether it was cut."""
    height, width = size
    cropped = Box(
        x0=max(0, box.x0),
        y0=max(0, box.y0),
        x1=min(width, box.x1),
        y1=min(height, box.y1),
    )
    is_empty = cropped.x1 <= cropped.x0 or cropped.y1 <= cropped.y0
    ring = [box.x0, box.y0, box.x1, box.y1]
    return (None if is_empty else cropped), Outline([ring], is_runs=False).leaves(height, width)


def _outline(shape: Polygons | dict[str, Any], size: tuple[int, int]) -> Outline:
    """Polygons, or COCO's run lengths, on a photograph of `size` (H, W).

    Raises:
        Unusable: a polygon or the runs are damaged, or do not fit the size.
    """
    height, width = size
    pieces: object = shape
    if isinstance(shape, Polygons):
        pieces = shape.rings
        if shape.relative:
            scaled = [np.reshape(ring, (-1, 2)) * (width, height) for ring in shape.rings]
            pieces = [ring.ravel().tolist() for ring in scaled]
    return outline(pieces, height, width)
