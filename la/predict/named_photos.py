"""The photographs that annotations of other programs name, under a folder that may have moved."""

from collections.abc import Sequence
from pathlib import Path

from la.data.picture_files import distinct
from la.errors import MissingFile, UserError
from la.formats.marked import same_spelling
from la.predict.folder import find_photos


class NamedPhotos:
    """The photographs under a folder, found by name with or without suffix and folders."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.paths = find_photos(folder, folder / "masks")

    def find(self, name: str) -> Path:
        """The photograph that annotations call `name`.

        Raises:
            MissingFile: there is none.
            UserError: there are several.
        """
        name = name.replace("\\", "/")
        fits = [path for path in self.paths if is_named(path.as_posix(), [name])]
        if not fits:  # annotations that were made in a folder that has moved
            base = name.rpartition("/")[2]
            fits = [path for path in self.paths if is_named(path.name, [base])]
        if not fits:
            raise MissingFile(f"no photograph {name} under {self.folder}; put it there")
        if len(distinct(map(str, fits))) > 1:
            raise UserError(f"{fits[0]} and {fits[1]} are both named {name}; keep one")
        return fits[0]


def is_named(path: str, names: Sequence[str]) -> bool:
    """Whether a path ends with one of the names, with or without suffix."""
    whole = same_spelling(f"/{path}")
    stem = whole.rpartition(".")[0]
    endings = tuple(same_spelling(f"/{name}") for name in names)
    return whole.endswith(endings) or stem.endswith(endings)
