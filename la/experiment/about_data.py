"""What a command says of its data before it works on them."""

from pathlib import Path

from la.config import Config
from la.data.dataset import Data
from la.model.backbones import backbone_spec


def about_data(data: Data, config: Config, source: Path | None) -> str:
    """The data, how they were split, and how far they are from the paper's setting.

    Args:
        source: the folder that was opened; None for the profile's own data.
    """
    text = f"Data: {data.name}, {data.note}."
    if source is None and config.data == "embedded":
        text += " The images are generated: this is **not the paper's setting**."
    elif backbone_spec(config.model.backbone).drawings_only:
        backbone = config.model.backbone
        text += f" The image encoder, `{backbone}`, is made for drawings, not photographs."
    return text
