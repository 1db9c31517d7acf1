"""The photographs that annotations and prompts name, in folders that may have moved.

Which file a name means is decided by `la.data.pictures.images.ImageFolder`, as for a data set.
"""

import os
from collections.abc import Sequence
from pathlib import Path, PurePath, PurePosixPath

from la.data.coco.entries import same_spelling
from la.data.pictures.images import ImageFolder
from la.data.pictures.picture_files import distinct, is_picture
from la.errors import MissingFile, UserError


class NamedPhotos:
    """The photographs under a folder by name; label files and masks name them without suffix."""

    def __init__(self, folder: Path) -> None:
        self.folder = ImageFolder(folder)
        self.suffixes: dict[str, set[str]] = {}  # of the photographs, by name without suffix
        for file in map(Path, self.folder.files()):
            if is_picture(file.relative_to(folder)):
                self.suffixes.setdefault(_alike(file.stem), set()).add(file.suffix)

    def find(self, name: str) -> Path:
        """The photograph that annotations call `name`, by the rules of `ImageFolder.find`.

        Raises:
            MissingFile: there is none, or it is in another folder than the name states.
            UserError: there are several.
        """
        try:
            return self.folder.find(name)
        except MissingFile as error:
            missing = error
        found = []
        stem = PurePosixPath(name.replace("\\", "/")).name
        for suffix in sorted(self.suffixes.get(_alike(stem), ())):
            try:
                found.append(str(self.folder.find(f"{name}{suffix}")))
            except MissingFile as error:
                missing = error
        fits = distinct(found)
        if not fits:
            raise missing
        if len(fits) > 1:
            raise UserError(f"{fits[0]} and {fits[1]} are both named {name}; keep one")
        return Path(fits[0])


class RelativePhotos:
    """The photographs that a `prompts.json` names, by paths relative to its folder.

    Args:
        folder: of the file.
        source: what messages call the file.
    """

    def __init__(self, folder: Path, source: str) -> None:
        self.folder = folder
        self.source = source
        self._searched: dict[Path, ImageFolder] = {}

    def find(self, name: str) -> Path:
        """The photograph at a path; also in another spelling, or of another machine.

        Raises:
            MissingFile: it is not there.
            UserError: several files fit.
        """
        path = self.folder / name
        if path.is_file():
            return path
        path = self.folder / name.replace("\\", "/")  # a file that was saved on Windows
        if path.is_file():
            return path
        root = Path(os.path.abspath(path.parent))
        wanted = f"{root.name}/{path.name}"  # in the folder itself, not below it
        if not root.is_dir():
            root, wanted = self.folder, name
        try:
            return self._searched.setdefault(root, ImageFolder(root)).find(wanted)
        except MissingFile:
            raise MissingFile(
                f"no photograph {path}, which {self.source} names {name!r}; paths there are "
                "relative to the folder of the file: put it there, or correct file_name"
            ) from None


def is_named(path: str, names: Sequence[str]) -> bool:
    """Whether a path ends with one of the names, in any case; either may lack the suffix.

    Labels of YOLO and masks name their photograph without it.
    """
    whole = _alike(f"/{path}".replace("\\", "/"))
    stem = whole.rpartition(".")[0]
    endings = tuple(_alike(f"/{name}") for name in names)
    stems = tuple(_alike(f"/{_without_suffix(name)}") for name in names)
    return whole.endswith(endings + stems) or stem.endswith(endings)


def _without_suffix(name: str) -> str:
    """A name without the suffix of pictures."""
    return str(PurePath(name).with_suffix("")) if is_picture(PurePath(name)) else name


def _alike(name: str) -> str:
    return same_spelling(name).casefold()
