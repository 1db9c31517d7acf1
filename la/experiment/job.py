"""A job: a measurement with everything that it needs, each part resolved once."""

import json
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from functools import cache, cached_property
from pathlib import Path

import numpy as np

from la.code import is_todays, scoring_code
from la.config import Protocol, digest, settings
from la.data.download import published_model
from la.data.sampling.episodes import list_sha256
from la.experiment.methods import Method, method
from la.experiment.runs import Run
from la.experiment.scoring import EpisodeList, choose, with_option
from la.experiment.setup.measurements import Fit, Measurement, Result
from la.experiment.setup.workbench import Report, Workbench
from la.files import write_whole
from la.folders import weights_folder
from la.learn.weights import checkpoints
from la.provenance import provenance
from la.types import Episode, Segmenter

FITTING_SEED = 1_000  # of lists of seen classes; far from any evaluation seed


@dataclass(frozen=True)
class Fitted:
    """A calibrated segmenter, as the tables score it."""

    segmenter: Segmenter
    fit: Fit = Fit(0.0)
    checkpoint_sha256: str = ""  # "" without weights


@dataclass(frozen=True)
class Job:
    """A resolved measurement: its method, its training run and its names on disk."""

    bench: Workbench
    measurement: Measurement
    own: Method | None = None  # a reader's own method, which is in no table

    @cached_property
    def method(self) -> Method:
        """The row of the table."""
        return self.own or method(self.measurement.method)

    @cached_property
    def run(self) -> Run | None:
        """The training run whose model is measured; None for a method that is not trained."""
        if self.method.configure is None:
            return None
        return Run.of(self.bench, self.method, self.measurement.fold, self.measurement.seed)

    @cached_property
    def identity(self) -> str:
        """Everything that the number depends on besides the measurement's own fields."""
        bench, method, model = self.bench, self.method, "none"
        shape = bench.config.model
        if self.run is not None:
            model = self.run.folder.name
        elif method.build is None:
            model = _sha256(published_model(weights_folder(), self.measurement.fold))
        backbone = "of the checkpoint" if bench.reads_pixels else bench.cache.source
        parts = {
            "data": bench.data.fingerprint,
            "backbone": backbone,
            "model": model,
            "frame": (shape.image_size, shape.resize, shape.mask_size),
            "folds": bench.fold_rule,
            "points": bench.config.episodes.max_points,
            "protocol": settings(bench.rules(self.measurement.protocol)),
            "fitting": (method.biases, method.raw_bias, method.option, method.options),
            "fitting list": settings(self.fitting),
        }
        return digest(parts)

    @cached_property
    def code(self) -> str:
        """Digest of the code that the number depends on."""
        return scoring_code(self.method.module)

    @cached_property
    def key(self) -> str:
        """The name of the result in the store."""
        return self.measurement.key(self.identity)

    @cached_property
    def fitting(self) -> Measurement:
        """The list of seen classes on which this setting is calibrated; the same for all seeds."""
        return replace(
            self.measurement,
            seed=FITTING_SEED,
            episodes=self.bench.config.evaluation.seen_episodes,
            supports="own",
            classes="seen",
        )

    def segmenter(self) -> Fitted:
        """The method's segmenter without calibration; a missing model is trained."""
        if self.method.build is not None:
            plain = Fitted(self.method.build(self.bench.config.model))
        elif self.run is not None:
            plain = self._trained(self.run.train())
        else:
            source = published_model(weights_folder(), self.measurement.fold)
            plain = loaded(self.bench, source)
        return replace(plain, fit=Fit(self.method.raw_bias, self.method.raw_bias))

    def untrained(self) -> Segmenter:
        """The method's segmenter with initial weights, if it has any."""
        if self.run is None:
            return self.segmenter().segmenter
        network = self.run.fresh_comparator() or self.run.fresh_model()
        return self.method.wrap(network.eval().to(self.bench.device))

    def _trained(self, path: Path) -> Fitted:
        """The method's own model from a checkpoint."""
        network = self.method.network
        if network is None:
            return loaded(self.bench, path)
        model, card = checkpoints.load_comparator(network, path)
        segmenter = self.method.wrap(model.to(self.bench.device))
        return Fitted(segmenter, Fit(card.bias), card.sha256)

    def fitted(self) -> Fitted:
        """The segmenter as the tables score it: calibrated on seen classes, once per setting."""
        plain = self.segmenter()
        if not self.method.biases:
            return plain
        # Each training has its own fit; for other methods all seeds share one.
        path = self.bench.home / "runs" / "fits" / f"{self._fit_key}.json"
        if not self.bench.exists(path):
            with self.bench.one_thread():
                fit = choose(self.method, plain.segmenter, listed(self.bench, self.fitting))
            self.bench.once(lambda: write_whole(path, json.dumps(asdict(fit))))
        fit = Fit(**json.loads(path.read_text()))
        segmenter = with_option(plain.segmenter, self.method, fit.option)
        return replace(plain, segmenter=segmenter, fit=fit)

    @property
    def _fit_key(self) -> str:
        return self.fitting.key(f"{self.identity} {self.code}")

    def measure(self, report: Report = lambda n: None) -> Result:
        """Train, fit and count; nothing is stored."""
        return self.count(self.fitted(), report)

    def count(
        self,
        fitted: Fitted,
        report: Report = lambda n: None,
        truth: Protocol | None = None,
    ) -> Result:
        """Score a fitted segmenter; `truth` replaces the protocol of the targets."""
        started = time.perf_counter()
        bench, m, fit = self.bench, self.measurement, fitted.fit
        test = listed(bench, m, truth=truth)
        biases = (fit.bias, fit.raw_bias)
        confusion, raw_confusion = test.count(fitted.segmenter, biases, report)
        return Result(
            measurement=m,
            classes=bench.classes(m.fold, seen=m.classes == "seen"),
            class_ids=np.array([episode.class_ids for episode in test.episodes]),
            confusion=confusion,
            raw_confusion=raw_confusion,
            fit=fit,
            episodes_sha256=list_sha256(test.episodes),
            checkpoint_sha256=fitted.checkpoint_sha256,
            data=f"{bench.data.name} {bench.data.fingerprint}",
            code=self.code,
            seconds=round(time.perf_counter() - started, 2),
            provenance=provenance(),
        )

    def is_current(self, result: Result) -> bool:
        """Whether today's code, or code equal to it, computed a result and trained its model."""
        if self.run is not None and self.run.is_outdated:
            return False
        return is_todays(result.code, self.code)

    def __str__(self) -> str:
        m = self.measurement
        return f"{m.method}, fold {m.fold}, {m.setting}, seed {m.seed}"


def listed(
    bench: Workbench,
    measurement: Measurement,
    episodes: Sequence[Episode] | None = None,
    truth: Protocol | None = None,
) -> EpisodeList:
    """The episodes of a measurement, or others with its fold and rules, ready to be counted."""
    if episodes is None:
        episodes = bench.episodes(measurement)
    return EpisodeList(
        episodes,
        bench.loader(
            bench.data.test,
            measurement.fold,
            measurement.protocol,
            images=bench.images_of(episodes),
            truth=truth,
        ),
        bench.config.model,
        bench.config.evaluation.batch_size,
        bench.ranks,
        exchanged=measurement.supports == "exchanged",
    )


def loaded(bench: Workbench, source: str | Path) -> Fitted:
    """A model that `la.load` can load, with the bias that is stored with it."""
    model = checkpoints.load(source).to(bench.device)
    if model.card is None:
        raise ValueError(f"{source} was loaded without a card")
    return Fitted(model, Fit(model.card.bias), model.card.sha256)


_sha256 = cache(checkpoints.file_sha256)
