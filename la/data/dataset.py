"""What a run trains and tests on: the embedded data set, or a COCO-format folder."""

import hashlib
import logging
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from la.config import Protocol
from la.data import synthetic
from la.data.index import CocoIndex, find
from la.rng import stream

log = logging.getLogger(__name__)


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
    splits = {
        split: CocoIndex.from_json(annotations, images, cache / "index")
        for split, (annotations, images) in find(folder).items()
    }
    train, test = splits["train"], splits["val"]
    note = f"{len(train.image_ids)} training and {len(test.image_ids)} test images, two files"
    if train.source == test.source:
        shuffled = stream(0, "split by image").permutation(train.image_ids)
        half = len(shuffled) // 2
        train, test = train.subset(shuffled[:half]), test.subset(shuffled[half:])
        note = (
            f"one annotation file, split by image: {half} to train, {len(shuffled) - half} to test"
        )
    elif shared := set(train.image_ids.tolist()) & set(test.image_ids.tolist()):
        names = {
            train.file_names[i] for i in np.flatnonzero(np.isin(train.image_ids, list(shared)))
        }
        if names & set(test.file_names):
            raise ValueError(
                f"{len(shared)} images of {folder} are in both annotation files, so test images "
                f"would be trained on (the first: {min(names)}); keep each image in one file"
            )
    if source is None:
        return Data("embedded", train, test, note, synthetic.SMALL_AREA)
    return Data(folder.resolve().name, train, test, note)
