"""A report on the user's own folder: its content, each fault with its fix, possible episodes.

`la data FOLDER` prints it. Each image is opened once, JPEG at an eighth of its size.
"""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from PIL import Image

from la.config import Protocol
from la.data import folds
from la.data.contents import BLANK, FEW, replaced_pictures
from la.data.dataset import Data
from la.data.episodes import presence
from la.data.images import orientation
from la.data.index import CocoIndex
from la.data.layouts import IMAGE_SUFFIXES
from la.data.reconcile import identifies
from la.errors import UserError
from la.files import progress_bar

NAMED = 3  # images that are named for each fault; the others are counted
LISTED = 100  # classes that are listed
SHOTS = (1, 5)

MENDS = {  # in the order in which they are reported
    "missing": "have no file; put it there, or take the entry out of the list `images`",
    "unreadable": "cannot be read; replace the file",
    "other size": "have another size than the file states; export the annotations again",
    "several files": "have several files of their name; keep one, or write its folder in file_name",
    "twins": "show a picture that an earlier entry shows; they are merged with it",
    "replaced": "were replaced since they were first read; what depends on them is computed anew",
    "upright": "are stored rotated (EXIF); the stated size is the upright one, so they are turned",
    "either frame": "are stored rotated (EXIF) and the stated size fits both ways; they are read "
    "upright, as viewers show them; if masks lie wrong, store the pixels upright",
    "as stored": "are stored rotated (EXIF) and the stated size is that of the stored pixels; they "
    "are not turned",
    "greys": "are greys of more than 8 bits; each is scaled by its own range",
    "blank": "have one colour",
    "not annotated": "have no annotation; no episode shows them",
    "unlisted": "are image files in no entry of the list `images`; they are not used",
}


def check(data: Data, folder: Path, rule: folds.Rule) -> str:
    """The report.

    Args:
        folder: what was opened as `data`.
        rule: how classes are assigned to folds.
    """
    lines = _classes(data)
    for index in data.files:
        lines += _skipped(index)
        for fault, names in _images(index).items():
            named = ", ".join(names[:NAMED]) + (", ..." if len(names) > NAMED else "")
            what, _, mend = MENDS[fault].partition("; ")
            count = f"{len(names)} ({named})"
            lines.append(
                f"{_name(index)}: images that {what}: {count}" + (f"; {mend}" if mend else "")
            )
    return "\n".join([*lines, *_possible(data, folder, rule)])


def _name(index: CocoIndex) -> str:
    return f"{index.source.parent.name}/{index.source.name}"


def _classes(data: Data) -> list[str]:
    """A line for each class: the images in which it can be support or query, and its instances."""
    ids = tuple(data.test.category_ids.tolist())
    protocol = Protocol(small_area=data.small_area)
    train, test = (presence(index, ids, protocol).sum(0) for index in (data.train, data.test))
    instances = np.zeros(len(ids), np.int64)
    regions = np.zeros(len(ids), np.int64)
    for index in (data.train, data.test):
        crowd, category = index.annotation_crowd, index.annotation_category
        instances += np.bincount(category[~crowd], minlength=len(ids))
        regions += np.bincount(category[crowd], minlength=len(ids))
    lines = [f"{'class':30}{'train images':>13}{'test images':>12}{'instances':>10}{'unscored':>9}"]
    order = np.argsort(test, kind="stable") if len(ids) > LISTED else np.arange(len(ids))
    for row in order[:LISTED].tolist():
        class_id, name = ids[row], data.test.category_names[row]
        label = f"{class_id} {name if name.isprintable() else repr(name)}"
        lines.append(
            f"{label[:29]:30}{train[row]:13}{test[row]:12}{instances[row]:10}{regions[row]:9}"
        )
    if len(ids) > LISTED:
        lines.append(
            f"and {len(ids) - LISTED} classes with {test[order[LISTED]]} test images or more"
        )
    return lines


def _skipped(index: CocoIndex) -> list[str]:
    """The entries that could not be used, and what was noticed about others."""
    lines = []
    for reason, count in index.skipped.items():
        lines.append(f"{_name(index)}: {count} entries are left out ({reason}), such as")
        lines += [f"    {description}" for description in index.described[reason]]
    return lines + [f"{_name(index)}: {note}" for note in index.notes]


def _images(index: CocoIndex) -> dict[str, list[str]]:
    """Names of images by fault, in the order of MENDS."""
    found: dict[str, list[str]] = {fault: [] for fault in MENDS}
    paths: list[Path] = []
    sizes: list[tuple[int, int]] = []
    for image_id, name in zip(index.image_ids.tolist(), index.file_names, strict=True):
        try:
            paths.append(index.path(image_id))
        except UserError as error:
            several = "both named" in str(error)
            found["several files" if several else "missing"].append(name)
            continue
        sizes.append(index.size(image_id))
        if not len(index.annotations_of(image_id)):
            found["not annotated"].append(name)
    with ThreadPoolExecutor(4) as pool:  # decoding releases the interpreter's lock
        looks = pool.map(_faults, paths, sizes)
        bar = progress_bar(
            looks,
            desc="checking images",
            total=len(paths),
            unit="image",
            disable=len(paths) < FEW,
        )
        for faults in bar:
            for fault, text in faults:
                found[fault].append(text)
    for fault, name in _by_content(index):
        found[fault].append(name)
    if paths:
        listed = {str(path) for path in paths}
        for file in index.folder.files():
            if Path(file).suffix.lower() in IMAGE_SUFFIXES and file not in listed:
                found["unlisted"].append(Path(file).name)
    return {fault: names for fault, names in found.items() if names}


def _faults(path: Path, size: tuple[int, int]) -> list[tuple[str, str]]:
    """The faults of one file whose stated size is (H, W), each with a description of the file."""
    try:
        with Image.open(path) as image:
            stored, mode, turned = image.size, image.mode, orientation(image)
            image.draft("L", (1, 1))  # JPEG is decoded at an eighth of its size
            image.load()
    except Exception as error:  # decoders raise all kinds of errors on damaged files
        return [("unreadable", f"{path.name}: {error}")]
    stated = size[::-1]
    upright = stored[::-1] if turned >= 5 else stored
    faults = []
    if stated not in (stored, upright):
        sizes = "{} x {}, stated {} x {}".format(*upright, *stated)
        faults.append(("other size", f"{path.name}: {sizes}"))
    elif turned != 1 and stored == upright:
        faults.append(("either frame", path.name))
    elif turned != 1:
        faults.append(("upright" if stated == upright else "as stored", path.name))
    if mode.startswith(("I", "F")):
        faults.append(("greys", path.name))
    return faults


def _by_content(index: CocoIndex) -> Iterator[tuple[str, str]]:
    """Faults found by content: repeated pictures, pictures of one colour, replaced files."""
    seen: set[str] = set()
    for name, picture in zip(index.file_names, index.pictures, strict=True):
        if picture.endswith(BLANK):
            yield "blank", name
        if identifies(picture):
            if picture in seen:
                yield "twins", name
            seen.add(picture)
    for path in replaced_pictures(index.images, index.cache):
        yield "replaced", Path(path).name


def _possible(data: Data, folder: Path, rule: folds.Rule) -> list[str]:
    """Which N and K the test images allow, and what to do next."""
    ids = data.test.category_ids
    protocol = Protocol(small_area=data.small_area)
    n_images = presence(data.test, tuple(ids.tolist()), protocol).sum(0)
    lines = []
    for k_shots in SHOTS:
        ways = _most_ways(ids, n_images, k_shots, rule)
        listed = ", ".join(map(str, ways))
        of_folds = " in folds 0, 1, 2, 3" if len(ways) > 1 else ""
        lines.append(f"{k_shots}-shot episodes: N is at most {listed or 0}{of_folds}")
    few = []
    for name, n in zip(data.test.category_names, n_images.tolist(), strict=True):
        if n < 2:
            few.append(name)
    if few:
        listed = ", ".join(few[:NAMED]) + (f" and {len(few) - NAMED} more" if few[NAMED:] else "")
        lines.append(f"too few test images for an episode (2 are needed): {listed}")
    most = min(_most_ways(ids, n_images, 1, rule), default=0)
    if most:
        advice = f"python -m la evaluate --data {folder} --checkpoint quick --ways {most}"
    else:
        advice = (
            "annotate more images of each class, or score a fixed set of examples: "
            f"python -m la evaluate --data {folder} --support prompts.json"
        )
    return [*lines, f"next: {advice}"]


def _most_ways(ids: np.ndarray, n_images: np.ndarray, k_shots: int, rule: folds.Rule) -> list[int]:
    """For each fold the number of classes with K + 1 images; one number without folds."""
    if not len(ids):
        return []
    n_folds = 1 if folds.holds_none_out(ids) else folds.N_FOLDS
    ways = []
    for fold in range(n_folds):
        rows = ids.searchsorted(folds.unseen(ids, fold, rule))
        ways.append(int((n_images[rows] > k_shots).sum()))
    return ways
