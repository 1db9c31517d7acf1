"""What a run trains and tests on: the embedded data set, or a COCO-format folder."""

import hashlib
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from la.config import Protocol
from la.data.embedded import synthetic
from la.data.index import CocoIndex, find
from la.errors import UserError
from la.rng import stream


@dataclass(frozen=True)
class Data:
    """Images to train on and images to test on; never the same ones."""

    name: str
    train: CocoIndex
    test: CocoIndex
    note: str  # how the two came apart
    small_area: float = Protocol.small_area  # square pixels; what protocols call small

    @cached_property
    def fingerprint(self) -> str:
        """Twelve hex digits that change with the annotations or the split."""
        parts = [self.train.sha256, self.test.sha256, str(self.test.image_ids.tolist())]
        return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:12]


def open_data(source: Path | None, cache: Path) -> Data:
    """The folder `source` in COCO format, or the embedded data set, written on first use.

    A folder with one annotation file serves as both: half of its images, drawn once and for all by
    a fixed stream, are the test images, and `note` says so.

    Raises:
        FileNotFoundError, ValueError: the folder is not what it should be; see `find`.
    """
    folder = synthetic.write(cache / "embedded") if source is None else Path(source)
    train, test = (
        CocoIndex.from_json(file, folder, cache / "index") for file in find(folder).values()
    )
    note = f"{len(train.image_ids)} training and {len(test.image_ids)} test images, two files"
    if train.source == test.source:
        shuffled = stream(0, "split by image").permutation(train.image_ids)
        half = len(shuffled) // 2
        train, test = train.subset(shuffled[:half]), test.subset(shuffled[half:])
        counts = f"{half} to train, {len(shuffled) - half} to test"
        note = f"one annotation file, split by image: {counts}"
    else:
        named = [set(zip(i.image_ids.tolist(), i.file_names, strict=True)) for i in (train, test)]
        if shared := named[0] & named[1]:
            raise UserError(
                f"{len(shared)} images of {folder} are in both annotation files, so test images "
                f"would be trained on (the first: {min(shared)[1]}); keep each image in one file"
            )
    if source is None:
        return Data("embedded", train, test, note, synthetic.SMALL_AREA)
    return Data(folder.resolve().name, train, test, note)
