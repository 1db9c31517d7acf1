"""The methods that tables compare, by name: how each is made, and what is fitted."""

import re
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from la.comparators.affinity import Affinity
from la.comparators.part_prototypes import PartPrototypes
from la.comparators.prototypes import Prototype, ThresholdPrototype
from la.comparators.raster import Raster
from la.comparators.references import ClassPrior, Floor, TokenGrid
from la.comparators.ridge import Ridge
from la.config import ABLATIONS, Config, ModelConfig
from la.errors import UserError
from la.types import Segmenter

BIAS = "bias"  # of the background's score: the one scalar that any segmenter can be given
_LOGITS = tuple((np.arange(-6, 13) * 0.25).tolist())
_COSINES = tuple(np.arange(-0.3, 0.96, 0.025).round(3).tolist())


@dataclass(frozen=True)
class Method:
    """A row of a table.

    A trained method has `configure`, a change of the profile, and `trains_as`, which names its
    runs: methods of one name share a training. One without training has `build`; one with neither
    has the authors' weights. `fitted` names a scalar and the values that are tried on seen classes:
    the background's bias, or a field of what `build` makes.
    """

    label: str
    trains_as: str = ""
    configure: Callable[[Config], Config] | None = None
    build: Callable[[ModelConfig], Segmenter] | None = None
    fitted: tuple[str, tuple[float, ...]] | None = None


def _on_features(kind: type, **options) -> Callable[[ModelConfig], Segmenter]:
    """A method on frozen features; boxes and points are rasterised into soft maps."""
    return lambda c: kind(Raster(c.image_size, c.mask_size), **options)


METHODS = {
    "la": Method("LA", "la", lambda config: config, fitted=(BIAS, _LOGITS)),
    "threshold_prototype": Method(
        "Prototype, threshold",
        build=_on_features(ThresholdPrototype, threshold=0.0),
        fitted=(BIAS, _COSINES),
    ),
    "prototype": Method("Prototype, background prototype", build=_on_features(Prototype)),
    "part_prototypes": Method(
        "Part prototypes",
        build=_on_features(PartPrototypes),
        fitted=("parts", (1, 2, 3, 5, 8)),
    ),
    "affinity": Method(
        "Affinity",
        build=_on_features(Affinity),
        fitted=("temperature", (0.02, 0.03, 0.05, 0.1, 0.2)),
    ),
    "ridge": Method(
        "Ridge classifier",
        build=_on_features(Ridge),
        fitted=("penalty", (1e-4, 1e-3, 1e-2, 1e-1, 1.0)),
    ),
    "floor": Method("All background", build=lambda c: Floor()),
    "class_prior": Method("Class prior", build=_on_features(ClassPrior)),
    "token_grid": Method("Token grid reference", build=lambda c: TokenGrid(c.image_size, c.resize)),
}


@dataclass(frozen=True)
class Variant:
    """A model of Table 4: what of `ABLATIONS` LA lacks, and its training seed."""

    ablation: str
    seed: int

    @classmethod
    def parse(cls, name: str) -> "Variant | None":
        """The variant of that name, or None if the name is no variant's."""
        found = re.fullmatch(r"la (.+) seed (\d+)", name)
        known = found and found[1] in ABLATIONS
        return cls(found[1], int(found[2])) if known else None

    @property
    def name(self) -> str:
        """As a method's name, such as `la w/o Token Pool seed 1`."""
        return f"la {self.ablation} seed {self.seed}"

    def method(self) -> Method:
        """Trained for the share of the steps that ablations get; not calibrated."""
        folder = re.sub(r"[^a-z0-9]+", "-", self.name.lower())
        return Method(f"LA {self.ablation}", folder, self._configure)

    def _configure(self, config: Config) -> Config:
        steps = max(1, round(config.train.steps * config.evaluation.ablation_share))
        return replace(
            config,
            model=replace(config.model, **ABLATIONS[self.ablation]),
            train=replace(config.train, steps=steps, seed=self.seed),
        )


def method(name: str) -> Method:
    """The named method: one of `METHODS`, a variant of Table 4, or the authors' `published` models.

    Raises:
        ValueError: there is none of that name.
    """
    if variant := Variant.parse(name):
        return variant.method()
    known = METHODS | {"published": Method("LA (MAE), the authors' weights")}
    if name not in known:
        raise UserError(f"no method {name!r}; known: {', '.join(known)}")
    return known[name]


def label(name: str) -> str:
    """What a table prints for a method; a reader's own prints its name."""
    try:
        return method(name).label
    except UserError:
        return name
