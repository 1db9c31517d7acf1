"""Labels in YOLO's segmentation format: a text file for each photograph, a line for each object."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

from la.data.coco.numbers import not_finite
from la.errors import UserError
from la.formats.marked import Marked, Polygons, RelativeBox, read_text, visible_files
from la.wording import counted

BEYOND = 0.5  # of the image, by which a coordinate may leave it; pixels leave it farther

LABELS = "labels"  # the folder beside `images`
NOTES = ("readme", "classes.txt")  # how text files begin that hold no objects


def label_files(source: Path) -> list[Path]:
    """The label files of a folder: those in folders `labels`, or else all text files of objects.

    Roboflow's exports hold `train/labels`, `valid/labels` and notes such as README.dataset.txt.
    """
    files = visible_files(source, ".txt")
    in_labels = [path for path in files if LABELS in path.relative_to(source).parts[:-1]]
    others = [path for path in files if not path.name.lower().startswith(NOTES)]
    return in_labels or others


def class_names(source: Path) -> dict[int, str]:
    """The class names of `data.yaml` or `classes.txt`, in the folder or the one above, by number.

    Raises:
        UserError: there is no such file, it names no class, or it is damaged.
    """
    unnamed: Path | None = None
    for folder in (source, source.parent):
        for path in sorted([*folder.glob("*.yaml"), *folder.glob("*.yml")]):
            try:
                # This loader returns only text: a class named "no" does not become False.
                content = yaml.load(read_text(path), Loader=yaml.BaseLoader)
            except yaml.YAMLError as error:
                fault = " ".join(str(error).split())
                raise UserError(
                    f"{path} is not YAML: {fault}; put a name that contains a colon in quotes"
                ) from None
            names = content.get("names") if isinstance(content, dict) else None
            if names and isinstance(names, dict):
                return _texts(_by_number(names, path), path)
            if names and isinstance(names, list):
                return _texts(dict(enumerate(names)), path)
            unnamed = unnamed or path
        if (folder / "classes.txt").is_file():
            lines = enumerate(read_text(folder / "classes.txt").splitlines())
            return {number: line.strip() for number, line in lines if line.strip()}
    if unnamed is not None:
        raise UserError(f"{unnamed} has no list `names`; add it, with the names of the classes")
    raise UserError(f"{source} has no data.yaml or classes.txt; add one with the class names")


def _texts(names: dict[int, Any], path: Path) -> dict[int, str]:
    """The names.

    Raises:
        UserError: one of them is not a text, as of a name with a colon and without quotes.
    """
    for name in names.values():
        if not isinstance(name, str):
            raise UserError(
                f"{path}: names holds {name!r:.40}, which is not a text; put a name that contains "
                "a colon in quotes"
            )
    return names


def _by_number(names: dict[str, Any], path: Path) -> dict[int, Any]:
    """The names of a `data.yaml` that numbers them.

    Raises:
        UserError: a key is not a number.
    """
    for number in names:
        if not number.isdecimal():
            raise UserError(f"{path}: names has the key {number!r:.40}; write NUMBER: NAME")
    return {int(number): names[number] for number in sorted(names, key=int)}


def read_labels(path: Path, source: Path, names: Mapping[int, str]) -> Iterator[Marked]:
    """The objects in a text file of the folder `source`.

    Raises:
        UserError: a line is not a class number followed by coordinates in shares of the image.
    """
    photo = _photo(path.relative_to(source).with_suffix(""))
    for number, line in enumerate(read_text(path).splitlines(), 1):
        if not line.strip():
            continue
        where = f"{path}, line {number}: {line!r:.60}"
        try:
            row, *numbers = map(float, line.split())
        except ValueError:
            raise UserError(f"{where} holds something that is not a number") from None
        odd = not_finite([row, *numbers])
        if odd:
            raise UserError(f"{where} holds {odd}")
        if row not in names:
            raise UserError(
                f"{where} does not begin with a class number (of {counted(len(names), 'class')})"
            )
        if not all(-BEYOND <= share <= 1 + BEYOND for share in numbers):
            raise UserError(
                f"{where} holds coordinates that are not shares of the image; divide x by its "
                "width and y by its height"
            )
        if len(numbers) != 4 and (len(numbers) < 6 or len(numbers) % 2):
            raise UserError(
                f"{where} holds {counted(len(numbers), 'number')} after that of the class; a box "
                "has 4 and a polygon 6, 8, ...; leave out the confidence of a prediction"
            )
        name = names[int(row)]
        if len(numbers) == 4:
            yield Marked(photo, name, RelativeBox(*numbers))
        else:
            yield Marked(photo, name, Polygons([numbers], relative=True))


def _photo(label: Path) -> str:
    """The photograph of a label file without suffixes: `train/images/a` of `train/labels/a`."""
    parts = label.parts
    if LABELS not in parts[:-1]:
        return label.as_posix()
    place = parts.index(LABELS)
    before = (*parts[:place], "images") if place else ()
    return Path(*before, *parts[place + 1 :]).as_posix()
