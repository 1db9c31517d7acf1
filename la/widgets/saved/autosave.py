"""The drawing of a cell on disk, which is restored after a re-run, a restart or a reopening.

Beside the notebook `NAME.ipynb` there is a folder `NAME.drawings`: a file for each cell that has
an editor, which `la predict --support` also reads, and the photographs that have no file
elsewhere.
"""

import hashlib
import json
import os
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import msgspec
from msgspec import Struct

from la.errors import UserError
from la.files import write_whole
from la.predict.prompts.drawing import Role
from la.widgets.photographs.photos import Photo, Placed

_runs: dict[str, tuple[str, int]] = {}  # by cell: its newest run, and how many editors that made


class Origin(Struct, frozen=True):
    """The arguments with which an editor was made, to tell what is new in later ones."""

    photos: tuple[str, ...] = ()  # their ids
    classes: tuple[str, ...] = ()
    prompts: str = ""  # a digest

    @classmethod
    def of(
        cls,
        photos: Sequence[Placed],
        classes: Sequence[str],
        prompts: Sequence[dict[str, Any]],
    ) -> "Origin":
        text = json.dumps(list(prompts), sort_keys=True)
        ids = tuple(place.photo.id for place in photos)
        return cls(ids, tuple(classes), hashlib.sha256(text.encode()).hexdigest()[:16])


@dataclass
class State:
    """Everything that an editor displays and a user has made."""

    photos: list[Placed]
    classes: list[str]
    prompts: list[dict[str, Any]]
    query: int = -1  # the number of the photograph that is segmented
    origin: Origin = Origin()
    reviewed: dict[str, str] = field(default_factory=dict)  # by id: accepted or skipped
    threshold: float = 0.0  # logits that a class needs over background
    removed: list[Placed] = field(default_factory=list)  # not displayed; undo brings them back

    @classmethod
    def given(
        cls,
        photos: list[Placed],
        classes: Sequence[str],
        prompts: Sequence[dict[str, Any]],
    ) -> "State":
        """The arguments of an editor; a single class name needs no list."""
        names = [classes] if isinstance(classes, str) else list(classes)
        return cls(photos, names, list(prompts), origin=Origin.of(photos, names, prompts))

    def with_new_arguments(self, given: "State") -> "State":
        """This state, and what `given` has that the former arguments had not."""
        known = {place.photo.id for place in self.photos} | set(self.origin.photos)
        photos = [place for place in given.photos if place.photo.id not in known]
        named = {*self.classes, *self.origin.classes}
        classes = [name for name in given.classes if name not in named]
        return replace(
            self,
            photos=[*self.photos, *photos],
            classes=[*self.classes, *classes],
            origin=given.origin,
        )


class _Image(Struct):
    file_name: str  # relative to the file
    width: int
    height: int
    role: Role
    id: str
    name: str


class _Category(Struct):
    id: int
    name: str


class _File(Struct):
    images: list[_Image]
    categories: list[_Category]
    prompts: list[dict[str, Any]]
    query: int
    origin: Origin
    reviewed: dict[str, str]
    threshold: float = 0.0  # files of earlier versions have neither of these two
    removed: list[_Image] = []


def cell_file() -> Path | None:
    """Where the drawing of the running cell is kept; None outside of a notebook in Jupyter."""
    notebook = os.environ.get("JPY_SESSION_NAME", "")
    parent = _parent()
    cell = parent.get("metadata", {}).get("cellId")
    if not notebook.endswith(".ipynb") or not cell:
        return None
    run = parent["header"]["msg_id"]
    before, count = _runs.get(cell, ("", 0))
    count = count + 1 if run == before else 1
    _runs[cell] = (run, count)
    folder = Path.cwd() / Path(notebook).with_suffix(".drawings")
    return folder / (f"{cell}.json" if count == 1 else f"{cell}-{count}.json")


def _parent() -> dict[str, Any]:
    """The request that made the kernel run the current code; empty outside of a kernel."""
    from IPython import get_ipython

    shell = get_ipython()
    return shell.get_parent() if hasattr(shell, "get_parent") else {}


def write(state: State, path: Path) -> None:
    """Write a drawing whole, after those of its photographs that have no file yet.

    Raises:
        OSError: the folder cannot be written, or its disk is full.
    """
    images = [_written(place, path) for place in state.photos]
    categories = [_Category(number, name) for number, name in enumerate(state.classes, 1)]
    content = _File(
        images,
        categories,
        state.prompts,
        state.query,
        state.origin,
        state.reviewed,
        state.threshold,
        [_written(place, path) for place in state.removed],
    )
    write_whole(path, msgspec.json.encode(content))


def _written(place: Placed, path: Path) -> _Image:
    """The entry of a photograph; one that has no file yet is written beside `path`."""
    photo = place.photo
    file = photo.path
    if file is None:
        file = path.parent / "photographs" / f"{photo.id}-{_plain(photo.name)}"
        if not file.exists():
            photo.write(file)
    height, width = photo.size
    relative = os.path.relpath(file, path.parent)
    return _Image(relative, width, height, place.role, photo.id, photo.name)


def read(path: Path) -> State:
    """The inverse of `write`; photographs that are gone are left out with their prompts.

    Raises:
        UserError: the file is damaged.
    """
    try:
        file = msgspec.json.decode(path.read_bytes(), type=_File)
    except msgspec.DecodeError as error:
        raise UserError(f"{path} cannot be read: {error}") from None
    photos: list[Placed] = []
    number_of = {}  # new numbers of the photographs that are there
    for number, image in enumerate(file.images):
        place = _opened(image, path)
        if place is not None:
            number_of[number] = len(photos)
            photos.append(place)
    removed = [_opened(image, path) for image in file.removed]
    prompts = [
        {**prompt, "img": number_of[prompt["img"]]}
        for prompt in file.prompts
        if prompt["img"] in number_of
    ]
    return State(
        photos=photos,
        classes=[category.name for category in file.categories],
        prompts=prompts,
        query=number_of.get(file.query, -1),
        origin=file.origin,
        reviewed=file.reviewed,
        threshold=file.threshold,
        removed=[place for place in removed if place is not None],
    )


def _opened(image: _Image, path: Path) -> Placed | None:
    """The photograph of an entry; None if its file is gone or has another size."""
    source = Path(os.path.normpath(path.parent / image.file_name))
    try:
        photo = Photo.open(source, image.name)
    except UserError:
        return None
    if photo.size != (image.height, image.width):
        return None
    photo.id, photo.name = image.id, image.name
    return Placed(photo, image.role)


def _plain(name: str) -> str:
    """A photograph's name as a file name that is valid on every file system."""
    plain = "".join(letter if letter.isalnum() or letter in "-_." else "_" for letter in name)
    return plain[-80:]
