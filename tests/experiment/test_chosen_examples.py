"""Examples chosen by clustering: the medoids are the best ones, and both ways get equal queries."""

from itertools import product

import numpy as np
import pytest

import la
from la.comparators.prototypes import ThresholdPrototype
from la.comparators.raster import Raster
from la.experiment.chosen_examples import compare, describe, episode, medoids, pools
from la.experiment.setup.workbench import Workbench


@pytest.fixture(scope="module")
def bench(few, tmp_path_factory) -> Workbench:
    return Workbench(la.profile("smoke"), few(4, 160), home=tmp_path_factory.mktemp("home"))


@pytest.mark.parametrize("seed", range(6))
def test_one_medoid_is_the_best_and_no_exchange_improves_three(seed):
    vectors = np.random.default_rng(seed).normal(size=(9, 4))
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    distance = 1 - vectors @ vectors.T
    assert medoids(vectors, 1) == [distance.sum(0).argmin()]
    chosen = medoids(vectors, 3)
    cost = distance[:, chosen].min(1).sum()
    for place, other in product(range(3), range(9)):
        exchanged = chosen[:place] + [other] + chosen[place + 1 :]
        assert distance[:, exchanged].min(1).sum() >= cost - 1e-9


def test_two_clusters_have_a_medoid_each():
    angles = np.array([0.0, 0.1, 0.2, 2.0, 2.1, 2.2])
    vectors = np.stack([np.cos(angles), np.sin(angles)], axis=1)
    assert medoids(vectors, 2) == [1, 4]


def test_more_medoids_than_vectors_are_an_error():
    with pytest.raises(ValueError, match="3 medoids of 2 vectors"):
        medoids(np.eye(2), 3)


def test_candidates_and_queries_show_the_class_and_share_no_image(bench):
    found = pools(bench, 0, n_candidates=3, n_queries=4)
    assert found
    for pool in found:
        assert len(pool.candidates) == 3 and 1 <= len(pool.queries) <= 4
        assert not set(pool.candidates) & set(pool.queries)
        loader = bench.loader(bench.data.test, 0, images=(*pool.candidates, *pool.queries))
        for image_id in (*pool.candidates, *pool.queries):
            assert loader.instances(image_id, pool.class_id)


def test_a_description_is_the_masked_mean_of_the_features(bench):
    pool = pools(bench, 0, n_candidates=3, n_queries=1)[0]
    vectors = describe(bench, pool, 0)
    store = bench.features(bench.data.test, pool.candidates)
    loader = bench.loader(bench.data.test, 0, images=pool.candidates)
    for vector, image_id in zip(vectors, pool.candidates, strict=True):
        of_pool = episode(pool, image_id, [image_id])
        (mask,) = loader([of_pool]).prompts.masks.numpy()
        coverage = mask.reshape(12, 4, 12, 4).mean((1, 3))  # of each cell
        features = store.read([image_id])[0].float().numpy()
        mean = (features * coverage).sum((1, 2))
        np.testing.assert_allclose(vector, mean / np.linalg.norm(mean), atol=1e-4)


def test_with_as_many_supports_as_candidates_both_ways_are_equal(bench):
    segmenter = ThresholdPrototype(Raster(96, 48), threshold=0.5)
    frame = compare(bench, segmenter, 0, k_shots=3, n_candidates=3, n_queries=4, n_draws=2)
    assert len(frame) == len(pools(bench, 0, n_candidates=3, n_queries=4))
    np.testing.assert_allclose(frame["chosen"], frame["random"], atol=1e-6)
    assert frame["chosen"].between(0, 100).all() and frame["chosen"].max() > 0


def test_too_few_images_are_named(bench):
    segmenter = ThresholdPrototype(Raster(96, 48), threshold=0.5)
    with pytest.raises(ValueError, match="no class of fold 0 has more than 500 images"):
        compare(bench, segmenter, 0, k_shots=1, n_candidates=500)
