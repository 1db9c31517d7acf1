"""Counting a segmenter on a list of episodes, and choosing its bias.

All methods that give scores follow one rule: for each fold, setting and training one bias is added
to the background's score. The bias is chosen on episodes of *seen* classes, on the same list for
all methods, together with the method's hyper-parameter if it has one.
"""

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from accelerate import PartialState
from accelerate.utils import reduce

from la.config import ModelConfig
from la.data.sampling.episodes import list_sha256
from la.experiment.methods import Method
from la.experiment.setup.measurements import Fit
from la.learn.evaluation import count, miou
from la.types import Batch, Episode, Segmenter

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class EpisodeList:
    """The episodes of a measurement, with all that is needed to count a segmenter on them."""

    episodes: Sequence[Episode]
    load: Callable[[list[Episode]], Batch]
    model: ModelConfig  # the frame of the batches
    batch_size: int  # queries at a time
    ranks: PartialState  # the processes that share the episodes
    exchanged: bool = False  # each query gets the supports of another episode

    def count(
        self,
        segmenter: Segmenter,
        biases: Sequence[float],
        report: Callable[[int], None] = lambda n: None,
    ) -> np.ndarray:
        """Count the episodes, sharded over the ranks; the integer counts are all-reduced.

        Returns:
            (len(biases), episodes, C, C) int64 [target, prediction].
        """
        rank, world = self.ranks.process_index, self.ranks.num_processes
        # Every rank scores at least one episode, so that all ranks know the shape of the counts.
        share = list(range(rank, len(self.episodes), world)) or [0]
        mine = count(
            segmenter,
            [self.episodes[i] for i in share],
            ExchangedSupports(self.load, self.episodes) if self.exchanged else self.load,
            model=self.model,
            biases=biases,
            device=self.ranks.device,
            batch_size=self.batch_size,
            report=report,
        )
        n_rows = 1 + max(episode.n_ways for episode in self.episodes)
        counts = np.zeros((len(biases), len(self.episodes), n_rows, n_rows), mine.dtype)
        if rank < len(self.episodes):
            counts[:, share, : mine.shape[2], : mine.shape[3]] = mine
        return reduce(torch.from_numpy(counts).to(self.ranks.device), "sum").cpu().numpy()


def choose(method: Method, segmenter: Segmenter, fitting: EpisodeList) -> Fit:
    """The bias, and the hyper-parameter if there is one, that score best on the fitting list."""
    episodes, biases = fitting.episodes, method.biases
    best_rank, best_bias, best_option = (-1.0, 0.0), biases[0], None
    for option in method.options or (None,):
        candidate = with_option(segmenter, method, option)
        counts = fitting.count(candidate, biases)
        for bias, confusion in zip(biases, counts, strict=True):
            # Ties go to the bias that is nearest to the uncalibrated one.
            rank = miou(episodes, confusion), -abs(bias - method.raw_bias)
            if rank > best_rank:
                best_rank, best_bias, best_option = rank, bias, option
    if best_bias in (biases[0], biases[-1]):
        log.warning("%s: the chosen bias %g is the last candidate", method.label, best_bias)
    return Fit(best_bias, method.raw_bias, best_option, list_sha256(episodes))


def with_option(segmenter: Segmenter, method: Method, value: float | None) -> Segmenter:
    """A segmenter with its method's hyper-parameter set; unchanged if `value` is None."""
    if value is None:
        return segmenter
    return replace(segmenter, **{method.option: value})  # type: ignore[type-var]


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
