"""Image files: where they lie under a folder, and their pixels as RGB."""

import os
import re
from functools import cached_property
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps


class ImageFolder:
    """The files under a folder by name, looked up once, when a file is first asked for."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def find(self, name: str) -> Path:
        """The file of a name, or its twin of COCO 2014 or 2017; `train/1.jpg` is not `val/1.jpg`.

        Raises:
            FileNotFoundError: there is no such folder, or no such file in it.
            ValueError: several files fit equally well.
        """
        name = name.replace("\\", "/")
        base = name.rpartition("/")[2]
        candidates = self._by_name.get(_common_name(base), ())
        for ending in (f"/{name}", f"/{base}", ""):
            fits = [path for path in candidates if path.endswith(ending)]
            if len(fits) == 1 or (fits and ending == ""):
                return Path(fits[0])
            if fits:
                raise ValueError(f"{fits[0]} and {fits[1]} are both named {name}; keep one")
        raise FileNotFoundError(
            f"no file {name} under {self.root}; put it there or leave the image out"
        )

    @cached_property
    def _by_name(self) -> dict[str, list[str]]:
        if not self.root.is_dir():
            raise FileNotFoundError(f"no folder {self.root}; give the one that holds the images")
        found, visited = {}, set()
        for folder, folders, names in os.walk(self.root, followlinks=True):
            real = os.path.realpath(folder)
            if real in visited:  # a link back to where we were
                folders.clear()
                continue
            visited.add(real)
            for name in sorted(names):
                found.setdefault(_common_name(name), []).append(os.path.join(folder, name))
        return found


def read_rgb(path: Path, size: tuple[int, int]) -> Image.Image:
    """The image at `path` as 8-bit RGB of the stated (H, W).

    Annotations are drawn on the pixels as stored, so an EXIF rotation is applied only where the
    stated size asks for it. Transparency is dropped; 16-bit greys are scaled to 8.

    Raises:
        ValueError: the file is damaged, no image, or of another size.
    """
    stated = (size[1], size[0])
    try:
        with Image.open(path) as file:
            turned = file.size != stated and file.size == size
            if file.size != stated and not turned:
                raise ValueError(_sizes(file.size, stated))
            image = ImageOps.exif_transpose(file) if turned else file
            if image.size != stated:
                raise ValueError(_sizes(file.size, stated))
            return to_rgb(image)
    except Exception as error:  # decoders raise whatever a damaged file leads them to
        raise ValueError(f"{path}: {error}; replace the file or leave the image out") from None


def _sizes(found: tuple[int, int], stated: tuple[int, int]) -> str:
    return "it has {} x {} pixels, the annotations say {} x {}".format(*found, *stated)


def to_rgb(image: Image.Image) -> Image.Image:
    """8-bit RGB: transparency is dropped, 16-bit greys are scaled to 8."""
    if image.mode.startswith("I"):
        grey = np.asarray(image).astype(np.int64).clip(0, 65535)
        image = Image.fromarray((grey // 257).astype(np.uint8))
    if (
        image.mode == "P"
    ):  # its transparency may be a table, which only RGBA takes without complaint
        image = image.convert("RGBA")
    return image.convert("RGB")


def _common_name(name: str) -> str:
    """A file name without the prefix that COCO's 2014 release has and its 2017 release has not."""
    return re.sub(r"^COCO_(train|val|test)\d{4}_", "", name)
