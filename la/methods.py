"""The methods that tables compare, by name: how each is made, and what is fitted on seen classes."""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from la import baselines
from la.config import PLUS, Config, ModelConfig
from la.evaluation import BIASES
from la.model.plus import Raster
from la.types import Segmenter

_COSINES = tuple(float(t) for t in np.arange(-0.3, 0.96, 0.025).round(3))


@dataclass(frozen=True)
class Method:
    """A row of a table.

    A trained method has `configure`, a change of the profile; one without training has `build`.
    `biases` are tried as the background's bias on seen classes, () keeps scores as they are.
    """

    label: str
    configure: Callable[[Config], Config] | None = None
    build: Callable[[ModelConfig], Segmenter] | None = None
    biases: tuple[float, ...] = ()
    trains_as: str | None = None  # the method whose weights it shares


def _plus(config: Config, **changes) -> Config:
    return replace(
        config,
        model=replace(config.model, **PLUS | changes),
        train=replace(config.train, weight_power=0.35),
    )


def _on_features(kind: type, **options) -> Callable[[ModelConfig], Segmenter]:
    """A baseline on frozen features whose boxes and points become the very soft maps of LA+."""

    def build(config: ModelConfig) -> Segmenter:
        soft = Raster(config.image_size, config.mask_size, sparse=True)
        return kind(soft, **options)

    return build


METHODS = {
    "la+": Method("LA+", configure=_plus, biases=BIASES),
    "la+ uncalibrated": Method("LA+ without calibration", configure=_plus, trains_as="la+"),
    "la": Method("LA, the paper's model", configure=lambda config: config),
    "threshold_prototype": Method(
        "Prototype, threshold",
        build=_on_features(baselines.ThresholdPrototype, threshold=0.0),
        biases=_COSINES,
    ),
    "prototype": Method("Prototype, background prototype", build=_on_features(baselines.Prototype)),
    "part_prototypes": Method("Part prototypes", build=_on_features(baselines.PartPrototypes)),
    "affinity": Method("Affinity", build=_on_features(baselines.Affinity)),
    "ridge": Method("Ridge classifier", build=_on_features(baselines.Ridge)),
    "floor": Method("All background", build=lambda c: baselines.Floor()),
    "class_prior": Method("Class prior", build=_on_features(baselines.ClassPrior)),
    "grid_ceiling": Method(
        "Ceiling of the token grid", build=lambda c: baselines.GridCeiling(c.image_size, c.resize)
    ),
}


def method(name: str) -> Method:
    """The named method.

    Raises:
        ValueError: there is none of that name.
    """
    if name not in METHODS:
        raise ValueError(f"no method {name!r}; known: {', '.join(METHODS)}")
    return METHODS[name]
