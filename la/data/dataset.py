"""What a run trains and tests on: the embedded data set, or a COCO-format folder."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from la.config import Protocol
from la.data.coco.index import CocoIndex
from la.data.coco.layouts import annotation_files, find, image_root
from la.data.coco.reconcile import (
    identifies,
    ids_by_name,
    with_common_classes,
    without_absent,
    without_empty_classes,
    without_repetitions,
)
from la.data.embedded import synthetic
from la.data.sampling.folds import holds_none_out
from la.errors import UserError
from la.rng import stream
from la.wording import are, counted


@dataclass(frozen=True)
class Data:
    """Images to train on and images to test on; no image is in both."""

    name: str
    train: CocoIndex
    test: CocoIndex
    whole: CocoIndex  # all images of a single annotation file; of two files, those to train on
    note: str  # how the images were split
    files: tuple[CocoIndex, ...]  # the annotation files as they are, before entries were merged
    small_area: float = Protocol.small_area  # square pixels; what is below is small

    @cached_property
    def fingerprint(self) -> str:
        """Twelve hex digits that change with the annotations, the pictures or the split."""
        whole = hashlib.sha256()
        for index in (self.train, self.test):
            whole.update(index.sha256.encode())
            for image_id, picture in zip(index.image_ids.tolist(), index.pictures, strict=True):
                whole.update(f"\n{image_id} {picture}".encode())
        return whole.hexdigest()[:12]


def open_data(source: Path | None, cache: Path) -> Data:
    """The folder `source` in COCO format, or the embedded data set, written on first use.

    A folder with one annotation file is split: half of its images, drawn by a fixed random stream,
    are the test images. A picture that a file lists several times counts once, and no picture is
    in both splits. `Data.note` says what was done.

    Raises:
        MissingFile, UserError: the folder is missing or cannot be used; see
            `la.data.coco.layouts` and `la.data.coco.reconcile`.
    """
    folder = synthetic.write(cache / "embedded") if source is None else Path(source)
    paths = find(folder)
    files = [open_index(path, folder, cache) for path in dict.fromkeys(paths.values())]
    if source is None:
        train, test, whole, note = _split(files)
        return Data("embedded", train, test, whole, note, tuple(files), synthetic.SMALL_AREA)
    present, absent = zip(*(without_absent(index) for index in files), strict=True)
    parts = _split(present)
    (train, test, whole), empty = without_empty_classes(parts[:3])
    note = "".join([parts[3], *absent, empty, _unused(folder, files)])
    if holds_none_out(test.category_ids):
        n_classes = len(test.category_ids)
        each = "it is" if n_classes == 1 else "all are"
        note += (
            f"; {counted(n_classes, 'class')} {are(n_classes)} too few to hold any out, so {each} "
            "trained and tested on, and what is fitted on seen classes, as the background's scalar "
            "is, is fitted on test images"
        )
    return Data(folder.resolve().name, train, test, whole, note, tuple(files))


def _unused(folder: Path, files: Sequence[CocoIndex]) -> str:
    """The end of a note: the annotation files of a folder that are not used; "" if none."""
    opened = {index.source for index in files}
    names = []
    for path in annotation_files(folder):
        if path not in opened:
            names.append(path.relative_to(folder).as_posix())
    return f"; not used: {', '.join(names)}" if names else ""


def open_index(file: Path, folder: Path, cache: Path) -> CocoIndex:
    """The index of an annotation file of a folder, see `la.data.coco.layouts.find`.

    Raises:
        MissingFile, UserError: see `CocoIndex.from_json`.
    """
    return CocoIndex.from_json(file, image_root(folder, file), cache / "index")


def _split(files: Sequence[CocoIndex]) -> tuple[CocoIndex, CocoIndex, CocoIndex, str]:
    """Images to train on, images to test on, all images of `Data.whole`, and a note."""
    if len(files) == 1:
        whole, repeated = _once(files[0])
        train, test, note = _halves(whole)
        return train, test, whole, note + repeated
    train, test, note = _two_files(*files)
    return train, test, train, note


def _halves(index: CocoIndex) -> tuple[CocoIndex, CocoIndex, str]:
    """The images of one file as images to train on and images to test on, and a note.

    Raises:
        UserError: two classes have the same name.
    """
    ids_by_name(index)
    shuffled = stream(0, "split by image").permutation(index.image_ids)
    half = len(shuffled) // 2
    note = f"one annotation file, split by image: {half} to train, {len(shuffled) - half} to test"
    return index.subset(shuffled[:half]), index.subset(shuffled[half:]), note


def _two_files(train: CocoIndex, test: CocoIndex) -> tuple[CocoIndex, CocoIndex, str]:
    """Both indexes with the same classes and without common pictures, and a note.

    Raises:
        UserError: the classes contradict each other, or all training pictures are test pictures.
    """
    train, test, classes = with_common_classes(train, test)
    train, repeated_train = _once(train)
    test, repeated_test = _once(test)
    tested = {picture for picture in test.pictures if identifies(picture)}
    ids = train.image_ids.tolist()
    untested = [i for i, p in zip(ids, train.pictures, strict=True) if p not in tested]
    if ids and not untested:
        raise UserError(
            f"every image of {train.source} is in {test.source} too, so test images would be "
            "trained on; keep each image in one file, or give one file, which is split by image"
        )
    common = len(ids) - len(untested)
    if common:
        train = train.subset(untested)
    note = (
        f"{len(train.image_ids)} training and {counted(len(test.image_ids), 'test image')}, two "
        f"files{repeated_train}{repeated_test}"
    )
    if common:
        images = counted(common, "training image")
        note += f"; {images} that the test file has too {are(common)} left out"
    return train, test, note + (f"; {classes}" if classes else "")


def _once(index: CocoIndex) -> tuple[CocoIndex, str]:
    """The index with each picture once, and the end of a note, "" if none is repeated."""
    unique = without_repetitions(index)
    repeated = len(index.image_ids) - len(unique.image_ids)
    if not repeated:
        return unique, ""
    pictures = counted(repeated, "repeated picture")
    return unique, f"; {pictures} of {index.source.name} {are(repeated)} merged with the first one"
