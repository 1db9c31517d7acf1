"""Scores on episodes whose class covers a good part of the query and of the support."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from hand_made import result

from la.data.sampling.episodes import EpisodeSampler, episode_list
from la.report.scores.clear_subjects import SMALLEST_SHARE, clear_subjects, support_share


@pytest.fixture(scope="module")
def bench(loader):
    """What the report needs of a workbench: the lists of the embedded images."""
    ids = loader.index.category_ids.tolist()
    sampler = EpisodeSampler(loader.index, ids, loader.protocol, [(1, 1)])
    episodes = episode_list(sampler, n_ways=1, k_shots=1, episodes=40, seed=0)
    return SimpleNamespace(
        episodes=lambda measurement: episodes,
        data=SimpleNamespace(test=loader.index),
        loader=lambda index, fold, source: loader,
    )


def share_by_annotations(index, image_id: int, class_id: int) -> float:
    """The share of an image that a class covers, by the masks of its annotations."""
    canvas = np.zeros(index.size(image_id), bool)
    for annotation in index.annotations_of(image_id):
        is_class = index.category_ids[index.annotation_category[annotation]] == class_id
        if is_class and not index.annotation_crowd[annotation]:
            canvas |= index.mask(annotation)
    return canvas.mean()


def test_only_episodes_with_a_large_query_and_support_count(bench):
    episodes = bench.episodes(None)
    index = bench.data.test
    shares = [share_by_annotations(index, e.support_ids[0], e.class_ids[0]) for e in episodes]
    assert [support_share(bench, 0, e) for e in episodes] == pytest.approx(shares)
    is_clear_support = [share >= SMALLEST_SHARE for share in shares]
    assert 0 < sum(is_clear_support) < len(episodes)
    # Every second query shows a large object, half of which is found.
    small, large = [[99, 0], [0, 1]], [[80, 0], [10, 10]]
    confusion = np.array([large if i % 2 else small for i in range(len(episodes))])
    one = result(ids=tuple(e.class_ids for e in episodes), confusion=confusion)
    n_clear = sum(is_clear_support[1::2])
    table = clear_subjects(bench, [one])
    assert table.loc["LA", "episodes"] == n_clear
    assert table.loc["LA", "masks"] == 50


def test_other_settings_are_left_out(bench):
    one = result(confusion=((80, 0), (10, 10)))
    five = replace(one, measurement=replace(one.measurement, k_shots=5))
    with pytest.raises(ValueError, match="1-way 1-shot"):
        clear_subjects(bench, [five])
