"""Batches of a training run: shapes, prompt kinds, and worker processes."""

from collections import Counter
from dataclasses import replace

import pytest
import torch
from scipy.stats import chisquare

from la.config import EpisodeConfig, ModelConfig, Protocol
from la.data.sampling.batches import TrainingBatches, drawable_shapes, ids_alone
from la.data.sampling.episodes import EpisodeSampler
from la.data.sampling.loader import BatchLoader
from tests.data.entries import features_of

SHAPES = ((3, 1, 1), (2, 2, 1), (1, 1, 2))
CONFIG = EpisodeConfig(shapes=SHAPES)


class ConstantFeatures:
    """Stands for a feature cache."""

    def read(self, image_ids: list[int], *, pin_memory: bool = False) -> torch.Tensor:
        return features_of(image_ids)


class DamagedFeatures:
    """A feature cache that cannot be read."""

    def read(self, image_ids: list[int], *, pin_memory: bool = False) -> torch.Tensor:
        raise ValueError("the file is damaged")


@pytest.fixture(scope="module")
def batches(tiny_index) -> TrainingBatches:
    class_ids = tiny_index.category_ids.tolist()
    sampler = EpisodeSampler(tiny_index, class_ids, Protocol(), [(n, k) for _, n, k in SHAPES])
    model = ModelConfig(image_size=96, mask_size=48, token_pool=20)
    loader = BatchLoader(
        tiny_index, model, CONFIG, Protocol(), read_features=features_of, target_side=24
    )
    return TrainingBatches(sampler, loader, CONFIG, seed=3)


def test_each_shape_is_drawn_equally_often(batches):
    counts = Counter(len(batches.episodes(number)) for number in range(300))
    assert set(counts) == {b for b, _, _ in SHAPES}
    assert chisquare(list(counts.values())).pvalue > 0.01


def test_no_two_batches_share_an_episode(batches):
    seeds = [episode.seed for number in range(100) for episode in batches.episodes(number)]
    assert len(set(seeds)) == len(seeds)


def test_the_batches_of_a_step_have_one_shape_and_different_episodes(batches):
    steps = replace(batches, per_step=4)
    sizes = set()
    for step in range(20):
        of_step = [steps.episodes(number) for number in range(4 * step, 4 * step + 4)]
        assert len({len(episodes) for episodes in of_step}) == 1
        assert len({episodes[0].seed for episodes in of_step}) == 4
        sizes.add(len(of_step[0]))
    assert sizes == {b for b, _, _ in SHAPES}


def test_a_batch_has_one_subset_of_kinds_where_the_official_code_is_followed(batches):
    def kinds(episodes):
        return {example.kinds for episode in episodes for example in episode.examples}

    official = replace(batches, kinds_per_batch=True)
    counts = Counter()
    for number in range(350):
        of_batch = kinds(official.episodes(number))
        assert len(of_batch) == 1
        counts.update(of_batch)
    assert len(counts) == 7 and chisquare(list(counts.values())).pvalue > 0.01
    assert max(len(kinds(batches.episodes(number))) for number in range(20)) > 1
    for number in range(20):  # all but the kinds is the same
        pairs = zip(batches.episodes(number), official.episodes(number), strict=True)
        assert all(replace(b, examples=a.examples) == a for a, b in pairs)


@pytest.mark.slow
@pytest.mark.parametrize("start", ["fork", "forkserver"])
def test_worker_processes_load_the_batches_that_this_process_loads(batches, start):
    batches[0]  # the decoded instances of this process are not sent along
    loader = replace(batches.loader, read_features=ids_alone)
    unread = replace(batches, loader=loader, features=ConstantFeatures())
    numbers = [5, 0, 7, 1, 3]
    loaded = unread.loaded(numbers, n_workers=2, start_method=start)
    for number, ready in zip(numbers, loaded, strict=True):
        expected = batches[number]
        assert torch.equal(ready.target, expected.target)
        assert torch.equal(ready.source.query, expected.source.query)
        assert torch.equal(ready.source.support, expected.source.support)
        assert torch.equal(ready.prompts.points, expected.prompts.points)
        assert torch.equal(ready.prompts.masks, expected.prompts.masks)
        assert torch.equal(ready.token_rows, expected.token_rows)


def test_an_error_of_a_thread_that_reads_ahead_reaches_the_training(batches):
    loader = replace(batches.loader, read_features=ids_alone)
    unread = replace(batches, loader=loader, features=DamagedFeatures())
    with pytest.raises(ValueError, match="the file is damaged"):
        next(unread.loaded([0, 1], n_workers=1))


@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        ((4, 2, 1), (4, 2, 1)),
        ((4, 8, 1), (4, 8, 1)),
        ((4, 9, 1), (4, 8, 1)),  # there are 8 classes
        ((4, 2, 10_000), (4, 2, None)),
        ((4, 8, 10_000), (4, 8, None)),
    ],
)
def test_shapes_are_lowered_to_what_the_classes_allow(tiny_index, asked, expected):
    class_ids = tuple(tiny_index.category_ids.tolist())
    (shape,) = drawable_shapes(tiny_index, class_ids, Protocol(), (asked,))
    n_images = []
    for row in range(8):
        of_class = (tiny_index.annotation_category == row) & ~tiny_index.annotation_crowd
        n_images.append(len(set(tiny_index.annotation_image[of_class].tolist())))
    n_ways = expected[1]
    largest = sorted(n_images)[8 - n_ways] - 1  # the N classes with most images have at least K + 1
    assert shape == (4, n_ways, largest if expected[2] is None else expected[2])
    EpisodeSampler(tiny_index, class_ids, Protocol(), [shape[1:]])


def test_no_class_with_two_images_is_left_to_the_sampler(tiny_index):
    lonely = tiny_index.subset(tiny_index.image_ids[:1])
    class_ids = tuple(lonely.category_ids.tolist())
    assert drawable_shapes(lonely, class_ids, Protocol(), ((2, 4, 3),)) == ((2, 1, 1),)
