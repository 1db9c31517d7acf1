"""Channel dropout: training episodes lose a random share of the backbone's channels.

The query and the supports of an episode lose the same channels. Matching them then cannot rely on
the few channels that tell the seen classes apart, so more of it is left for other classes.
"""

import math
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import torch

from la.learn.run import Batches
from la.rng import stream
from la.types import Batch, Features


def with_channel_dropout(batches: Batches, share: float, seed: int) -> Batches:
    """The batches with a share of the channels set to 0, the same in each call.

    Args:
        batches: of features.
        share: the probability that an episode loses a channel.
        seed: of the training; batch numbers do the rest.
    """

    def dropped(numbers: list[int]) -> Iterator[Batch]:
        for number, batch in zip(numbers, batches(numbers), strict=True):
            rng = stream(seed, "channel dropout", number)
            yield without_channels(batch, share, rng)

    return dropped


def without_channels(batch: Batch, share: float, rng: np.random.Generator) -> Batch:
    """A batch of features with channels set to 0; the others grow, so that lengths stay.

    Raises:
        TypeError: the batch holds pixels.
    """
    source = batch.source
    if not isinstance(source, Features):
        raise TypeError("channels are dropped from features, and the batch holds pixels")
    query, support = source.query, source.support
    n_episodes, n_channels = query.shape[:2]
    is_kept = rng.random((n_episodes, n_channels)) >= share
    gain = torch.from_numpy(is_kept / math.sqrt(1 - share)).to(query)  # (B, V)
    gain = gain[:, :, None, None]
    features = Features(query * gain, support * gain[batch.support_episode])
    return replace(batch, source=features)
