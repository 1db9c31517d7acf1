"""Labels in YOLO's segmentation format: a text file for each photograph, a line for each object."""

from collections.abc import Iterator
from pathlib import Path

import yaml

from la.errors import UserError
from la.formats.marked import Marked, Polygons, RelativeBox, text_of

BEYOND = 0.5  # of the image, by which a coordinate may leave it; pixels leave it farther


def class_names(source: Path) -> list[str]:
    """The class names of `data.yaml` or `classes.txt`, in the folder or the one above.

    Raises:
        UserError: there is no such file, or it is damaged.
    """
    for folder in (source, source.parent):
        for path in sorted(folder.glob("*.yaml")):
            try:
                content = yaml.safe_load(text_of(path))
            except yaml.YAMLError as error:
                raise UserError(f"{path} is not YAML: {error}".replace("\n", " ")) from None
            names = content.get("names") if isinstance(content, dict) else None
            if isinstance(names, dict):
                return [str(names[number]) for number in sorted(names)]
            if isinstance(names, list):
                return [str(name) for name in names]
        if (folder / "classes.txt").is_file():
            return text_of(folder / "classes.txt").splitlines()
    raise UserError(f"{source} has no data.yaml or classes.txt; add one with the class names")


def read_labels(path: Path, source: Path, names: list[str]) -> Iterator[Marked]:
    """The objects in a text file of the folder `source`.

    Raises:
        UserError: a line is no class number and coordinates in shares of the image.
    """
    labels = source / "labels" if (source / "labels").is_dir() else source
    photo = path.relative_to(labels).with_suffix("").as_posix()
    for number, line in enumerate(text_of(path).splitlines(), 1):
        if not line.strip():
            continue
        where = f"{path}, line {number}: {line!r:.60}"
        try:
            row, *numbers = map(float, line.split())
        except ValueError:
            raise UserError(f"{where} holds something that is no number") from None
        if row not in range(len(names)):
            raise UserError(f"{where} begins with no class number (of {len(names)} classes)")
        if not all(-BEYOND <= share <= 1 + BEYOND for share in numbers):
            raise UserError(
                f"{where} holds coordinates that are no shares of the image; divide x by its "
                "width and y by its height"
            )
        name = names[int(row)]
        if len(numbers) == 4:
            yield Marked(photo, name, RelativeBox(*numbers))
        else:
            yield Marked(photo, name, Polygons([numbers], relative=True))
