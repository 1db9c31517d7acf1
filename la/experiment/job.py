"""A job: a measurement with all that it needs, each found once; fitting and counting it.

One rule for every method that has scores: for each fold, setting and training one bias is added to
the background's score. It is chosen on episodes of *seen* classes, on the same list for all
methods, together with the method's hyper-parameter if it has one.
"""

import json
import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cache, cached_property
from pathlib import Path

import numpy as np
import torch
from accelerate.utils import reduce

from la.config import Protocol, digest, weights_folder
from la.data.download import published_model
from la.data.episodes import list_sha256
from la.experiment.code import scoring_code
from la.experiment.measurements import Fit, Measurement, Result, provenance
from la.experiment.methods import Method, method
from la.experiment.runs import Run
from la.experiment.workbench import Report, Workbench
from la.files import write_whole
from la.learn import checkpoints
from la.learn.evaluation import count, miou
from la.types import Batch, Episode, Segmenter

log = logging.getLogger(__name__)

FITTING_SEED = 1_000  # of lists of seen classes; far from any evaluation seed


@dataclass(frozen=True)
class Fitted:
    """A segmenter as the tables score it."""

    segmenter: Segmenter
    fit: Fit = Fit(0.0)
    checkpoint_sha256: str = ""  # "" without weights


@dataclass(frozen=True)
class Job:
    """A measurement, resolved: its method, its training run and its names on disk."""

    bench: Workbench
    measurement: Measurement

    @cached_property
    def method(self) -> Method:
        """The row of the table."""
        return method(self.measurement.method)

    @cached_property
    def run(self) -> Run | None:
        """The training run whose model is measured; None for a method that is not trained."""
        if self.method.configure is None:
            return None
        return Run.of(self.bench, self.method, self.measurement.fold, self.measurement.seed)

    @cached_property
    def identity(self) -> str:
        """What the number depends on besides the measurement's own fields."""
        bench, model = self.bench, "none"
        if self.run is not None:
            model = self.run.folder.name
        elif self.method.build is None:
            model = _sha256(published_model(weights_folder(), self.measurement.fold))
        backbone = "of the checkpoint" if bench.reads_pixels else bench.backbone_sha256
        parts = {
            "data": bench.data.fingerprint,
            "backbone": backbone,
            "model": model,
            "frame": (bench.config.model.image_size, bench.config.model.resize),
        }
        return digest(parts)

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

    def segmenter(self, report: Report = lambda n_steps: None) -> Fitted:
        """The method's segmenter, not calibrated; a missing model is trained."""
        if self.method.build is not None:
            plain = Fitted(self.method.build(self.bench.config.model))
        elif self.run is not None:
            plain = loaded(self.bench, self.run.train(report=report))
        else:
            source = published_model(weights_folder(), self.measurement.fold)
            plain = loaded(self.bench, source)
        return replace(plain, fit=Fit(self.method.raw_bias, self.method.raw_bias))

    def fitted(self, report: Report = lambda n_steps: None) -> Fitted:
        """The segmenter as the tables score it: calibrated on seen classes, once per setting."""
        plain = self.segmenter(report)
        if not self.method.biases:
            return plain
        # Trainings have fits of their own; for other methods all seeds share one.
        path = self.bench.home / "runs" / "fits" / f"{self._fit_key}.json"
        if not self.bench.exists(path):
            fit = self._fit(plain.segmenter)
            self.bench.once(lambda: write_whole(path, json.dumps(asdict(fit))))
        fit = Fit(**json.loads(path.read_text()))
        segmenter = plain.segmenter
        if fit.option is not None:
            segmenter = _with_option(segmenter, self.method.option, fit.option)
        return replace(plain, segmenter=segmenter, fit=fit)

    @property
    def _fit_key(self) -> str:
        return self.fitting.key(f"{self.identity} {scoring_code()}")

    def _fit(self, segmenter: Segmenter) -> Fit:
        """The best bias, and hyper-parameter, on the fitting list."""
        episodes = self.bench.episodes(self.fitting)
        biases = self.method.biases
        best = (-1.0, 0.0, biases[0], None)  # score, closeness, bias, option
        for option in self.method.options or (None,):
            candidate = segmenter
            if option is not None:
                candidate = _with_option(segmenter, self.method.option, option)
            counts = sharded_count(self.bench, candidate, episodes, self.fitting, biases)
            for bias, confusion in zip(biases, counts, strict=True):
                # Of equally good biases the one nearest to the uncalibrated is taken.
                closeness = -abs(bias - self.method.raw_bias)
                best = max(best, (miou(episodes, confusion), closeness, bias, option), key=_rank)
        _, _, bias, option = best
        if bias in (biases[0], biases[-1]):
            log.warning("%s: the chosen bias %g is the last of its candidates", self, bias)
        return Fit(bias, self.method.raw_bias, option, list_sha256(episodes))

    def measure(self, report: Report = lambda n: None) -> Result:
        """Train, fit and count; nothing is stored."""
        return measure(self.bench, self.measurement, self.fitted(report), report)

    def __str__(self) -> str:
        m = self.measurement
        return f"{m.method}, fold {m.fold}, {m.setting}, seed {m.seed}"


def loaded(bench: Workbench, source: str | Path) -> Fitted:
    """A model that `la.load` can load, with the bias that it brings."""
    model = checkpoints.load(source).to(bench.device)
    if model.card is None:
        raise ValueError(f"{source} was loaded without a card")
    return Fitted(model, Fit(model.card.bias), model.card.sha256)


def measure(
    bench: Workbench,
    measurement: Measurement,
    chosen: Fitted,
    report: Report = lambda n: None,
    truth: Protocol | None = None,
) -> Result:
    """What a segmenter scores on the episodes of a measurement; nothing is stored.

    `truth` is what targets follow where it is not the measurement's protocol.
    """
    started = time.perf_counter()
    episodes = bench.episodes(measurement)
    biases = (chosen.fit.bias, chosen.fit.raw_bias)
    confusion, raw_confusion = sharded_count(
        bench, chosen.segmenter, episodes, measurement, biases, report, truth
    )
    seen = measurement.classes == "seen"
    return Result(
        measurement=measurement,
        classes=bench.classes(measurement.fold, seen=seen),
        class_ids=np.array([episode.class_ids for episode in episodes]),
        confusion=confusion,
        raw_confusion=raw_confusion,
        fit=chosen.fit,
        episodes_sha256=list_sha256(episodes),
        checkpoint_sha256=chosen.checkpoint_sha256,
        data=f"{bench.data.name} {bench.data.fingerprint}",
        code=scoring_code(),
        seconds=round(time.perf_counter() - started, 2),
        provenance=provenance(),
    )


def sharded_count(
    bench: Workbench,
    segmenter: Segmenter,
    episodes: Sequence[Episode],
    measurement: Measurement,
    biases: Sequence[float],
    report: Report = lambda n: None,
    truth: Protocol | None = None,
) -> np.ndarray:
    """`count`, with the episodes sharded over the ranks and the integer counts all-reduced.

    Returns:
        (len(biases), episodes, C, C) int64 [target, prediction].
    """
    rank, world = bench.ranks.process_index, bench.ranks.num_processes
    images = bench.images_of(episodes)
    loader = bench.loader(
        bench.data.test, measurement.fold, measurement.protocol, images=images, truth=truth
    )
    load: Callable[[list[Episode]], Batch] = loader
    if measurement.supports == "exchanged":
        load = ExchangedSupports(loader, episodes)
    # Every rank scores at least one episode, so that all know the shape of the counts.
    share = list(range(rank, len(episodes), world)) or [0]
    mine = count(
        segmenter,
        [episodes[i] for i in share],
        load,
        model=bench.config.model,
        biases=biases,
        device=bench.device,
        batch_size=bench.config.evaluation.batch_size,
        report=report,
    )
    n_rows = 1 + max(episode.n_ways for episode in episodes)
    counts = np.zeros((len(biases), len(episodes), n_rows, n_rows), mine.dtype)
    if rank < len(episodes):
        counts[:, share, : mine.shape[2], : mine.shape[3]] = mine
    return reduce(torch.from_numpy(counts).to(bench.device), "sum").cpu().numpy()


class ExchangedSupports:
    """Loads episodes whose supports and prompts are those of another episode of the list.

    The other one is the next in the list that asks for none of the same classes; the last
    episodes go on at the head of the list. Rows keep their order, so what is prompted in row n
    is of another class than what row n of the target shows.
    """

    def __init__(self, load: Callable[[list[Episode]], Batch], episodes: Sequence[Episode]) -> None:
        self.load = load
        self.partner = _partners(episodes)

    def __call__(self, episodes: list[Episode]) -> Batch:
        """The queries and targets of `episodes`, the supports of their partners."""
        own = self.load(episodes)
        other = self.load([self.partner[episode] for episode in episodes])
        return replace(
            own,
            source=replace(own.source, support=other.source.support),
            support_episode=other.support_episode,
            prompts=other.prompts,
            token_rows=other.token_rows,
        )


def _partners(episodes: Sequence[Episode]) -> dict[Episode, Episode]:
    """For each episode the next one with other classes; where there is none, the next one."""
    partners = {}
    for i, episode in enumerate(episodes):
        following = [*episodes[i + 1 :], *episodes[:i]] or [episode]
        classes = set(episode.class_ids)
        disjoint = (other for other in following if not classes & set(other.class_ids))
        partners[episode] = next(disjoint, following[0])
    return partners


def _with_option(segmenter: Segmenter, name: str, value: float) -> Segmenter:
    return replace(segmenter, **{name: value})  # type: ignore[type-var]


def _rank(candidate: tuple[float, float, float, float | None]) -> tuple[float, float]:
    return candidate[0], candidate[1]


_sha256 = cache(checkpoints.file_sha256)
