"""Finds image files under a folder, and reads them as upright 8-bit RGB."""

import logging
import os
import re
import unicodedata
from collections.abc import Callable
from functools import cache, cached_property
from pathlib import Path, PurePath
from urllib.parse import unquote

import numpy as np
from PIL import ExifTags, Image, ImageOps

from la.data.pictures.picture_files import distinct, is_hidden
from la.errors import MissingFile, UserError, no_folder

logger = logging.getLogger(__name__)

DRAWING_SCALE = 2  # larger images, relative to the input, are not drawings of the package

# Folders that hold masks or labels under the names of the images.
MASK_FOLDERS = {"mask", "masks", "label", "labels", "annotations", "segmentation", "gt"}
MASK_FOLDERS |= {"segmentationclass", "segmentationobject"}
IMAGE_FOLDERS = {"data", "image", "images", "img", "imgs", "jpegimages"}
ADDRESS = re.compile(r"[a-zA-Z][a-zA-Z0-9+.-]*://")  # such as https://, s3://, file://
BITS = (8, 10, 12, 14, 16)  # of greys that cameras and scanners write


class BrokenLink(MissingFile):
    """The file that a name means is a link to a file that does not exist."""


class ImageFolder:
    """The files under a folder by name, looked up once, when a file is first asked for.

    Args:
        root: the folder; hidden folders in it are skipped.
        split: "train" or "val": of several files of one name, the one in a folder of that split is
            taken.
    """

    def __init__(self, root: Path, split: str = "") -> None:
        self.root = root
        self.split = split

    def find(self, name: str) -> Path:
        """The file that an annotation file calls `name`.

        A bare name is searched for in all folders. A name with folders has to agree with them:
        `cam1/1.jpg` is not `cam2/1.jpg`. An absolute path or a web address, which are of another
        machine, agree with a file if the file's path under the root, or under a folder such as
        `images` there, ends them. COCO's names of 2014 and 2017, upper and lower case, forms of
        Unicode, %20 for a space, and spaces around a name are spellings of one name; if several
        files are left, the closest spelling is taken.

        Raises:
            MissingFile: there is no such folder, or no such file in it.
            UserError: several files fit equally well.
        """
        name = re.sub(r"(?<!:)/(\.?/)+", "/", name.replace("\\", "/"))  # a//b and a/./b are a/b
        elsewhere: list[str] = []
        for spelling in _spellings(name):
            paths = self._by_name.get(_spelled_alike(_base(spelling)), [])
            agreeing = [path for path in paths if self._agrees(path, spelling)]
            fits = distinct(self._closest(agreeing, spelling))
            if len(fits) > 1:
                raise UserError(
                    f"{fits[0]} and {fits[1]} are both named {name}; keep one, or write its "
                    "folder into file_name"
                )
            if fits and not os.path.exists(fits[0]):
                raise BrokenLink(f"{fits[0]} is a link to a file that does not exist; mend it")
            if fits:
                return Path(fits[0])
            elsewhere += paths
        if elsewhere:
            raise MissingFile(
                f"no file {name} under {self.root}; {elsewhere[0]} lies in another folder and is "
                "not taken for it; move it, or correct file_name"
            )
        raise MissingFile(f"no file {name} under {self.root}; put it there or leave the image out")

    def files(self) -> list[str]:
        """The paths of all files, without those in folders of masks and links to nothing."""
        paths = [path for of_name in self._by_name.values() for path in of_name]
        return [path for path in paths if self._is_no_mask(path) and os.path.exists(path)]

    def _agrees(self, path: str, name: str) -> bool:
        """Whether a file is in the folders that its name states."""
        if "/" not in name:
            return True
        stated, actual = _spelled_alike(name), _spelled_alike(path)
        is_absolute = is_address(name) or re.match("/|[a-z]:", stated)
        if not is_absolute and ".." not in stated.split("/"):
            return f"/{actual}".endswith(f"/{stated.removeprefix('./')}")
        under_root = self._under_root(path)
        folder, _, inside = under_root.partition("/")
        return stated.endswith(f"/{inside if folder in IMAGE_FOLDERS else under_root}")

    def _under_root(self, path: str) -> str:
        return _spelled_alike(os.path.relpath(path, self.root))

    def _closest(self, paths: list[str], name: str) -> list[str]:
        """The files that fit best."""
        preferences: tuple[Callable[[str], bool], ...] = (
            lambda path: path.endswith(f"/{name}"),
            lambda path: _spelled_alike(name).endswith(f"/{self._under_root(path)}"),
            lambda path: path.endswith(f"/{_base(name)}"),
            self._is_of_split,
            self._is_no_mask,
        )
        for is_preferred in preferences:
            if len(paths) > 1:
                paths = [path for path in paths if is_preferred(path)] or paths
        return paths

    def _folders(self, path: str) -> list[str]:
        """The folders on the way from the root to a file."""
        return os.path.relpath(path, self.root).lower().split("/")[:-1]

    def _is_of_split(self, path: str) -> bool:
        if not self.split:
            return False
        return any(folder.startswith(self.split) for folder in self._folders(path))

    def _is_no_mask(self, path: str) -> bool:
        return MASK_FOLDERS.isdisjoint(self._folders(path))

    @cached_property
    def _by_name(self) -> dict[str, list[str]]:
        if not self.root.is_dir():
            raise no_folder(self.root, "give the folder that holds the images")
        files: dict[str, list[str]] = {}
        visited: set[str] = set()
        for folder, folders, names in os.walk(self.root, followlinks=True):
            real = os.path.realpath(folder)
            if real in visited:  # a link back to a folder on the way
                folders.clear()
                continue
            visited.add(real)
            folders[:] = sorted(name for name in folders if not is_hidden(PurePath(name)))
            for name in sorted(names):
                files.setdefault(_spelled_alike(name), []).append(os.path.join(folder, name))
        return files


def read_rgb(path: Path, size: tuple[int, int]) -> Image.Image:
    """The image at `path` as 8-bit RGB of the stated (H, W).

    Annotations are in the upright frame, in which viewers show an image, if its size is the stated
    one. Otherwise they are in the frame of the pixels as stored, if that has the stated size.

    Raises:
        UserError: the file is damaged, not an image, or of another size.
    """
    stated = size[::-1]
    try:
        with Image.open(path) as file:
            stored = file.size
            image: Image.Image = file
            if orientation(file) != 1:
                upright = ImageOps.exif_transpose(file)
                if upright.size == stated:
                    image = upright
                    if stored == stated:
                        _tell_of_rotation(path.parent)
            if image.size != stated:
                sizes = "it has {} x {} pixels, the annotations say {} x {}"
                raise ValueError(sizes.format(*image.size, *stated))
            return to_rgb(image)
    except Exception as error:  # decoders raise all kinds of errors on damaged files
        raise UserError(f"{path}: {error}; replace the file or leave the image out") from None


def orientation(image: Image.Image) -> int:
    """How the pixels are stored, by EXIF: 1 upright, 3 upside down, 6 and 8 on a side, ..."""
    return image.getexif().get(ExifTags.Base.Orientation, 1)


@cache
def _tell_of_rotation(folder: Path) -> None:
    """Log, once for each folder, that its images could be read in two ways."""
    logger.warning(
        "%s: images are stored rotated (EXIF) and have the stated size either way; they are read "
        "upright, as viewers show them; python -m la data counts them",
        folder,
    )


def to_rgb(image: Image.Image) -> Image.Image:
    """8-bit RGB: transparency is dropped, greys of more bits or of floats are scaled to 8 bits."""
    if image.mode.startswith(("I", "F")):
        image = Image.fromarray(_to_8_bits(np.asarray(image)))
    if image.mode == "P":  # only RGBA takes a table of transparency without complaint
        image = image.convert("RGBA")
    return image.convert("RGB")


def _to_8_bits(grey: np.ndarray) -> np.ndarray:
    """(H, W) uint8 of greys of any range; NaN and what is below 0 are black.

    White is 1 for floats up to 1, else the largest number of as many bits as the brightest pixel
    has: a file of 16 bits often holds the 12 of a camera.
    """
    values = np.nan_to_num(grey.astype(np.float64), posinf=0.0).clip(min=0)
    brightest = values.max(initial=0)
    whites = [2**bits - 1 for bits in BITS]
    if np.issubdtype(grey.dtype, np.floating):
        whites.insert(0, 1)
    white = next((white for white in whites if brightest <= white), brightest)
    return (values * 255 / white).astype(np.uint8)


def is_address(name: str) -> bool:
    """Whether a file name is a web address, or that of a store such as s3://."""
    return ADDRESS.match(name.strip()) is not None


def _spellings(name: str) -> list[str]:
    """The name as it is, without spaces around it or the query of an address, and without %20."""
    plain = name.strip()
    if is_address(plain):
        plain = re.split("[?#]", plain)[0]
    return list(dict.fromkeys((name, plain, unquote(plain))))


def _base(name: str) -> str:
    """The name without folders."""
    return name.rpartition("/")[2]


def _spelled_alike(name: str) -> str:
    """Equal for names that differ in case, in their form of Unicode, or in COCO's prefix of 2014.

    NFKC makes spaces of the spaces that screenshots have in their names.
    """
    if not name.isascii():
        name = unicodedata.normalize("NFKC", name)
    return re.sub(r"coco_(train|val|test)\d{4}_(?=[^/]*$)", "", name.casefold())
