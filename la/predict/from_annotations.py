"""Existing annotations become a drawing, and so the prompts of a support set (paper 3.3)."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from la.data.entries import beyond_the_image, listed
from la.data.segmentations import Outline, Unusable, outline
from la.errors import UserError
from la.formats.annotation_files import read_marked
from la.formats.marked import Marked, Polygons, RelativeBox, same_spelling
from la.predict.drawing import MAX_CLASSES, Annotation, Drawing, DrawnImage, vector_prompts
from la.predict.named_photos import NamedPhotos, is_named
from la.predict.photos import open_photo, to_drawn
from la.predict.vector_prompts import VectorPrompt
from la.types import Box, Point
from la.wording import counted

NAMED = 10  # classes that a message lists
log = logging.getLogger(__name__)


def read_annotations(
    source: str | Path,
    images: str | Path,
    *,
    classes: Sequence[str] | None = None,
    files: Sequence[str] | None = None,
) -> Drawing:
    """Annotations of photographs as a drawing: masks, boxes and points as prompts.

    All masks of a class on a photograph become one. Photographs are named by their paths.

    Args:
        source: a COCO file (masks, boxes or both), LabelMe files, YOLO-seg labels with their
            `data.yaml`, or PNG masks: with class numbers as values, or a folder for each class.
        images: the folder of the photographs.
        classes: which classes to take, and their order; when omitted, all, or of more than
            prompts can have those that the photographs show.
        files: names of the photographs to take; when omitted, all that are annotated.

    Raises:
        MissingFile: a photograph is not in the folder.
        UserError: the annotations cannot be read, do not fit, or mark no pixel; the message says
            which.
    """
    source, images = Path(source), Path(images)
    all_classes, marked = read_marked(source, classes)
    marked = [entry for entry in marked if files is None or is_named(entry.photo, files)]
    names = _chosen(classes, all_classes, marked, source)
    by_photo: dict[Path, list[Marked]] = {}
    photos = NamedPhotos(images)
    for entry in marked:
        if entry.cls in names:
            by_photo.setdefault(photos.find(entry.photo), []).append(entry)
    if not by_photo:
        raise UserError(f"{source} has no annotation of these classes on these photographs")
    entries: list[DrawnImage] = []
    prompts: list[VectorPrompt] = []
    oddities = _Oddities()
    for path, of_photo in sorted(by_photo.items()):
        photo = open_photo(path)
        size = (photo.height, photo.width)
        of_image: list[VectorPrompt] = []
        for row, name in enumerate(names, 1):
            of_class = [entry for entry in of_photo if entry.cls == name]
            annotations = _annotations(of_class, size, path, oddities)
            if annotations:
                drawn = to_drawn(annotations, size, f"{path.name} ({name})")
                of_image += vector_prompts(drawn, len(entries), row)
        if of_image:
            prompts += of_image
            entries.append(DrawnImage(str(path), photo.width, photo.height))
    if not prompts:
        raise UserError(f"{source} gives no prompt: {'; '.join(oddities.notes())}")
    for note in oddities.notes():
        log.warning("%s: %s", source, note)
    return Drawing(tuple(entries), tuple(names), tuple(prompts))


@dataclass
class _Oddities:
    """Shapes that did not become prompts as they are, by photograph and class."""

    cut: list[str] = field(default_factory=list)
    empty: list[str] = field(default_factory=list)

    def notes(self) -> list[str]:
        """A sentence for each kind that occurred."""
        notes = []
        if self.cut:
            notes.append(beyond_the_image("shape", self.cut))
        if self.empty:
            left_out = f"{counted(len(self.empty), 'shape')} left out"
            notes.append(f"{left_out}, marking no pixel of the photograph: {listed(self.empty)}")
        return notes


def _annotations(
    marked: Sequence[Marked],
    size: tuple[int, int],
    path: Path,
    oddities: _Oddities,
) -> list[Annotation]:
    """The shapes of one class that mark a photograph of `size` (H, W); others become oddities."""
    annotations = []
    for entry in marked:
        annotation, is_cut = _annotation(entry, size, path)
        where = f"{path.name} ({entry.cls})"
        if annotation is None:
            oddities.empty.append(where)
            continue
        annotations.append(annotation)
        if is_cut:
            oddities.cut.append(where)
    return annotations


def _chosen(
    classes: Sequence[str] | None,
    known: Sequence[str],
    marked: Sequence[Marked],
    source: Path,
) -> list[str]:
    """The known classes that are asked for, as the file spells them; all if none is named.

    Of more classes than prompts can have, those of the marked shapes.

    Raises:
        UserError: one of them is not known, or prompts cannot have so many.
    """
    names = _spelled_as_known(classes, known, source) if classes else list(known)
    if not classes and len(names) > MAX_CLASSES:
        shown = {entry.cls for entry in marked}
        names = [name for name in names if name in shown]
    if len(names) > MAX_CLASSES:
        raise UserError(
            f"{source} has {counted(len(names), 'class')} on these photographs, and prompts have "
            f"at most {MAX_CLASSES}; choose some of them, as with --classes NAME,NAME"
        )
    return names


def _spelled_as_known(
    classes: Sequence[str],
    known: Sequence[str],
    source: Path,
) -> list[str]:
    """The classes as the file spells them.

    Raises:
        UserError: one of them is not known.
    """
    spelled = {same_spelling(name): name for name in known}
    for name in classes:
        if same_spelling(name) not in spelled:
            names = ", ".join(known[:NAMED])
            more = f" and {len(known) - NAMED} more" if len(known) > NAMED else ""
            raise UserError(f"{source} has no class {name!r}; it has {names}{more}")
    return [spelled[same_spelling(name)] for name in classes]


def _annotation(
    entry: Marked,
    size: tuple[int, int],
    path: Path,
) -> tuple[Annotation | None, bool]:
    """A shape on a photograph of `size` (H, W) as a prompt in original pixels.

    Returns:
        The prompt, None if the shape marks no pixel; and whether it was cut at the border.

    Raises:
        UserError: the annotations were made on a picture of another size, or a mask is damaged.
    """
    stated = entry.shape.shape if isinstance(entry.shape, np.ndarray) else entry.size
    if stated is not None and stated != size:
        raise UserError(
            f"{path} has {size[1]} x {size[0]} pixels, its annotations are for {stated[1]} x "
            f"{stated[0]}; put back the photograph that was annotated"
        )
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
