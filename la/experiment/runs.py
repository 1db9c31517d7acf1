"""Training runs: where a method's model for a fold lives, and how it comes to be there.

A model is known by the digest of its configuration, its data and its backbone; one that exists is
not trained again.
"""

from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

from la.config import Config, digest
from la.data.episodes import EpisodeSampler
from la.data.loader import TrainingBatches
from la.errors import UserError
from la.experiment.methods import method
from la.experiment.results import Cell
from la.experiment.workbench import Report, Workbench, images_of
from la.learn import checkpoints
from la.learn.evaluation import count, miou
from la.learn.training import fit
from la.model.label_anything import LabelAnything

START_IMAGES = 500  # whose features have the main directions with which the neck begins
VALIDATION_SEED = 2_000  # of lists of seen classes; far from any evaluation seed


def run_folder(bench: Workbench, name: str, fold: int) -> Path:
    """Where a trained method keeps its states, history and weights."""
    config = method(name).configure(bench.config)
    identity = {
        "model": config.model, "episodes": config.episodes, "train": config.train,
        "folds": config.evaluation.folds, "data": bench.data.fingerprint,
        "backbone": bench.backbone_sha256,
    }  # fmt: skip
    key = digest({k: str(v) for k, v in identity.items()})
    run = f"{method(name).trains_as or name}_fold{fold}_{key}".replace(" ", "-")
    return bench.home / "runs" / config.profile / run


def train(
    bench: Workbench,
    name: str,
    fold: int,
    *,
    init: str | None = None,
    stop_after: int | None = None,
    tracker: str | None = None,
    report: Report = lambda n: None,
) -> Path:
    """The checkpoint of a method on the seen classes of a fold; trained if it is missing.

    `init` names a model to go on from (fine-tuning); the architecture is then that model's.
    `tracker` is one that accelerate knows, such as tensorboard.

    Raises:
        ValueError: the method is not trained, the fold cannot serve the training shapes, or the
            tracker is not installed.
        Stopped, Diverged: see `la.learn.training.fit`.
    """
    chosen = method(name)
    if chosen.configure is None:
        raise UserError(f"{name} is not trained; choose la")
    config, folder = chosen.configure(bench.config), run_folder(bench, name, fold)
    if init is not None:
        folder = folder / f"from-{Path(init).stem}"
    path = folder / "model.safetensors"
    if bench.exists(path):
        report(config.train.steps)
        return path
    if init is None:
        generator = torch.Generator().manual_seed(config.train.seed)
        model = LabelAnything.from_config(config.model, generator, _some_features(bench, config))
    else:
        model = checkpoints.load(init)
        bench.check_frame(model.config, init)
        model.backbone = None  # frozen: its features are cached
    shapes = {(n_ways, k_shots) for _, n_ways, k_shots in config.episodes.shapes}
    protocol, seen = config.evaluation.protocol, bench.classes(fold, seen=True)
    sampler = EpisodeSampler(bench.data.train, seen, bench.rules(protocol), shapes)
    loader = bench.loader(
        bench.data.train,
        fold,
        protocol,
        target_side=config.train.target_side,
        jitter=True,
        objects=config.train.attention_loss > 0,
    )
    batches = TrainingBatches(sampler, loader, config.episodes, config.train.seed)
    fit(
        model, batches.of, config.train, folder, stop_after=stop_after, tracker=tracker,
        report=report, episodes=batches.episodes, validate=_validation(bench, fold),
    )  # fmt: skip
    trained_on = f"{bench.data.name} {bench.data.fingerprint}, seen classes of fold {fold}"
    bench.once(lambda: checkpoints.save(model.cpu(), path, trained_on=trained_on))
    return path


def _some_features(bench: Workbench, config: Config) -> Tensor | None:
    """Features (n, V, h, w) of the first training images, where the start of weights uses them."""
    if config.model.start == "usual":
        return None
    image_ids = bench.data.train.image_ids[:START_IMAGES].tolist()
    return bench.features(bench.data.train, image_ids).read(image_ids)


def _validation(bench: Workbench, fold: int) -> Callable[[LabelAnything], float] | None:
    """mIoU* on 1-way 1-shot episodes of *seen* classes in test images, with masks."""
    usual = bench.config.evaluation
    if not usual.validation_episodes:
        return None
    cell = Cell("", fold, 1, 1, VALIDATION_SEED, usual.validation_episodes)
    episodes = bench.episodes(cell, seen=True)
    loader = bench.loader(bench.data.test, fold, images=images_of(episodes))
    options = {"batch_size": usual.batch_size, "device": bench.device}
    return lambda model: miou(episodes, count(model, episodes, loader, **options)[0])
