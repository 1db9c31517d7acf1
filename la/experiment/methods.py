"""The methods that tables compare, by name: how each is made, and what is fitted."""

import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Literal, get_args

import numpy as np

from la.comparators import dcama
from la.comparators.affinity import Affinity
from la.comparators.dcama import DCAMA
from la.comparators.denet import DENet
from la.comparators.emat import EMAT
from la.comparators.fptrans import FPTrans
from la.comparators.insid3 import Insid3
from la.comparators.learned import Learned
from la.comparators.mfnet import MFNet
from la.comparators.panet import PANet
from la.comparators.part_prototypes import PartPrototypes
from la.comparators.ppnet import PPNet
from la.comparators.ppnet_u import PPNetU
from la.comparators.prototypes import Prototype, ThresholdPrototype
from la.comparators.raster import Raster
from la.comparators.references import ClassPrior, Floor, TokenGrid
from la.comparators.ridge import Ridge
from la.config import Config, ModelConfig, StartPart, TrainConfig
from la.errors import UserError
from la.profiles import ABLATIONS
from la.types import Segmenter


def _range(first: float, last: float, step: float) -> tuple[float, ...]:
    return tuple(np.arange(first, last + step / 2, step).round(4).tolist())


# Candidates for the bias on the background's score, by the scale of a method's scores.
LOGITS = _range(-2, 4, 0.125)
COSINES = _range(-0.5, 0.975, 0.0125)
SCALED_COSINES = _range(-20, 20, 0.25)  # 20 times a cosine
SHARES = _range(-1.5, 1.5, 0.025)


@dataclass(frozen=True)
class Method:
    """A row of a table.

    A trained method has `configure`, a change of the profile, and `trains_as`, which names its
    runs: methods of one name share a training. A trained comparator also has `network`; without
    one Label Anything is trained. A method without training has `build`, and one with neither has
    the authors' weights.
    """

    label: str
    trains_as: str = ""
    configure: Callable[[Config], Config] | None = None
    build: Callable[[ModelConfig], Segmenter] | None = None
    network: type[Learned] | None = None
    wrap: Callable[[Segmenter], Segmenter] = lambda segmenter: segmenter  # after training
    biases: tuple[float, ...] = ()  # tried on seen classes; none for a method without scores
    raw_bias: float = 0.0  # without calibration
    option: str = ""  # a field of what `build` makes, chosen together with the bias
    options: tuple[float, ...] = ()  # its candidates

    @cached_property
    def module(self) -> str:
        """The module that defines a comparator; "" for Label Anything."""
        if self.network is not None:
            return self.network.__module__
        return "" if self.build is None else type(self.build(ModelConfig())).__module__


def _on_features(kind: type) -> Callable[[ModelConfig], Segmenter]:
    """A method on frozen features; boxes and points are rasterised into soft maps."""
    return lambda model: kind(Raster(model.image_size, model.mask_size))


def _threshold_prototype(model: ModelConfig) -> Segmenter:
    """The bias is the threshold, so the segmenter's own is 0."""
    raster = Raster(model.image_size, model.mask_size)
    return ThresholdPrototype(raster, threshold=0.0)


METHODS = {
    "la": Method("LA", "la", lambda config: config, biases=LOGITS),
    "threshold_prototype": Method(
        "Prototype, threshold", build=_threshold_prototype, biases=COSINES, raw_bias=0.5
    ),
    "prototype": Method(
        "Prototype, background prototype",
        build=_on_features(Prototype),
        biases=SCALED_COSINES,
    ),
    "part_prototypes": Method(
        "Part prototypes",
        build=_on_features(PartPrototypes),
        biases=COSINES,
        option="parts",
        options=(1, 2, 3, 5, 8),
    ),
    "affinity": Method(
        "Affinity",
        build=_on_features(Affinity),
        biases=SHARES,
        option="temperature",
        options=(0.02, 0.03, 0.05, 0.1, 0.2),
    ),
    "ridge": Method(
        "Ridge classifier",
        build=_on_features(Ridge),
        biases=SHARES,
        option="penalty",
        options=(1e-4, 1e-3, 1e-2, 1e-1, 1.0),
    ),
    "class_prior": Method("Class prior", build=_on_features(ClassPrior), biases=SHARES),
    "floor": Method("All background", build=lambda model: Floor()),
    "token_grid": Method(
        "Token grid reference",
        build=lambda model: TokenGrid(model.image_size, model.resize),
    ),
}


def _on_the_same_steps(config: Config) -> Config:
    """The profile as trained comparators need it.

    The attention loss is about the tokens of Label Anything, and losses of comparators need the
    target in the input frame.
    """
    side = config.train.target_side or TrainConfig.target_side
    return replace(config, train=replace(config.train, attention_loss=0.0, target_side=side))


def _trained(
    name: str,
    network: type[Learned],
    biases: tuple[float, ...] = LOGITS,
    wrap: Callable[[Segmenter], Segmenter] = lambda segmenter: segmenter,
) -> Method:
    """A comparator that is trained on the same episodes and steps as Label Anything."""
    return Method(
        f"{name}, in this harness",
        trains_as=network.__name__.lower(),
        configure=_on_the_same_steps,
        network=network,
        biases=biases,
        wrap=wrap,
    )


def _insid3(model: ModelConfig) -> Segmenter:
    return Insid3(Raster(model.image_size, model.mask_size), model)


RIVALS = {  # of METHODS=all, see docs/comparators.md
    "panet": _trained("PANet", PANet, SCALED_COSINES),
    "ppnet": _trained("PPNet without U", PPNet, SCALED_COSINES),
    "ppnet_u": _trained("PPNet with U", PPNetU, SCALED_COSINES),
    "denet": _trained("DENet", DENet),
    "mfnet": _trained("MFNet-style", MFNet),
    "dcama": _trained("DCAMA", DCAMA),
    "dcama_one_class": _trained("DCAMA one class at a time", DCAMA, wrap=dcama.one_class_at_a_time),
    "dcama_mispaired": _trained("DCAMA mispaired", DCAMA, wrap=dcama.mispaired),
    "fptrans": _trained("FPTrans on frozen features", FPTrans, SCALED_COSINES),
    "emat": _trained("EMAT", EMAT),
    "insid3": Method(
        "INSID3, in this harness",
        build=_insid3,
        biases=SHARES,
        raw_bias=0.2,
        option="similarity",
        options=(0.4, 0.5, 0.6, 0.7, 0.8, 0.9),
    ),
}
PUBLISHED = Method("LA (MAE), the authors' weights", biases=LOGITS)


def _variant(ablation: str) -> Method:
    """A row of Table 4, trained for the share of the steps that ablations get."""

    def configure(config: Config) -> Config:
        steps = max(1, round(config.train.steps * config.evaluation.ablation_share))
        model = replace(config.model, **ABLATIONS[ablation])
        return replace(config, model=model, train=replace(config.train, steps=steps))

    name = f"LA {ablation}"
    return Method(name, re.sub(r"[^a-z0-9]+", "-", name.lower()), configure, biases=LOGITS)


VARIANTS = {f"la {ablation}": _variant(ablation) for ablation in ABLATIONS}


def _lengthened(start: Literal["usual", "agreeing"], factor: float) -> Method:
    """A point of the learning curves: LA with a start of its weights, trained `factor` as long."""

    def configure(config: Config) -> Config:
        steps = max(1, round(factor * config.train.steps))
        model = replace(config.model, start=start)
        return replace(config, model=model, train=replace(config.train, steps=steps))

    # Runs are identified by their configuration, so the profile's own model is trained once.
    return Method(f"LA, {start} start, {factor:g} x steps", "la", configure, biases=LOGITS)


def _without(part: StartPart) -> Method:
    """A rung of the ladder: a part of the agreeing start left out, trained as long as Table 4."""

    def configure(config: Config) -> Config:
        steps = max(1, round(config.train.steps * config.evaluation.ablation_share))
        model = replace(config.model, start="agreeing", start_without=(part,))
        return replace(config, model=model, train=replace(config.train, steps=steps))

    return Method(f"LA start without {part}", f"la-start-without-{part}", configure, biases=LOGITS)


CURVES = {
    f"la {start} x{factor:g}": _lengthened(start, factor)
    for start in ("usual", "agreeing")
    for factor in (1, 2.5, 7)
}
LADDER = {f"la start without {part}": _without(part) for part in get_args(StartPart)}


def _in_bfloat16(config: Config) -> Config:
    """LA trained under bfloat16 autocast, in place of the profile's precision."""
    return replace(config, train=replace(config.train, precision="bfloat16"))


BFLOAT16 = Method("LA, bfloat16", "la-bfloat16", _in_bfloat16, biases=LOGITS)

OTHERS = {"la bfloat16": BFLOAT16, "published": PUBLISHED}
KNOWN = METHODS | RIVALS | VARIANTS | CURVES | LADDER | OTHERS


def method(name: str) -> Method:
    """The named method: of a table, of the train notebook, or the authors' `published` models.

    Raises:
        UserError: there is none of that name.
    """
    if name not in KNOWN:
        raise UserError(f"no method {name!r}; known: {', '.join(KNOWN)}")
    return KNOWN[name]


def label(name: str) -> str:
    """What a table prints for a method; a reader's own prints its name."""
    return KNOWN[name].label if name in KNOWN else name
