"""Existing annotations become a drawing, and so the prompts of a support set (paper 3.3)."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from la.data.coco.entries import beyond_the_image, row_of_name, same_spelling
from la.errors import UserError
from la.formats.annotation_files import read_marked
from la.formats.marked import Marked
from la.predict.prompts.drawing import MAX_CLASSES, Annotation, Drawing, DrawnImage, vector_prompts
from la.predict.prompts.marked_photo import MarkedPhoto
from la.predict.prompts.named_photos import NamedPhotos, is_named
from la.predict.prompts.photos import to_drawn
from la.predict.prompts.vector_prompts import VectorPrompt
from la.wording import counted, listed

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
        classes: which classes to take, and their order; when omitted, all, or, if these are more
            than prompts can have, those that the photographs show.
        files: names of the photographs to take; when omitted, all that are annotated.

    Raises:
        MissingFile: a photograph is not in the folder.
        UserError: the annotations cannot be read, do not fit, or mark no pixel; the message says
            which.
    """
    source, images = Path(source), Path(images)
    all_classes, marked = read_marked(source, classes)
    row_of_name(all_classes, source)  # raises if two have the same name
    if files is not None:
        marked = _of_photographs(marked, files, source)
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
        photo = MarkedPhoto.opened(path)
        height, width = photo.size
        of_image: list[VectorPrompt] = []
        for row, name in enumerate(names, 1):
            of_class = [entry for entry in of_photo if entry.cls == name]
            annotations = _annotations(of_class, photo, oddities)
            if annotations:
                drawn = to_drawn(annotations, photo.size, f"{path.name} ({name})")
                of_image += vector_prompts(drawn, len(entries), row)
        if of_image:
            prompts += of_image
            entries.append(DrawnImage(str(path), width, height))
    if not prompts:
        raise UserError(f"{source} contains no usable prompt: {'; '.join(oddities.notes())}")
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
    photo: MarkedPhoto,
    oddities: _Oddities,
) -> list[Annotation]:
    """The shapes of one class that mark a photograph, upright; others become oddities."""
    annotations = []
    for entry in marked:
        annotation, is_cut = photo.annotation(entry)
        where = f"{photo.path.name} ({entry.cls})"
        if annotation is None:
            oddities.empty.append(where)
            continue
        annotations.append(annotation)
        if is_cut:
            oddities.cut.append(where)
    return annotations


def _of_photographs(
    marked: Sequence[Marked],
    files: Sequence[str],
    source: Path,
) -> list[Marked]:
    """The shapes on the photographs of these names.

    Raises:
        UserError: there is none on one of them.
    """
    photos = list(dict.fromkeys(entry.photo for entry in marked))
    for name in files:
        if not any(is_named(photo, [name]) for photo in photos):
            raise UserError(
                f"{source} has no annotation on a photograph {name!r}; it annotates "
                f"{listed(photos) or 'none'}"
            )
    chosen = {photo for photo in photos if is_named(photo, files)}
    return [entry for entry in marked if entry.photo in chosen]


def _chosen(
    classes: Sequence[str] | None,
    known: Sequence[str],
    marked: Sequence[Marked],
    source: Path,
) -> list[str]:
    """The known classes that are asked for, as the file spells them; all if none is named.

    If that is more than prompts can have, the classes of the marked shapes.

    Raises:
        UserError: one of them is not known, or there are more than prompts can have.
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
            raise UserError(f"{source} has no class {name!r}; it has {listed(known, NAMED)}")
    return [spelled[same_spelling(name)] for name in classes]
