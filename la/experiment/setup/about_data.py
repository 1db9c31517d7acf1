"""The data of a profile, and the description of them that a command prints first."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from la.config import Config
from la.data.dataset import Data, open_data
from la.data.download import coco_folder
from la.errors import UserError
from la.experiment.setup import held_out
from la.wording import counted, listed


def data_of(config: Config, source: Path | None, home: Path) -> Data:
    """The images and annotations; written or indexed on first use.

    Args:
        source: a folder in COCO format; None for the profile's own data.
        home: the folder of caches.

    Raises:
        MissingFile, UserError: see `open_data`; or the profile has no data of its own.
    """
    cache = home / "cache"
    usual = coco_folder(cache) if config.data == "coco" else None
    if source is None and config.data == "folder":
        raise UserError(
            f"profile {config.profile} has no images of its own; give --data FOLDER "
            "(DATA=FOLDER for make), a folder in COCO format"
        )
    return open_data(source or usual, cache)


def about_data(
    data: Data,
    config: Config,
    source: Path | None,
    unseen: Sequence[str] = (),
) -> str:
    """The data, how they were split, and how far they are from the paper's setting.

    Args:
        source: the folder that was opened; None for the profile's own data.
        unseen: names of the classes that are held out in place of folds.

    Raises:
        UserError: a class is named that does not exist, or all are.
    """
    note = data.note
    if unseen:  # then it does not matter that there are too few classes for folds
        parts = [part for part in note.split("; ") if "too few to hold any out" not in part]
        parts.append(held_out.described(data.test, unseen))
        note = "; ".join(parts)
    text = f"Data: {data.name}, {note}.{_without_masks(data)}"
    if config.data != "embedded":
        return text
    if source is None:
        text += " The images are generated: this is **not the paper's setting**."
    else:
        backbone = config.model.backbone
        text += f" The image encoder, `{backbone}`, is made for drawings, not photographs."
    return text


def _without_masks(data: Data) -> str:
    """Which classes have only boxes, or crowds, and how they get masks; "" if none has."""
    n_classes = len(data.test.category_ids)
    masks, others = np.zeros((2, n_classes), np.int64)
    for index in (data.train, data.test):
        crowd, category = index.annotation_crowd, index.annotation_category
        masks += np.bincount(category[~crowd], minlength=n_classes)
        others += np.bincount(category[crowd], minlength=n_classes)
    rows = np.flatnonzero((masks == 0) & (others > 0)).tolist()
    if not rows:
        return ""
    named = [f"{data.test.category_names[row]} ({others[row]})" for row in rows]
    return (
        f" {counted(len(rows), 'class')} of boxes or crowds (iscrowd 1) alone can be neither "
        f"trained on nor scored: {listed(named)}. `python -m la prompts` makes prompts of boxes, "
        "and `python -m la predict` makes masks of prompts, to be checked."
    )
