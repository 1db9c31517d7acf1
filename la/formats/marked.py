"""A shape of one class on one photograph, as files of other programs have it."""

import codecs
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from la.data.coco.coco_file import not_json, not_utf8
from la.data.coco.entries import whole_number
from la.data.coco.segmentations import Unusable
from la.data.pictures.picture_files import is_hidden
from la.types import Box, Point


@dataclass(frozen=True)
class Polygons:
    """Rings [x, y, x, y, ...] in original pixels; with `relative`, as shares of width, height."""

    rings: list[Any]  # of COCO as the file has them, checked when they are drawn
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
    hint: str = ""  # the end of an error about it: how to see all entries that have one


def id_of(value: object) -> int | str:
    """An id, equal for 7, 7.0 and "7", which exporters mix; others, such as UUIDs, are text."""
    try:
        return whole_number(value)
    except Unusable:
        return str(value)


def visible_files(source: Path, suffix: str) -> list[Path]:
    """The files of a folder and its sub-folders that have a suffix, in any case; sorted.

    Those that systems hide are left out.
    """
    found = []
    for path in source.rglob("*"):
        name = path.relative_to(source)
        if path.suffix.lower() == suffix and not is_hidden(name) and path.is_file():
            found.append(path)
    return sorted(found)


def stated_size(height: object, width: object) -> tuple[int, int] | None:
    """(H, W), which may be written as text or floats; None if neither is there.

    Raises:
        Unusable: one of them is not a whole number.
    """
    if height is None and width is None:
        return None
    return whole_number(height), whole_number(width)


def reason_of(error: Exception) -> str:
    """Why an entry cannot be used, in words instead of the names of Python's errors."""
    return f"it has no {error}" if isinstance(error, KeyError) else str(error)


def read_text(path: Path) -> str:
    """The text of a file in UTF-8, or in UTF-16 with a byte order mark, as Windows writes it.

    Raises:
        UserError: it is in another encoding.
    """
    raw = path.read_bytes()
    is_utf16 = raw.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    try:
        return raw.decode("utf-16" if is_utf16 else "utf-8-sig")
    except UnicodeDecodeError as error:
        raise not_utf8(path, raw, error) from None


def read_json(path: Path) -> Any:
    """The JSON value in a file in UTF-8, UTF-16 or UTF-32.

    Raises:
        UserError: it is in another encoding, or is not JSON.
    """
    raw = path.read_bytes()
    try:
        return json.loads(raw)
    except UnicodeDecodeError as error:
        raise not_utf8(path, raw, error) from None
    except (ValueError, RecursionError) as error:
        raise not_json(path, raw, error) from None
