"""Channel dropout: the same channels of a query and its supports, of each episode its own."""

import numpy as np
import pytest
import torch

from la.learn.augmented.channel_dropout import with_channel_dropout, without_channels
from la.types import Batch, Features, Pixels

EPISODE_OF_SUPPORT = (0, 0, 1)


def batch_of_ones(source=None) -> Batch:
    """Two episodes with two and one supports, 200 channels; what dropout does not read is None."""
    source = source or Features(torch.ones(2, 200, 2, 3), torch.ones(3, 200, 2, 3))
    return Batch(source, torch.tensor(EPISODE_OF_SUPPORT), *[None] * 5)


def test_an_episode_loses_the_same_channels_in_its_query_and_all_its_supports():
    source = without_channels(batch_of_ones(), 0.3, np.random.default_rng(0)).source
    for support, episode in enumerate(EPISODE_OF_SUPPORT):
        assert torch.equal(source.support[support], source.query[episode])
    assert not torch.equal(source.query[0], source.query[1])
    # All cells of a channel are alike, and those that stay make up for the lost length.
    assert torch.equal(source.query, source.query[:, :, :1, :1].expand_as(source.query))
    assert source.query.unique().tolist() == pytest.approx([0, 0.7**-0.5])
    assert (source.query == 0).float().mean() == pytest.approx(0.3, abs=0.1)
    assert source.query.square().mean() == pytest.approx(1, abs=0.15)


def test_a_batch_number_always_loses_the_same_channels():
    def ones(numbers):
        return [batch_of_ones() for _ in numbers]

    three = [b.source.query for b in with_channel_dropout(ones, 0.3, seed=1)([4, 5, 6])]
    (again,) = with_channel_dropout(ones, 0.3, seed=1)([5])
    (other_seed,) = with_channel_dropout(ones, 0.3, seed=2)([5])
    assert torch.equal(three[1], again.source.query)
    assert not torch.equal(three[0], three[1])
    assert not torch.equal(three[1], other_seed.source.query)


def test_pixels_have_no_channels_to_drop():
    pixels = Pixels(torch.ones(2, 3, 4, 4), torch.ones(3, 3, 4, 4))
    with pytest.raises(TypeError, match="holds pixels"):
        without_channels(batch_of_ones(pixels), 0.3, np.random.default_rng(0))
