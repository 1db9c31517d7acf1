"""What a command says of its data before it works on them."""

from collections.abc import Sequence
from pathlib import Path

from la.config import Config
from la.data.dataset import Data
from la.experiment import held_out
from la.model.backbones import backbone_spec


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
    text = f"Data: {data.name}, {note}."
    if source is None and config.data == "embedded":
        text += " The images are generated: this is **not the paper's setting**."
    elif backbone_spec(config.model.backbone).drawings_only:
        backbone = config.model.backbone
        text += f" The image encoder, `{backbone}`, is made for drawings, not photographs."
    return text
