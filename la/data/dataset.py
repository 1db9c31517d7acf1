"""What a run trains and tests on: the embedded data set, or a COCO-format folder."""

import hashlib
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from la.config import Protocol
from la.data.embedded import synthetic
from la.data.index import CocoIndex
from la.data.reconcile import identifies, ids_by_name, with_common_classes, without_repetitions
from la.errors import MissingFile, UserError
from la.rng import stream


@dataclass(frozen=True)
class Data:
    """Images to train on and images to test on; never the same ones."""

    name: str
    train: CocoIndex
    test: CocoIndex
    whole: CocoIndex  # of one annotation file all images; of two files those to train on
    note: str  # how train and test came apart
    small_area: float = Protocol.small_area  # square pixels; what protocols call small

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

    A folder with one annotation file serves as both: half of its images, drawn once and for all by
    a fixed stream, are the test images. A picture that a file lists several times counts once, and
    no picture is both trained and tested on. `Data.note` says what was done.

    Raises:
        MissingFile, UserError: the folder is not what it should be; see `find` and
            `la.data.reconcile`.
    """
    folder = synthetic.write(cache / "embedded") if source is None else Path(source)
    files = find(folder)
    train = CocoIndex.from_json(files["train"], folder, cache / "index")
    if files["train"] == files["val"]:
        whole, repeated = _once(train)
        train, test, note = _halves(whole, repeated)
    else:
        test = CocoIndex.from_json(files["val"], folder, cache / "index")
        train, test, note = _two_files(train, test)
        whole = train
    if source is None:
        return Data("embedded", train, test, whole, note, synthetic.SMALL_AREA)
    return Data(folder.resolve().name, train, test, whole, note)


def find(data: Path) -> dict[str, Path]:
    """The annotation files "train" and "val" of a folder in COCO format.

    A single `annotations/instances_*.json` is both, and the caller splits it by image. Of several
    releases side by side the oldest is taken: the paper's is 2014.

    Raises:
        FileNotFoundError: there is no such folder, or no annotation file in it.
        ValueError: there are several, and their names do not say which is which.
    """
    if not data.is_dir():
        raise MissingFile(f"no folder {data}; give a folder in COCO format")
    files = sorted(data.glob("annotations/instances_*.json"))
    if not files:
        raise MissingFile(f"no annotations/instances_*.json in {data}; put one there")
    splits = {}
    for split in ("train", "val"):
        named = [file for file in files if file.name.startswith(f"instances_{split}")]
        if not named and len(files) > 1:
            names = ", ".join(file.name for file in files)
            raise UserError(
                f"{data}/annotations has no instances_{split}*.json among {names}; "
                "name the files instances_train*.json and instances_val*.json, or keep only one"
            )
        splits[split] = (named or files)[0]
    return splits


def _halves(index: CocoIndex, repeated: str) -> tuple[CocoIndex, CocoIndex, str]:
    """Images to train on and images to test on, out of one file, and a note.

    Args:
        repeated: the end of the note, see `_once`.

    Raises:
        UserError: two classes have the same name.
    """
    ids_by_name(index)
    shuffled = stream(0, "split by image").permutation(index.image_ids)
    half = len(shuffled) // 2
    note = (
        f"one annotation file, split by image: {half} to train, {len(shuffled) - half} to test"
        f"{repeated}"
    )
    return index.subset(shuffled[:half]), index.subset(shuffled[half:]), note


def _two_files(train: CocoIndex, test: CocoIndex) -> tuple[CocoIndex, CocoIndex, str]:
    """Both with the same classes and without common pictures, and a note.

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
        f"{len(train.image_ids)} training and {len(test.image_ids)} test images, two files"
        f"{repeated_train}{repeated_test}"
    )
    if common:
        note += f"; {common} training images that are test images too are left out"
    return train, test, note + (f"; {classes}" if classes else "")


def _once(index: CocoIndex) -> tuple[CocoIndex, str]:
    """The index with each picture once, and the end of a note, "" if none is repeated."""
    unique = without_repetitions(index)
    repeated = len(index.image_ids) - len(unique.image_ids)
    note = f"; {repeated} images of {index.source.name} repeat a picture and are merged with it"
    return unique, note if repeated else ""
