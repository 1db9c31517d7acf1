"""The frozen image encoders by name (paper 3.2 and 4.2)."""

from la.errors import UserError
from la.model.backbones.lite0 import LITE0
from la.model.backbones.sam import SAM
from la.model.backbones.spec import BackboneSpec
from la.model.backbones.tiny import TINY
from la.model.backbones.vit import DINOV2_BASE, DINOV2_SMALL, MAE

SPECS = (SAM, MAE, DINOV2_SMALL, DINOV2_BASE, LITE0, TINY)
BACKBONES = {spec.name: spec for spec in SPECS}


def backbone_spec(name: str) -> BackboneSpec:
    """The named backbone.

    Raises:
        UserError: there is no such backbone.
    """
    if name not in BACKBONES:
        raise UserError(f"no backbone {name!r}; known: {', '.join(BACKBONES)}")
    return BACKBONES[name]
