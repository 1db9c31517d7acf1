"""Channel dropout: training episodes lose a random share of the backbone's channels.

The query and the supports of an episode lose the same channels. The model then cannot rely on the
few channels that tell the seen classes apart, and learns to match by others, which unseen classes
need.
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
        seed: of the training; the channels depend on it and on the number of the batch.
    """

    def dropped(numbers: list[int]) -> Iterator[Batch]:
        for number, batch in zip(numbers, batches(numbers), strict=True):
            rng = stream(seed, "channel dropout", number)
            yield without_channels(batch, share, rng)

    return dropped


def without_channels(batch: Batch, share: float, rng: np.random.Generator) -> Batch:
    """A batch of features with channels set to 0; the others are scaled to keep the expected norm.

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
