"""Counting a segmenter on the episodes of a measurement, and choosing its bias.

All methods that give scores follow one rule: for each fold, setting and training one bias is added
to the background's score. The bias is chosen on episodes of *seen* classes, on the same list for
all methods, together with the method's hyper-parameter if it has one.
"""

import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
import torch
from accelerate.utils import reduce

from la.config import Protocol
from la.data.episodes import list_sha256
from la.experiment.measurements import Fit, Measurement, Result
from la.experiment.methods import Method
from la.experiment.workbench import Report, Workbench
from la.learn.evaluation import count, miou
from la.provenance import provenance
from la.types import Batch, Episode, Segmenter

log = logging.getLogger(__name__)


def choose(
    bench: Workbench,
    method: Method,
    segmenter: Segmenter,
    fitting: Measurement,
) -> Fit:
    """The bias, and the hyper-parameter if there is one, that score best on the fitting list."""
    episodes = bench.episodes(fitting)
    biases = method.biases
    best_rank, best_bias, best_option = (-1.0, 0.0), biases[0], None
    for option in method.options or (None,):
        candidate = with_option(segmenter, method, option)
        counts = sharded_count(bench, candidate, episodes, fitting, biases)
        for bias, confusion in zip(biases, counts, strict=True):
            # Ties go to the bias that is nearest to the uncalibrated one.
            rank = miou(episodes, confusion), -abs(bias - method.raw_bias)
            if rank > best_rank:
                best_rank, best_bias, best_option = rank, bias, option
    if best_bias in (biases[0], biases[-1]):
        log.warning("%s: the chosen bias %g is the last candidate", method.label, best_bias)
    return Fit(best_bias, method.raw_bias, best_option, list_sha256(episodes))


def with_option(
    segmenter: Segmenter,
    method: Method,
    value: float | None,
) -> Segmenter:
    """A segmenter with its method's hyper-parameter set; unchanged if `value` is None."""
    if value is None:
        return segmenter
    return replace(segmenter, **{method.option: value})  # type: ignore[type-var]


def measure(
    bench: Workbench,
    measurement: Measurement,
    segmenter: Segmenter,
    fit: Fit,
    *,
    code: str,
    checkpoint_sha256: str = "",
    report: Report = lambda n: None,
    truth: Protocol | None = None,
) -> Result:
    """Score a segmenter on the episodes of a measurement; nothing is stored.

    Args:
        fit: the calibrated bias, and the bias without calibration.
        code: digest of the code that made the segmenter and counts it.
        checkpoint_sha256: of the segmenter's weights; "" if it has none.
        truth: the protocol of the targets, if it is not the measurement's own.
    """
    started = time.perf_counter()
    episodes = bench.episodes(measurement)
    biases = (fit.bias, fit.raw_bias)
    confusion, raw_confusion = sharded_count(
        bench,
        segmenter,
        episodes,
        measurement,
        biases,
        report,
        truth,
    )
    seen = measurement.classes == "seen"
    return Result(
        measurement=measurement,
        classes=bench.classes(measurement.fold, seen=seen),
        class_ids=np.array([episode.class_ids for episode in episodes]),
        confusion=confusion,
        raw_confusion=raw_confusion,
        fit=fit,
        episodes_sha256=list_sha256(episodes),
        checkpoint_sha256=checkpoint_sha256,
        data=f"{bench.data.name} {bench.data.fingerprint}",
        code=code,
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
        bench.data.test,
        measurement.fold,
        measurement.protocol,
        images=images,
        truth=truth,
    )
    load: Callable[[list[Episode]], Batch] = loader
    if measurement.supports == "exchanged":
        load = ExchangedSupports(loader, episodes)
    # Every rank scores at least one episode, so that all ranks know the shape of the counts.
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

    The other episode is the next one in the list without a common class; the search wraps around
    at the end of the list. Rows keep their order, so the prompts of row n and row n of the target
    belong to different classes.
    """

    def __init__(
        self,
        load: Callable[[list[Episode]], Batch],
        episodes: Sequence[Episode],
    ) -> None:
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
    """For each episode the next one without a common class, or else simply the next one."""
    partners = {}
    for i, episode in enumerate(episodes):
        following = [*episodes[i + 1 :], *episodes[:i]] or [episode]
        classes = set(episode.class_ids)
        disjoint = (other for other in following if not classes & set(other.class_ids))
        partners[episode] = next(disjoint, following[0])
    return partners
