"""The images of an annotation file, each opened once: those that cannot be used, and oddities.

JPEG is decoded at an eighth of its size.
"""

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from la.data.coco.index import CocoIndex
from la.data.coco.reconcile import identifies
from la.data.pictures.contents import BLANK, FEW, replaced_pictures
from la.data.pictures.images import BrokenLink, is_address, orientation
from la.data.pictures.picture_files import file_id, is_picture
from la.errors import MissingFile, UserError
from la.files import progress_bar

MISSING = "images that have no file"
BROKEN = "images whose file is a link to a file that does not exist"
ADDRESSES = "images that have no file and whose file_name is a web address"
OTHER_SUFFIX = "images whose file has another suffix than file_name"
SEVERAL = "images that have several files of their name"
UNREADABLE = "images that cannot be read"
OTHER_SIZE = "images that have another size than the file states"
# Faults that stop a run that needs the image.
NO_IMAGE = (MISSING, BROKEN, ADDRESSES, OTHER_SUFFIX, SEVERAL, UNREADABLE, OTHER_SIZE)
ABSENT = "images that have neither a file nor an annotation"
TWINS = "images that show a picture that an earlier entry shows"
REPLACED = "images that were replaced since they were first read"
UPRIGHT = "images that are stored rotated (EXIF)"
EITHER = "images that are stored rotated (EXIF) and the stated size fits both ways"
AS_STORED = "images that are stored rotated (EXIF) and the stated size is that of the stored pixels"
GREYS = "images that are greys of more than 8 bits"
ONE_COLOUR = "images that have one colour"
EMPTY = "images that have no annotation"
UNLISTED = "image files that are in no entry of the list `images`"
MENDS = {  # in the order in which they are reported; right for one image and for many
    MISSING: "put each where its file_name says, or take its entry out of the list `images`",
    BROKEN: "mend each link",
    ADDRESSES: "download each, and write the name of its file",
    OTHER_SUFFIX: "correct file_name",
    SEVERAL: "keep one file of each, or write its folder in file_name",
    UNREADABLE: "replace each file",
    OTHER_SIZE: "export the annotations again",
    ABSENT: "each is left out",
    TWINS: "each is merged with that entry",
    REPLACED: "what depends on a replaced image is computed anew",
    UPRIGHT: "the stated size is the upright one, so each is turned",
    EITHER: "each is read upright, as viewers show it; if masks lie wrong, store the pixels "
    "upright",
    AS_STORED: "each stays as it is stored",
    GREYS: "each is scaled by its own range",
    ONE_COLOUR: "",
    EMPTY: "left out of every episode",
    UNLISTED: "none is used",
}


@dataclass(frozen=True)
class Finding:
    """A kind of fault, or of oddity, in an annotation file or its images."""

    file: str  # the annotation file with its folder
    what: str
    entries: tuple[str, ...] = ()  # that have it
    mend: str = ""
    is_fault: bool = True  # whether an entry is lost or a run stops
    is_of_annotations: bool = False  # otherwise of images


def image_findings(index: CocoIndex) -> list[Finding]:
    """What was found about the images, in the order of `MENDS`."""
    names: dict[str, list[str]] = {what: [] for what in MENDS}
    paths: list[Path] = []
    sizes: list[tuple[int, int]] = []
    for image_id, name in zip(index.image_ids.tolist(), index.file_names, strict=True):
        is_annotated = len(index.annotations_of(image_id)) > 0
        try:
            paths.append(index.path(image_id))
        except MissingFile as error:
            missing = BROKEN if isinstance(error, BrokenLink) else MISSING
            names[missing if is_annotated else ABSENT].append(name)
            continue
        except UserError:
            names[SEVERAL].append(name)
            continue
        sizes.append(index.size(image_id))
        if not is_annotated:
            names[EMPTY].append(name)
    if names[MISSING]:
        names |= _kinds_of_missing(names[MISSING], index)
    with ThreadPoolExecutor(4) as pool:  # decoding releases the interpreter's lock
        looks = pool.map(_look_at, paths, sizes)
        bar = progress_bar(
            looks,
            desc="checking images",
            total=len(paths),
            unit="image",
            disable=len(paths) < FEW,
        )
        for oddities in bar:
            for what, text in oddities:
                names[what].append(text)
    for what, name in _by_content(index):
        names[what].append(name)
    file = f"{index.source.parent.name}/{index.source.name}"
    return [
        Finding(file, what, tuple(of_kind), MENDS[what], is_fault=what in NO_IMAGE)
        for what, of_kind in names.items()
        if of_kind
    ]


def unlisted_images(indexes: Sequence[CocoIndex], folder: Path) -> list[Finding]:
    """The image files under the folders of the indexes that none of these lists.

    Args:
        folder: the data set, relative to which the files are named.
    """
    counted_files = set()
    paths = set()
    for index in indexes:
        counted_files |= {file_id(path) for path in index.paths if path is not None}
        paths |= set(index.folder.files())
    names = []
    for path in sorted(paths):
        name = Path(path).relative_to(folder)
        if is_picture(name) and file_id(path) not in counted_files:
            counted_files.add(file_id(path))
            names.append(name.as_posix())
    if not names:
        return []
    return [Finding(folder.name, UNLISTED, tuple(names), MENDS[UNLISTED], is_fault=False)]


def _kinds_of_missing(names: Sequence[str], index: CocoIndex) -> dict[str, list[str]]:
    """The names of images without a file, by what is wrong with them."""
    stems, there = set(), set()
    for file in map(Path, index.folder.files()):
        if is_picture(file.relative_to(index.images)):
            stems.add(file.stem.casefold())
            there.add(file.name.casefold())
    kinds: dict[str, list[str]] = {MISSING: [], ADDRESSES: [], OTHER_SUFFIX: []}
    for name in names:
        if is_address(name):
            kinds[ADDRESSES].append(name)
            continue
        wanted = Path(name.replace("\\", "/"))
        # A file of exactly this name is in another folder, and may show another picture.
        if wanted.stem.casefold() in stems and wanted.name.casefold() not in there:
            kinds[OTHER_SUFFIX].append(name)
        else:
            kinds[MISSING].append(name)
    return kinds


def _look_at(path: Path, size: tuple[int, int]) -> list[tuple[str, str]]:
    """The oddities of a file that should have the stated (H, W), each with a description."""
    try:
        with Image.open(path) as image:
            stored = image.size
            mode = image.mode
            turned = orientation(image)
            image.draft("L", (1, 1))  # JPEG is decoded at an eighth of its size
            image.load()
    except Exception as error:  # decoders raise all kinds of errors on damaged files
        return [(UNREADABLE, f"{path.name}: {error}")]
    stated = size[::-1]
    upright = stored[::-1] if turned >= 5 else stored
    oddities = []
    if stated not in (stored, upright):
        sizes = f"{upright[0]} x {upright[1]}, stated {stated[0]} x {stated[1]}"
        oddities.append((OTHER_SIZE, f"{path.name}: {sizes}"))
    elif turned != 1 and stored == upright:
        oddities.append((EITHER, path.name))
    elif turned != 1:
        oddities.append((UPRIGHT if stated == upright else AS_STORED, path.name))
    if mode.startswith(("I", "F")):
        oddities.append((GREYS, path.name))
    return oddities


def _by_content(index: CocoIndex) -> Iterator[tuple[str, str]]:
    """Pictures that repeat, have one colour, or were replaced."""
    seen: set[str] = set()
    for name, picture in zip(index.file_names, index.pictures, strict=True):
        if picture.endswith(BLANK):
            yield ONE_COLOUR, name
        if identifies(picture):
            if picture in seen:
                yield TWINS, name
            seen.add(picture)
    for path in replaced_pictures(index.images, index.cache):
        yield REPLACED, Path(path).name
