"""Image files: where they lie under a folder, and their pixels as RGB."""

import os
import re
from functools import cached_property
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from la.errors import MissingFile, UserError


class ImageFolder:
    """The files under a folder by name, looked up once, when a file is first asked for.

    Args:
        root: the folder.
        split: "train" or "val": of several files of one name, the one in a folder of that split is
            meant.
    """

    def __init__(self, root: Path, split: str = "") -> None:
        self.root = root
        self.split = split

    def find(self, name: str) -> Path:
        """The file of a name, or its twin of COCO 2014 or 2017; `train/1.jpg` is not `val/1.jpg`.

        Raises:
            FileNotFoundError: there is no such folder, or no such file in it.
            ValueError: several files fit equally well.
        """
        name = name.replace("\\", "/")
        base = name.rpartition("/")[2]
        twins = self._by_name.get(_common_name(base), [])
        for ending in (f"/{name}", f"/{base}"):
            fits = [path for path in twins if path.endswith(ending)]
            if len(fits) > 1 and self.split:
                fits = [path for path in fits if self._is_of_split(path)] or fits
            if len(fits) > 1:
                raise UserError(f"{fits[0]} and {fits[1]} are both named {name}; keep one")
            if fits:
                return Path(fits[0])
        if twins:
            return Path(twins[0])
        raise MissingFile(f"no file {name} under {self.root}; put it there or leave the image out")

    def _is_of_split(self, path: str) -> bool:
        """Whether a folder on the way from the root to the file is named after the split."""
        folders = Path(path).relative_to(self.root).parts[:-1]
        return any(folder.startswith(self.split) for folder in folders)

    @cached_property
    def _by_name(self) -> dict[str, list[str]]:
        if not self.root.is_dir():
            raise MissingFile(f"no folder {self.root}; give the one that holds the images")
        files: dict[str, list[str]] = {}
        visited: set[str] = set()
        for folder, folders, names in os.walk(self.root, followlinks=True):
            if (real := os.path.realpath(folder)) in visited:  # a link back to where we were
                folders.clear()
                continue
            visited.add(real)
            for name in sorted(names):
                files.setdefault(_common_name(name), []).append(os.path.join(folder, name))
        return files


def read_rgb(path: Path, size: tuple[int, int]) -> Image.Image:
    """The image at `path` as 8-bit RGB of the stated (H, W).

    Annotations are drawn on the pixels as stored, so an EXIF rotation is applied only where the
    stated size asks for it.

    Raises:
        ValueError: the file is damaged, no image, or of another size.
    """
    stated = size[::-1]
    try:
        with Image.open(path) as file:
            image = ImageOps.exif_transpose(file) if stated != file.size == size else file
            if image.size != stated:
                sizes = "it has {} x {} pixels, the annotations say {} x {}"
                raise ValueError(sizes.format(*image.size, *stated))
            return to_rgb(image)
    except Exception as error:  # decoders raise whatever a damaged file leads them to
        raise UserError(f"{path}: {error}; replace the file or leave the image out") from None


def to_rgb(image: Image.Image) -> Image.Image:
    """8-bit RGB: transparency is dropped, 16-bit greys are scaled to 8."""
    if image.mode.startswith("I"):
        grey = np.asarray(image).astype(np.int64).clip(0, 65535)
        image = Image.fromarray((grey // 257).astype(np.uint8))
    if image.mode == "P":  # only RGBA takes a table of transparency without complaint
        image = image.convert("RGBA")
    return image.convert("RGB")


def _common_name(name: str) -> str:
    """A file name without the prefix that COCO's 2014 release has and its 2017 release has not."""
    return re.sub(r"^COCO_(train|val|test)\d{4}_", "", name)
