"""Entries of a COCO file: reads values in the forms that exporters write, counts unusable ones."""

import gc
import re
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from la.data.coco.numbers import not_finite, to_number
from la.data.coco.segmentations import Unusable, rings_of
from la.errors import UserError
from la.wording import counted, listed


@dataclass
class Skipped:
    """Entries that are left out: descriptions by reason."""

    described: dict[str, list[str]] = field(default_factory=dict)

    def add(self, reason: str, place: str, why: str) -> None:
        """Describe one entry, such as `annotations[3]`."""
        self.described.setdefault(reason, []).append(f"{place}: {why}")


@dataclass
class Noticed:
    """What is unusual about annotations that are used nevertheless."""

    boxes_only: int = 0
    repeated_ids: int = 0
    beyond: list[str] = field(default_factory=list)  # places, such as `annotations[3]`

    def notes(self) -> list[str]:
        """A sentence for each kind that occurred."""
        notes = []
        if self.boxes_only:
            notes.append(
                f"{counted(self.boxes_only, 'annotation')} with a box and no mask: not scored"
            )
        if self.repeated_ids:
            repeated = counted(self.repeated_ids, "annotation")
            notes.append(f"{repeated} with the id of an earlier one: told apart by position")
        if self.beyond:
            notes.append(beyond_the_image("annotation", self.beyond))
        return notes


def beyond_the_image(kind: str, places: Sequence[str]) -> str:
    """The note about shapes that leave their image, of which the first are named."""
    return f"{counted(len(places), kind)} cut at the border of the image: {listed(places)}"


@contextmanager
def no_garbage_collection() -> Iterator[None]:
    """Pauses the collector of reference cycles in this block.

    It would search the millions of lists of a large file repeatedly, although JSON has no cycles,
    and take a third of the time of parsing.
    """
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


def whole_number(value: object) -> int:
    """A whole number, which may be written as text or as a float.

    Raises:
        Unusable: the value is not a whole number, or does not fit into 64 bits.
    """
    number = value
    if isinstance(value, str) and re.fullmatch(r"-?\d{1,19}(\.0*)?", value):
        number = int(value.split(".")[0])
    if isinstance(value, float) and value.is_integer():
        number = int(value)
    if isinstance(number, bool) or not isinstance(number, int) or not -(2**63) <= number < 2**63:
        raise Unusable(f"{value!r:.40} is not a whole number")
    return number


def id_of(entry: dict[str, Any], field: str) -> int:
    """A field that is a whole number.

    Raises:
        Unusable: it is something else.
    """
    try:
        return whole_number(entry.get(field))
    except Unusable as error:
        raise Unusable(f"{field} {error}") from None


def as_object(entry: object) -> dict[str, Any]:
    """The entry.

    Raises:
        Unusable: the entry is not a JSON object.
    """
    if not isinstance(entry, dict):
        raise Unusable(f"{entry!r:.40} is not an object")
    return entry


def text_of(entry: dict[str, Any], name: str) -> str:
    """A field that is a text, or a whole number, which some exporters write for a name.

    Raises:
        Unusable: the field is neither, is empty, or cannot be written to a file.
    """
    value = entry.get(name)
    if type(value) is int:
        return str(value)
    if not isinstance(value, str) or not value or "\0" in value:
        raise Unusable(f"{name} is {value!r:.40}, no text")
    try:
        value.encode()
    except UnicodeEncodeError:
        raise Unusable(f"{name} {value!r:.40} holds half a character") from None
    return value


def image_name(entry: dict[str, Any]) -> str:
    """The file name of an image, in place of which LVIS has only a web address.

    Raises:
        Unusable: see `text_of`.
    """
    has_address_alone = "coco_url" in entry and "file_name" not in entry
    return text_of(entry, "coco_url" if has_address_alone else "file_name")


def same_spelling(name: str) -> str:
    """A name without spaces around it, and with its letters composed (NFC).

    macOS stores an accent as a separate character.
    """
    return unicodedata.normalize("NFC", name).strip()


def row_of_name(names: Iterable[str], path: Path) -> dict[str, int]:
    """The positions of classes by `same_spelling` of their names.

    Raises:
        UserError: two classes have the same name.
    """
    rows: dict[str, int] = {}
    for row, name in enumerate(map(same_spelling, names)):
        if name in rows:
            raise UserError(
                f"{path} has two classes named {name!r}; merge them, or give each a name of its own"
            )
        rows[name] = row
    return rows


def usable_box(value: object, height: int, width: int) -> tuple[float, ...] | None:
    """x, y, width, height; None unless they are four numbers, not empty, and on the image."""
    if not isinstance(value, list) or len(value) != 4:
        return None
    x, y, box_width, box_height = map(to_number, value)
    limit = 3 * max(height, width)
    has_size = 0 < box_width <= limit and 0 < box_height <= limit
    is_on_image = -box_width < x < width and -box_height < y < height
    return (x, y, box_width, box_height) if has_size and is_on_image else None


def why_no_box(value: object) -> str:
    """Why a box is not usable, as a clause that begins with the name of its field."""
    if value is None:
        return "bbox is missing"
    shown = f"bbox {value!r:.60}"
    if not isinstance(value, list) or len(value) != 4:
        return f"{shown} is not a list of x, y, width and height"
    odd = not_finite(value)
    return f"{shown} holds {odd}" if odd else f"{shown} is empty, too large or off the image"


def check_pixels(entries: list[Any], path: Path) -> None:
    """Check that the coordinates of polygons are pixels.

    Raises:
        UserError: every coordinate of every polygon is a fraction of the image.
    """
    largest, n_polygons = 0.0, 0
    for entry in entries:
        shape = entry.get("segmentation") if isinstance(entry, dict) else None
        for points in rings_of(shape) if isinstance(shape, list) else ():
            numbers = [x for x in points if type(x) in (int, float)] if type(points) is list else []
            largest = max([largest, *numbers])
            n_polygons += bool(numbers)
        if largest > 1:
            return
    if n_polygons:
        raise UserError(
            f"{path}: all coordinates of polygons lie between 0 and 1; COCO's are pixels, so "
            "multiply x by the image's width and y by its height"
        )
