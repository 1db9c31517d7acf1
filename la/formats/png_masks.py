"""Masks of other programs as PNG files: class numbers as values, or a folder for each class."""

import csv
import io
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from la.errors import UserError
from la.formats.marked import Marked, read_text
from la.wording import counted

IGNORED = 255  # the value of pixels that belong to no class
LEGEND = "legend.csv"


def read_masks(
    source: Path,
    masks: Sequence[Path],
    classes: Sequence[str] | None,
) -> tuple[list[str], list[Marked]]:
    """The classes of a folder of masks in their order, and the mask of each on each photograph.

    Args:
        source: the folder, with a `legend.csv` or a folder for each class.
        masks: its PNG files.
        classes: the names of the numbers 1, 2, ... where there is no legend.

    Raises:
        UserError: the classes are not named, or a mask is damaged or holds other values.
    """
    if (source / LEGEND).is_file():
        return _numbered(source, masks, _legend(source / LEGEND))
    if all(path.parent != source for path in masks):
        return _by_folder(source, masks)
    if not classes:
        raise UserError(
            f"{source} has no {LEGEND}; name the classes of its numbers 1, 2, ..., as with "
            "--classes NAME,NAME"
        )
    return _numbered(source, masks, dict(enumerate(classes, 1)))


def _by_folder(source: Path, masks: Sequence[Path]) -> tuple[list[str], list[Marked]]:
    """A folder of masks for each class."""
    marked = []
    for path in masks:
        cls, *place = path.relative_to(source).parts
        photo = Path(*place).with_suffix("").as_posix()
        marked.append(Marked(photo, cls, _pixels(path) > 0))
    return sorted({entry.cls for entry in marked}), marked


def _numbered(
    source: Path,
    masks: Sequence[Path],
    names: Mapping[int, str],
) -> tuple[list[str], list[Marked]]:
    """Masks whose values are class numbers; for a single class, masks may be black and white."""
    marked: list[Marked] = []
    white: list[Marked] = []  # the class, where masks are black and white
    has_ignored = False
    for path in masks:
        pixels = _pixels(path)
        photo = path.relative_to(source).with_suffix("").as_posix()
        for value in _values(pixels):
            has_ignored |= value == IGNORED
            if value in names:
                marked.append(Marked(photo, names[value], pixels == value))
            elif value != IGNORED:
                numbers = ", ".join(map(str, names))
                known = f"{counted(len(names), 'class')} ({numbers})"
                raise UserError(f"{path} has the value {value} for {known}")
            elif len(names) == 1:
                white += [Marked(photo, name, pixels == value) for name in names.values()]
    if has_ignored and not marked and not white:
        raise UserError(
            f"the masks of {source} hold only {IGNORED}, which belongs to none of "
            f"{counted(len(names), 'class')}; give a folder of masks for each class"
        )
    return list(names.values()), marked or white


def _values(pixels: np.ndarray) -> list[int]:
    """The values of a mask, without that of the background."""
    return np.unique(pixels[pixels > 0]).astype(int).tolist()


def _legend(path: Path) -> dict[int, str]:
    """The class names by number, in ascending order, without the background.

    Raises:
        UserError: the file has other columns, or holds a class number that is not a number.
    """
    text = read_text(path)
    header = text.partition("\n")[0]
    separator = ";" if ";" in header and "," not in header else ","  # of some spreadsheets
    rows = csv.DictReader(io.StringIO(text, newline=""), delimiter=separator)
    for column in ("name", "index"):
        if column not in (rows.fieldnames or ()):
            raise UserError(f"{path} has no column `{column}`; its first line is index,name")
    names: dict[int, str] = {}
    for row in rows:
        if not (row["index"] or "").strip().isdecimal() or not row["name"]:
            raise UserError(f"{path}, line {rows.line_num} has no number and name of a class")
        names[int(row["index"])] = row["name"]
    return {number: names[number] for number in sorted(names) if number > 0}


def _pixels(path: Path) -> np.ndarray:
    """The pixel values (H, W) of a mask; those of transparent pixels are 0.

    Raises:
        UserError: the file is damaged, or a colour picture.
    """
    try:
        with Image.open(path) as png:
            pixels = np.array(png)
            has_alpha = png.mode in ("LA", "RGBA")
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise UserError(f"{path} cannot be read as an image: {error}") from None
    if pixels.ndim == 2:
        return pixels
    colours = pixels[..., :-1] if has_alpha else pixels
    grey = colours[..., 0]
    if (colours != grey[..., None]).any():
        raise UserError(
            f"{path} is a colour picture; export masks whose pixels are class numbers, or a folder "
            "of masks for each class"
        )
    return np.where(pixels[..., -1] > 0, grey, 0) if has_alpha else grey
