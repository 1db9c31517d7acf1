"""Training runs: where the model of a method, fold and training lives, and how it is trained.

A model is named by the digest of its configuration, data and backbone, and is trained once.
"""

import logging
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from la.code import is_todays, training_code
from la.config import Config, digest, settings
from la.data.coco.index import CocoIndex
from la.data.sampling.batches import TrainingBatches, drawable_shapes
from la.data.sampling.episodes import EpisodeSampler
from la.errors import UserError
from la.experiment.methods import Method
from la.experiment.setup.workbench import Report, Workbench
from la.experiment.validation import validation
from la.features.encoding import HalfPixels, encoded, keeps_features
from la.files import write_whole
from la.learn.augmented.channel_dropout import with_channel_dropout
from la.learn.augmented.views import ViewLoader, write_views
from la.learn.run import Batches
from la.learn.training import fit
from la.learn.weights import checkpoints
from la.model.label_anything import LabelAnything
from la.types import Batch, Episode

log = logging.getLogger(__name__)

START_IMAGES = 500  # the neck begins with the main directions of their features
CODE = "code.txt"  # in a run's folder: the digest of the code that trained its model


@dataclass(frozen=True)
class Run:
    """One training of a method on the seen classes of a fold, or on all classes and images."""

    bench: Workbench
    config: Config  # as the method changes the profile, with the seed of this training
    fold: int | None  # None holds out no class and no image
    folder: Path
    method: Method

    @classmethod
    def of(cls, bench: Workbench, method: Method, fold: int | None, seed: int) -> "Run":
        """The training behind the measurements of this seed.

        A profile that trains one model per fold uses it for every seed.

        Raises:
            UserError: the method is not trained.
        """
        if method.configure is None:
            raise UserError(f"{method.label} is not trained; choose la")
        config = method.configure(bench.config)
        number = seed % bench.config.evaluation.trainings
        config = replace(config, train=replace(config.train, seed=config.train.seed + number))
        identity: dict[str, Any] = {
            "model": settings(config.model),
            "episodes": settings(config.episodes),
            "train": settings(config.train),
            "folds": bench.fold_rule,
            "protocol": config.evaluation.protocol,
            "data": bench.data.fingerprint,
            "backbone": bench.cache.source,
        }
        if config.views:
            identity["views"] = config.views
        key = digest(identity)
        classes = "all" if fold is None else f"fold{fold}"
        name = f"{method.trains_as}_{classes}_training{number}_{key}"
        return cls(bench, config, fold, bench.home / "runs" / config.profile / name, method)

    @property
    def model(self) -> Path:
        """The checkpoint, once it is trained."""
        return self.folder / "model.safetensors"

    @property
    def trained_on(self) -> str:
        """Data and classes, for people to read."""
        data = self.bench.data
        classes = "all classes" if self.fold is None else f"seen classes of fold {self.fold}"
        if self.fold is not None and self.bench.unseen:
            classes = f"all classes but {', '.join(self.bench.unseen)}"
        return f"{data.name} {data.fingerprint}, {classes}"

    @property
    def index(self) -> CocoIndex:
        """The images to train on."""
        return self.bench.data.whole if self.fold is None else self.bench.data.train

    @property
    def trained_by(self) -> str:
        """Digest of the code that trained the model; "" without one."""
        note = self.folder / CODE
        return note.read_text().strip() if note.exists() else ""

    @property
    def code(self) -> str:
        """Digest of today's code that trains the model."""
        return training_code(self.method.module)

    @property
    def is_outdated(self) -> bool:
        """Whether there is a model that other code than today's trained."""
        return self.model.exists() and not is_todays(self.trained_by, self.code)

    def set_aside(self) -> None:
        """Rename the folder of a model that other code trained, so that it is trained again."""
        if self.is_outdated:
            old = self.folder.with_name(f"{self.folder.name}.by-{self.trained_by or 'unknown'}")
            log.warning("%s is kept as %s and trained again", self.folder.name, old.name)
            self.folder.rename(old)

    def train(
        self,
        *,
        init: str | None = None,
        stop_after: int | None = None,
        tracker: str | None = None,
        report: Report = lambda n: None,
    ) -> Path:
        """The checkpoint; trained, or resumed, if it is missing.

        Args:
            init: a model to fine-tune; the architecture is then that model's.
            stop_after: save and raise `Stopped` after this many steps.
            tracker: one that accelerate supports, such as tensorboard.
            report: called with the number of steps done since the last call.

        Raises:
            UserError: the fold cannot be drawn in the training shapes, the tracker is not
                installed, or `init` is given for a comparator.
            Stopped, Diverged: see `la.learn.training.fit`.
        """
        bench, config = self.bench, self.config
        if init is None:
            folder, start = self.folder, None
        else:
            if self.method.network is not None:
                raise UserError(f"{self.method.label} cannot be fine-tuned; leave out init")
            start = checkpoints.load(init)
            bench.check_frame(start.config, init)
            start.backbone = None  # frozen: its features are cached
            sha256 = start.card.sha256 if start.card else ""
            folder = self.folder / f"from-{Path(init).stem}-{sha256[:12]}"
        path = folder / "model.safetensors"
        if bench.exists(path):
            if init is None and self.is_outdated:
                log.warning(
                    "%s was trained by other code than today's; --recompute, or RECOMPUTE=1 for "
                    "make, trains it again",
                    self.folder.name,
                )
            report(config.train.steps)
            return path
        model = start or self.fresh_comparator() or self.fresh_model()
        bench.once(lambda: write_whole(folder / CODE, self.code + "\n"))
        batches = self._batches()
        with bench.one_thread():
            fit(
                model,
                self._with_features(batches.of),
                config.train,
                folder,
                stop_after=stop_after,
                tracker=tracker,
                report=report,
                episodes=batches.episodes,
                validate=validation(bench, self.fold),
            )
        bench.once(lambda: checkpoints.save(model.cpu(), path, trained_on=self.trained_on))
        return path

    def fresh_comparator(self) -> torch.nn.Module | None:
        """Initial weights of a comparator; they depend only on the seed of this training."""
        if self.method.network is None:
            return None
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.config.train.seed)
            return self.method.network(self.config.model)

    def fresh_model(self) -> LabelAnything:
        """Initial weights, which depend only on the seed of this training; see `la.model.start`."""
        bench, model = self.bench, self.config.model
        generator = torch.Generator().manual_seed(self.config.train.seed)
        if model.start == "usual":
            return LabelAnything.from_config(model, generator)
        image_ids = self.index.image_ids[:START_IMAGES].tolist()
        features = bench.features(self.index, image_ids).read(image_ids)
        return LabelAnything.from_config(model, generator, features)

    def _batches(self) -> TrainingBatches:
        bench, config = self.bench, self.config
        protocol = config.evaluation.protocol
        rules = bench.rules(protocol)
        seen = bench.classes(self.fold, seen=True)
        shapes = drawable_shapes(self.index, seen, rules, config.episodes.shapes)
        if shapes != config.episodes.shapes:
            log.warning(
                "too few images for the profile's batches; those of this training have "
                "(episodes, N, K) %s",
                ", ".join(map(str, shapes)),
            )
        sampler = EpisodeSampler(self.index, seen, rules, {shape[1:] for shape in shapes})
        index = self.index
        if config.views:
            folder = bench.home / "cache" / "views" / self._views_key
            bench.once(lambda: write_views(index, folder, config.views))
            index = write_views(self.index, folder, config.views)
        features = None
        if keeps_features() and not bench.reads_pixels:
            bench.features(index, None if config.views else sampler.image_ids())
            features = bench.store(index)
        truth = None
        if config.train.unseen == "ignore":
            truth = replace(rules, extra_unseen="exclude")
        loader = bench.loader(
            index,
            self.fold,
            protocol,
            target_side=config.train.target_side,
            jitter=True,
            objects=config.train.attention_loss > 0,
            truth=truth,
            source="ids" if features else "pixels",
        )
        load: Callable[[list[Episode]], Batch]
        load = ViewLoader(loader, config.views) if config.views else loader
        return TrainingBatches(
            sampler,
            load if features else HalfPixels(load),
            replace(config.episodes, shapes=shapes),
            config.train.seed,
            per_step=config.train.micro_batches,
            # Exact mode has quirks that depend on which kinds of prompt a whole batch has.
            kinds_per_batch=config.model.mode == "exact",
            features=features,
        )

    def _with_features(self, load: Batches) -> Batches:
        """What training reads: features, of which channels may be dropped."""
        config = self.config.train
        if not keeps_features():
            load = encoded(load, self.bench.config.model, self.bench.device)
        if config.channel_dropout:
            load = with_channel_dropout(load, config.channel_dropout, config.seed)
        return load

    @property
    def _views_key(self) -> str:
        """Names the folder of the views of this run's images."""
        data = self.bench.data.fingerprint
        return digest({"data": data, "whole": self.fold is None, "views": self.config.views})
