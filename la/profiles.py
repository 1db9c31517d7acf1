"""The named profiles: the configurations in which a run can be started.

A profile is a `la.config.Config`; `dataclasses.replace` makes a variant. The sources of the values
are marked as in `la.config`.
"""

from dataclasses import replace
from typing import Any

from la.config import Config, EpisodeConfig, EvalConfig, ModelConfig, TrainConfig
from la.errors import UserError

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
_SMOKE = replace(  # for tests: runs the whole code in seconds; its numbers mean nothing
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
    # [A] 50 epochs of 82,783 iterations [P 4.2], where an iteration is an episode: a batch has
    # 6.33 of them, and a step has a batch on each of four GPUs
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
        spatial_convs=False,  # which would take two fifths of a training step
    ),
    episodes=EpisodeConfig(
        shapes=((4, 1, 1), (3, 2, 1), (2, 4, 1), (2, 1, 2)),
        # Few photographs show several classes, and N shrinks where no image shows all N
        all_classes_probability=0.2,
        max_points=10,
    ),
    train=replace(_QUICK.train, steps=1_200, target_side=120, channel_dropout=0.3, unseen="ignore"),
    evaluation=EvalConfig(
        episodes=200, seeds=(0,), batch_size=8, seen_episodes=120, validation_episodes=0
    ),
    views=8,
)

PUBLISHED = "published-mae"  # trains nothing; its models encode images, so it caches no features

# Settings in which the authors' run files differ from the paper.
_OFFICIAL_EPISODES = EpisodeConfig(
    shapes=((2, 1, 4), (2, 4, 2), (2, 1, 2), (4, 2, 2), (4, 4, 1), (16, 1, 1)), keep_ways=True
)
# [O] 50 epochs of 82,783 episodes, on four GPUs with batches of 5.0 episodes. All GPUs draw the
# same episodes, so one batch gives the same gradient as all four. Each GPU advances the schedule,
# so the warm-up takes a quarter of the steps.
_OFFICIAL_TRAINING = TrainConfig(
    steps=round(50 * 82_783 / (4 * 5.0)),
    lr=5e-5,
    warmup_steps=1_000 // 4,
    micro_batches=1,
    target_side=None,
)
_OFFICIAL_EVALUATION = EvalConfig(protocol="paper")
_SAM_OFFICIAL = replace(
    _SAM,
    profile="paper-sam-official",
    model=replace(_SAM.model, mode="exact", token_pool_std=0.02),
    train=_OFFICIAL_TRAINING,
    episodes=_OFFICIAL_EPISODES,
    evaluation=_OFFICIAL_EVALUATION,
)
_MAE_OFFICIAL = replace(
    _MAE,
    profile="paper-mae-official",
    model=replace(
        _MAE.model,
        mode="exact",
        embed_dim=256,
        mixers=("class_example",),
        token_pool_std=0.02,
    ),
    train=replace(_OFFICIAL_TRAINING, schedule="constant"),
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
    base, at, steps = name.partition("@")
    if base not in PROFILES:
        raise UserError(f"no profile {name!r}; known: {', '.join(PROFILES)}")
    config = PROFILES[base]
    if not at:
        return config
    if not steps.isdecimal() or int(steps) < 1:
        raise UserError(
            f"profile {name!r}: the number of training steps must follow the @, as in quick@200"
        )
    warmup = min(config.train.warmup_steps, int(steps) // 10)
    train = replace(config.train, steps=int(steps), warmup_steps=warmup)
    return replace(config, profile=name, train=train)
