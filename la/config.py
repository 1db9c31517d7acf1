"""All default settings with their sources: frozen configurations, which `la.profiles` names.

Sources: [P 4.2] the paper's section, [O] the official code, [Q] measured for the quick profile,
[A] our assumption.
`dataclasses.replace` makes a variant; there are no configuration files.
"""

import hashlib
import json
from dataclasses import MISSING, dataclass, field, fields, is_dataclass
from typing import TYPE_CHECKING, Any, Literal

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
    token_pool_std: float = 0.1  # [A] of its fresh vectors; [O] 0.02
    spatial_convs: bool = True  # [P 3.2]; False is Table 4's "w/o Spatial Convolutions"
    mode: Literal["exact", "masked"] = "masked"  # exact: as the published weights were trained
    norm_first: bool = False  # [O] post-norm; [Q] pre-norm
    first_residual: bool = False  # [O] the first self-attention of a two-way transformer has none
    background: Literal["unprompted", "token"] = "unprompted"  # [O] no prompts; [Q] learned
    # Initialisation, see la.model.start.agreeing; the paper does not state one. [Q] agreeing
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
    keep_ways: bool = False  # [P 3.3] N shrinks to what an image shows; [O] only the query does
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
    channel_dropout: float = 0.0  # [Q] share; see la.learn.augmented.channel_dropout
    # Pixels of the classes that the fold holds out: [O] background, or left out of the loss [Q]
    unseen: Literal["background", "ignore"] = "background"
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
    views: int = 0  # augmented views of each training image, see la.learn.augmented.views


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
