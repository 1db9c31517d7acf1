"""Encoding without a cache: the same features, models that train on them, and no file."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from la.experiment.job import Job
from la.experiment.methods import METHODS
from la.experiment.runs import Run
from la.experiment.setup.measurements import Measurement
from la.experiment.setup.workbench import Workbench
from la.learn.training import Stopped
from la.learn.weights import checkpoints
from la.report.figures.pictures import pictures

LA = Measurement("la", 0, 2, 1, seed=0, episodes=4)


@pytest.fixture
def bench(short, few, tmp_path) -> Workbench:
    return Workbench(short, few(60, 120), home=tmp_path)


@pytest.fixture
def uncached(bench, monkeypatch) -> Workbench:
    """In the same home; from here on nothing is cached."""
    monkeypatch.setenv("LA_FEATURES", "none")
    return bench


def test_images_are_encoded_as_for_the_cache_in_the_order_asked_for(bench, monkeypatch):
    index = bench.data.test
    a, b, *_ = index.image_ids.tolist()
    cached = bench.features(index, [a, b]).read([b, a, b])
    monkeypatch.setenv("LA_FEATURES", "none")
    encoded = bench.features(index).read([b, a, b])
    assert encoded.dtype == torch.float16
    torch.testing.assert_close(encoded, cached, atol=2e-2, rtol=0)  # pixels are rounded, too
    assert not torch.equal(encoded[0], encoded[1])


@pytest.mark.slow
def test_training_evaluation_and_pictures_need_no_cache(uncached):
    (picture,) = pictures(uncached, LA, [1])  # trains the model first, outside of inference mode
    assert picture.prediction is not None
    result = Job(uncached, LA).measure()
    assert result.confusion.sum() > 0
    assert not list(uncached.home.rglob("features"))


@pytest.mark.slow
def test_a_model_hardly_notices_where_its_features_come_from(bench, monkeypatch):
    cached = Run.of(bench, METHODS["la"], 0, 0)
    expected = checkpoints.load(cached.train()).state_dict()
    monkeypatch.setenv("LA_FEATURES", "none")
    uncached = Run.of(bench, METHODS["la"], 0, 0)
    assert uncached.folder != cached.folder
    weights = checkpoints.load(uncached.train()).state_dict()
    assert weights.keys() == expected.keys()  # without the backbone
    change = max(float((weights[name] - expected[name]).abs().max()) for name in weights)
    assert change < 5e-3


@pytest.mark.slow
def test_a_stopped_training_without_a_cache_ends_at_the_same_bits(uncached, tmp_path):
    whole = Run.of(replace(uncached, home=tmp_path / "whole"), METHODS["la"], 0, 0)
    stopped = Run.of(uncached, METHODS["la"], 0, 0)
    with pytest.raises(Stopped):
        stopped.train(stop_after=1)
    both = [checkpoints.load(run.train()).state_dict() for run in (stopped, whole)]
    assert all(torch.equal(value, both[1][name]) for name, value in both[0].items())


def test_training_encodes_the_images_of_seen_classes_alone(bench):
    run = Run.of(bench, METHODS["la"], 0, 0)
    batches = run._batches()
    index = bench.data.train
    unseen = set(bench.classes(0, seen=False))
    shows_seen = set()
    for annotation in np.flatnonzero(~index.annotation_crowd):
        class_id = int(index.category_ids[index.annotation_category[annotation]])
        if class_id not in unseen:
            shows_seen.add(int(index.image_ids[index.annotation_image[annotation]]))
    missing = bench.store(index).missing(index.image_ids)
    assert set(missing) == set(index.image_ids.tolist()) - shows_seen != set()
    drawn = set().union(*(bench.images_of(batches.episodes(n)) for n in range(40)))
    assert drawn <= shows_seen
