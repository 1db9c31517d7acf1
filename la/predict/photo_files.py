"""The photographs of a folder that is segmented, and the pictures there that are not read."""

import logging
import os
from pathlib import Path

from la.data.pictures.picture_files import SUFFIXES, is_hidden, is_picture
from la.errors import MissingFile, UserError, no_folder
from la.wording import listed

# Pictures of kinds that are not read: those of cameras' sensors and of some programs.
RAW = {".arw", ".cr2", ".cr3", ".dng", ".nef", ".orf", ".raf", ".rw2"}
OTHERS = {".dcm", ".jxl", ".pbm", ".pgm", ".ppm", ".psd", ".tga"}
log = logging.getLogger(__name__)


def find_photos(images: Path, out: Path) -> list[Path]:
    """The pictures under a folder, linked folders included, but not those under `out`.

    Raises:
        MissingFile: there is no such folder, or no picture in it.
        UserError: all pictures are under `out`.
    """
    if not images.is_dir():
        raise no_folder(images, "give the folder that holds the images")
    photos = [path for path in _files(images, out) if is_picture(path.relative_to(images))]
    if photos:
        return photos
    is_inside = out.resolve().is_relative_to(images.resolve())
    if is_inside and any(is_picture(path.relative_to(out)) for path in out.rglob("*")):
        raise UserError(f"all images under {images} lie in {out}, which is not searched; move them")
    raise MissingFile(f"no image under {images}; known suffixes: {', '.join(sorted(SUFFIXES))}")


def other_pictures(images: Path, out: Path) -> list[Path]:
    """The pictures under a folder that are of kinds which are not read; their names are logged."""
    others = [
        path
        for path in _files(images, out)
        if path.suffix.lower() in RAW | OTHERS and not is_hidden(path.relative_to(images))
    ]
    if others:
        names = [path.relative_to(images).as_posix() for path in others]
        log.warning("skipped, because their format is not read: %s", listed(names))
    return others


def _files(images: Path, out: Path) -> list[Path]:
    """All files under a folder, sorted; each linked folder once, and `out` not at all."""
    files: list[Path] = []
    visited = {os.path.realpath(out)}
    for folder, subfolders, names in os.walk(images, followlinks=True):
        real = os.path.realpath(folder)
        if real in visited:  # a link to a folder that was searched already
            subfolders.clear()
            continue
        visited.add(real)
        files += [Path(folder, name) for name in names]
    return sorted(files)
