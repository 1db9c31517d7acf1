"""What a command says of its data before it works on them."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from la.config import Config
from la.data.dataset import Data
from la.experiment import held_out
from la.model.backbones import backbone_spec
from la.wording import counted

NAMED = 3  # classes that a sentence lists


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
    if source is None and config.data == "embedded":
        text += " The images are generated: this is **not the paper's setting**."
    elif backbone_spec(config.model.backbone).drawings_only:
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
    named = [f"{data.test.category_names[row]} ({others[row]})" for row in rows[:NAMED]]
    dots = ", ..." if len(rows) > NAMED else ""
    return (
        f" {counted(len(rows), 'class')} of boxes or crowds without a mask can be neither trained "
        f"on nor scored: {', '.join(named)}{dots}. `python -m la prompts` makes prompts of boxes, "
        "and `python -m la predict` makes masks of prompts, to be checked."
    )
