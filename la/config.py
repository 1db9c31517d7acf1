"""All default settings with their sources: frozen configurations and the named profiles.

Sources: [P 4.2] the paper's section, [O] the official code, [Q] measured for the quick profile,
[A] our assumption.
`dataclasses.replace` makes a variant; there are no configuration files.
"""

import hashlib
import json
import os
from dataclasses import MISSING, dataclass, field, fields, is_dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from la.errors import UserError
from la.types import PromptKind

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

IMAGE_MEAN = (0.485, 0.456, 0.406)  # ImageNet, RGB in [0, 1]; [O] for every backbone
IMAGE_STD = (0.229, 0.224, 0.225)

Mixer = Literal["class", "example", "class_example"]
StartPart = Literal["quiet", "neck", "mark", "read", "copy", "compare"]


@dataclass(frozen=True)
class ModelConfig:
    """The architecture (paper 3.2). The defaults are the paper's full-size LA (SAM)."""

    backbone: str = "sam_vit_b"  # [P 4.2] of la.model.backbones
    image_size: int = 1024  # [P 4.2]; MAE 480
    resize: Literal["pad", "squash"] = "pad"  # [P 4.2] pad; [O] the MAE models squash
    backbone_dim: int = 768  # V, [P 3.2]
    patch_size: int = 16  # [P 3.2]
    embed_dim: int = 512  # D, [P 3.2]; [O] 256 in the published MAE models
    mask_size: int = 256  # [P 4.2]
    mask_channels: int = 16  # [O] width of the mask CNN before its last layer
    n_heads: int = 8  # [O]
    mlp_dim: int = 2048  # [O]
    attention_downsample: int = 2  # [O] cross-attentions work at D / 2
    logit_downsample: int = 8  # [P 3.2] the dot product of Eq. 5 works at D / 8
    # [P 3.2] Eq. 3-4; () is Table 4's "w/o Class Example Mixer"
    mixers: tuple[Mixer, ...] = ("example",)
    token_pool: int = 100  # R, [O]; 0 is Table 4's "w/o Token Pool"
    spatial_convs: bool = True  # [P 3.2]; False is Table 4's "w/o Spatial Convolutions"
    mode: Literal["exact", "masked"] = "masked"  # exact: as the published weights were trained
    norm_first: bool = False  # [O] post-norm; [Q] pre-norm
    first_residual: bool = False  # [O] the first self-attention of a two-way transformer has none
    background: Literal["unprompted", "token"] = "unprompted"  # [O] no prompts; [Q] learned
    # Initialisation, see la.model.start; the paper does not state one. [Q] agreeing
    start: Literal["usual", "agreeing"] = "usual"
    start_without: tuple[StartPart, ...] = ()  # parts of "agreeing" to leave out


@dataclass(frozen=True)
class Protocol:
    """Which pixels count as truth. The defaults are `clean`; "paper" follows the official code."""

    small_instances: Literal["keep", "drop", "ignore"] = "keep"  # below small_area
    image_filter: Literal["none", "class_area"] = "none"  # images must show small_area of a class
    small_area: float = 2 * 32 * 32  # [O] square pixels of the original image
    crowd: Literal["ignore", "foreground", "background"] = "ignore"
    extra_unseen: Literal["background", "exclude"] = "background"  # the fold's other classes


PROTOCOLS = {
    "clean": Protocol(),
    "paper": Protocol(small_instances="drop", crowd="background"),  # [O]
    "hsnet": Protocol(image_filter="class_area"),
}


@dataclass(frozen=True)
class EpisodeConfig:
    """How training episodes are drawn (paper 3.3)."""

    shapes: tuple[tuple[int, int, int], ...] = (  # [P 4.2] (B, N, K); [O] has (2,1,4) and (2,1,2)
        (4, 1, 4), (2, 4, 2), (8, 1, 2), (4, 2, 2), (4, 4, 1), (16, 1, 1),
    )  # fmt: skip
    all_classes_probability: float = 0.5  # [P 3.3] that a query must show all N classes
    max_points: int = 10  # [P 4.2] per instance
    box_jitter: float = 0.1  # [O] of the side, training only
    kinds: tuple[PromptKind, ...] = tuple(PromptKind)  # [P 3.3] drawn at random for each instance


@dataclass(frozen=True)
class TrainConfig:
    """Optimisation (paper 4.2, Eq. 6)."""

    steps: int = 0  # set by the profile: the paper counts 50 epochs of |D_train| iterations
    lr: float = 1e-5  # [P 4.2]; [O] 5e-5
    weight_decay: float = 0.01  # [O] torch's default for AdamW
    warmup_steps: int = 1_000  # [P 4.2] linear
    schedule: Literal["cosine", "constant"] = "cosine"  # [P 4.2]; [O] the MAE runs stay constant
    clip: float | None = None  # [O] none; [Q] global gradient norm 1
    gamma: float = 2.0  # [O]; the paper names no value
    class_weight: Literal["log", "power"] = "log"  # [O] 1 / log(1.1 + f); [Q] f^-power
    weight_power: float = 0.5  # [Q] of the class frequency f
    # [A] side of the map on which the loss is taken; None: the query's original pixels, and the
    # loss is divided by all of them, ignored and padded ones too [O]
    target_side: int | None = 256
    precision: Literal["float32", "bfloat16"] = "float32"  # bfloat16: autocast, and TF32 beside it
    attention_loss: float = 0.0  # [Q] weight of la.learn.attention_loss, which the paper lacks
    micro_batches: int = 1  # (B, N, K) batches per step over all processes; [P 4.2] one per GPU
    checkpoint_every: int = 1_000
    seed: int = 42  # [O]


@dataclass(frozen=True)
class EvalConfig:
    """Evaluation (paper 4.1 and the protocol in README, "How scores are made")."""

    episodes: int = 1_000  # [P 4.1]
    seeds: tuple[int, ...] = (0, 1, 2, 3, 4)  # [P 4.1] five
    # [A] models per fold; the list of seed s is scored with training s. A single model is scored
    # on all lists, and intervals then cover only the spread over lists
    trainings: int = 1
    protocol: Literal["clean", "paper", "hsnet"] = "clean"
    folds: Literal["interleaved", "blocks"] = "interleaved"  # [O]
    batch_size: int = 4
    seen_episodes: int = 240  # [Q] of seen classes, on which scalars are fitted
    validation_episodes: int = 200  # [A] of seen classes, for each state that training saves
    ablation_share: float = 1.0  # [P 4.4] of the training steps, for each model of Table 4


@dataclass(frozen=True)
class Config:
    """A profile: everything a run needs besides its data and its fold."""

    profile: str
    model: ModelConfig
    # Where images come from unless a folder is named; "folder": one has to be named
    data: Literal["coco", "embedded", "folder"] = "coco"
    episodes: EpisodeConfig = field(default_factory=EpisodeConfig)
    train: TrainConfig = field(default_factory=TrainConfig)
    evaluation: EvalConfig = field(default_factory=EvalConfig)
    views: int = 0  # augmented views of each training image, see la.learn.views


def digest(config: "DataclassInstance | dict[str, Any]") -> str:
    """Twelve hex digits that change with any setting of a configuration or any value of a dict."""
    plain = config if isinstance(config, dict) else settings(config)
    text = json.dumps(plain, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def settings(config: "DataclassInstance") -> dict[str, Any]:
    """The fields that differ from their defaults, so that a new field changes no digest."""
    plain: dict[str, Any] = {}
    for one in fields(config):
        value = getattr(config, one.name)
        default = one.default
        if one.default_factory is not MISSING:
            default = one.default_factory()
        if value != default:
            is_config = is_dataclass(value) and not isinstance(value, type)
            plain[one.name] = settings(value) if is_config else value
    return plain


ABLATIONS: dict[str, dict[str, Any]] = {  # the rows of Table 4, as changes to the complete model
    "complete": {},
    "w/o Spatial Convolutions": {"spatial_convs": False},
    "w/o Class Example Mixer": {"mixers": ()},
    "w/o Token Pool": {"token_pool": 0},
}

_QUICK = Config(
    profile="quick",
    data="embedded",
    model=ModelConfig(
        backbone="tiny", image_size=96, resize="pad", backbone_dim=128, patch_size=8,
        embed_dim=96, mask_size=48, mask_channels=24, n_heads=4, mlp_dim=192, logit_downsample=2,
        token_pool=128,
        norm_first=True, first_residual=True, background="token", start="agreeing",
    ),
    episodes=EpisodeConfig(
        shapes=((16, 1, 1), (8, 1, 4), (8, 2, 2), (8, 4, 1), (4, 4, 2)), max_points=4
    ),
    train=TrainConfig(
        steps=1_000, lr=4e-4, warmup_steps=60, clip=1.0, class_weight="power", target_side=48,
        attention_loss=0.1, checkpoint_every=100, seed=0,
    ),
    evaluation=EvalConfig(
        episodes=400, seeds=(0, 1, 2), trainings=5, batch_size=16, ablation_share=0.4,
        validation_episodes=100,
    ),
)  # fmt: skip
_SMOKE = replace(  # runs all of the code in seconds; its numbers mean nothing
    _QUICK,
    profile="smoke",
    train=replace(_QUICK.train, steps=4, warmup_steps=2),
    evaluation=EvalConfig(
        episodes=8, seeds=(0, 1), trainings=2, batch_size=8, seen_episodes=8, validation_episodes=4
    ),
)

_SAM = Config(
    profile="paper-sam",
    model=ModelConfig(),
    # [A] 50 epochs of 82,783 iterations [P 4.2], an iteration being an episode: 6.33 of them a
    # batch, and a batch on each of four GPUs a step
    train=TrainConfig(steps=163_000, micro_batches=4, precision="bfloat16"),
)
_MAE = replace(
    _SAM,
    profile="paper-mae",
    model=ModelConfig(backbone="mae_vit_b", image_size=480, resize="squash"),
)

# For a first impression: a twentieth of the steps.
_SAM_SHORT = replace(
    _SAM, profile="paper-sam-short", train=replace(_SAM.train, steps=_SAM.train.steps // 20)
)
_MAE_SHORT = replace(
    _MAE, profile="paper-mae-short", train=replace(_MAE.train, steps=_MAE.train.steps // 20)
)
_DINOV2 = replace(
    _MAE,
    profile="dinov2",
    model=replace(
        _MAE.model, backbone="dinov2_small", image_size=476, backbone_dim=384, patch_size=14
    ),
)
_PHOTOS = replace(
    _QUICK,
    profile="photos",
    data="folder",
    model=replace(
        _QUICK.model,
        backbone="lite0",
        image_size=480,
        backbone_dim=304,
        patch_size=16,
        mask_size=120,
        logit_downsample=4,
        spatial_convs=False,  # these take two fifths of a training step
    ),
    episodes=EpisodeConfig(
        shapes=((4, 1, 1), (3, 2, 1), (2, 4, 1), (2, 1, 2)),
        # Few photographs show several classes, and N shrinks where no image shows all N
        all_classes_probability=0.2,
        max_points=10,
    ),
    train=replace(_QUICK.train, steps=1_200, target_side=120),
    evaluation=EvalConfig(
        episodes=200, seeds=(0, 1, 2), batch_size=8, seen_episodes=160, validation_episodes=0
    ),
    views=2,
)

PUBLISHED = "published-mae"  # trains nothing, and its models read images instead of features

# Settings in which the authors' run files differ from the paper.
_OFFICIAL_EPISODES = EpisodeConfig(
    shapes=((2, 1, 4), (2, 4, 2), (2, 1, 2), (4, 2, 2), (4, 4, 1), (16, 1, 1))
)
_OFFICIAL_EVALUATION = EvalConfig(protocol="paper")
_SAM_OFFICIAL = replace(
    _SAM,
    profile="paper-sam-official",
    model=replace(_SAM.model, mode="exact"),
    train=replace(_SAM.train, lr=5e-5, precision="float32", target_side=None),
    episodes=_OFFICIAL_EPISODES,
    evaluation=_OFFICIAL_EVALUATION,
)
_MAE_OFFICIAL = replace(
    _MAE,
    profile="paper-mae-official",
    model=replace(_MAE.model, mode="exact", embed_dim=256, mixers=("class_example",)),
    train=replace(_MAE.train, lr=5e-5, schedule="constant", precision="float32", target_side=None),
    episodes=_OFFICIAL_EPISODES,
    evaluation=_OFFICIAL_EVALUATION,
)
_PUBLISHED = replace(  # the authors' four fold checkpoints, evaluated as they are
    _MAE,
    profile=PUBLISHED,
    model=replace(_MAE.model, mode="exact", embed_dim=256, mixers=(), token_pool=0),
    evaluation=EvalConfig(protocol="paper"),
)

_ALL = (
    _QUICK, _PHOTOS, _SAM, _MAE, _DINOV2, _SAM_SHORT, _MAE_SHORT, _PUBLISHED, _SAM_OFFICIAL,
    _MAE_OFFICIAL, _SMOKE,
)  # fmt: skip
PROFILES = {config.profile: config for config in _ALL}


def profile(name: str) -> Config:
    """The named profile; NAME@STEPS is the same with another number of training steps.

    NAME@STEPS has separate folders for runs and results, so a short run overwrites nothing.

    Raises:
        UserError: there is no such profile, or the number of steps is not a positive number.
    """
    known, at, steps = name.partition("@")
    if known not in PROFILES:
        raise UserError(f"no profile {name!r}; known: {', '.join(PROFILES)}")
    config = PROFILES[known]
    if not at:
        return config
    if not steps.isdecimal() or int(steps) < 1:
        raise UserError(
            f"profile {name!r}: the number of training steps must follow the @, as in quick@200"
        )
    warmup = min(config.train.warmup_steps, int(steps) // 10)
    train = replace(config.train, steps=int(steps), warmup_steps=warmup)
    return replace(config, profile=name, train=train)


def weights_folder() -> Path:
    """The folder of downloaded weights: `LA_WEIGHTS`, else one in the user's cache."""
    return Path(os.environ.get("LA_WEIGHTS") or Path.home() / ".cache" / "label-anything")
