"""Cells on a few embedded images: fitted once, stored once, judged again without a new look."""

import json
from dataclasses import replace

import numpy as np
import pytest

import la
from la.comparators.prototypes import Prototype, ThresholdPrototype
from la.comparators.raster import Raster
from la.data.embedded import synthetic
from la.experiment import scoring
from la.experiment.methods import METHODS
from la.experiment.results import Cell
from la.experiment.workbench import Workbench, images_of
from la.types import PromptKind

CELL = Cell("prototype", 0, 2, 1, 0, 12)


@pytest.fixture
def bench(tmp_path):
    """Of the smoke profile, whose lists of seen classes are short."""
    folder = synthetic.write(tmp_path / "few", n_train=4, n_val=120, progress=False)
    return Workbench(la.profile("smoke"), folder, home=tmp_path)


def test_a_cell_is_computed_once_and_then_read(bench, monkeypatch):
    made = scoring.run_cell(bench, CELL)
    monkeypatch.setattr(scoring, "count", None)
    read = scoring.run_cell(bench, CELL)
    assert np.array_equal(made.confusion, read.confusion) and made.confusion.sum() > 0
    assert made.episodes_sha256 == read.episodes_sha256


def test_another_data_set_or_method_is_another_file(bench, tmp_path):
    other = synthetic.write(tmp_path / "others", n_train=4, n_val=60, progress=False)
    elsewhere = replace(bench, source=other)
    paths = [scoring.cell_path(bench, CELL), scoring.cell_path(elsewhere, CELL)]
    paths.append(scoring.cell_path(bench, replace(CELL, method="affinity")))
    assert len({path.name for path in paths}) == 3


def test_a_scalar_is_fitted_once_on_seen_classes_whatever_the_setting(bench, monkeypatch):
    cell = replace(CELL, method="threshold_prototype")
    first = scoring.fitted(bench, cell)
    assert first.bias in METHODS["threshold_prototype"].fitted[1]
    (note,) = (bench.results / "fits").iterdir()
    assert json.loads(note.read_text())["value"] == first.bias
    monkeypatch.setattr(scoring, "count", None)
    boxes = replace(cell, n_ways=1, k_shots=5, seed=2, kinds=(PromptKind.BOX,))
    assert scoring.fitted(bench, boxes).bias == first.bias


def test_the_fitting_list_asks_for_no_class_of_the_test(bench, monkeypatch):
    asked = []
    draw = Workbench.episodes

    def noted(self, cell, *, seen=False):
        found = draw(self, cell, seen=seen)
        asked.append((seen, {c for e in found for c in e.class_ids}))
        return found

    monkeypatch.setattr(Workbench, "episodes", noted)
    scoring.run_cell(bench, replace(CELL, method="threshold_prototype"))
    unseen = set(bench.classes(0, seen=False))
    fitting, testing = (
        [ids for of_seen, ids in asked if of_seen == which] for which in (True, False)
    )
    assert fitting and all(ids and not ids & unseen for ids in fitting)
    assert testing and all(ids <= unseen for ids in testing)


def test_predictions_judged_again_stay_the_same_and_their_truth_changes(bench):
    (made,) = la.compute(bench, [CELL])
    (clean,) = la.rejudged(bench, [made], "clean")
    assert np.array_equal(clean.confusion, made.confusion)
    (paper,) = la.rejudged(bench, [made], "paper")  # objects below 2,048 px become background
    assert paper.cell == replace(CELL, protocol="paper")
    assert np.array_equal(paper.confusion.sum(1), made.confusion.sum(1))  # what is painted
    true, kept = made.confusion.sum(2), paper.confusion.sum(2)
    assert (kept[:, 1:] <= true[:, 1:]).all() and kept[:, 1:].sum() < true[:, 1:].sum()


def test_a_readers_segmenter_meets_the_very_episodes_and_is_not_stored(bench):
    raster = Raster(96, 48)
    (made,) = la.compute(bench, [CELL])
    own, other = (
        la.score(bench, "mine", segmenter, [CELL])[0]
        for segmenter in (Prototype(raster), ThresholdPrototype(raster, 0.3))
    )
    assert own.cell.method == "mine" and own.episodes_sha256 == made.episodes_sha256
    assert np.array_equal(own.confusion, made.confusion)
    assert not np.array_equal(other.confusion, made.confusion)
    assert len(list((bench.results / "cells").iterdir())) == 1


def test_only_the_images_of_the_list_are_encoded(bench):
    result = scoring.run_cell(bench, replace(CELL, method="prototype", episodes=3))
    assert len(result.class_ids) == 3
    needed = images_of(bench.episodes(replace(CELL, episodes=3)))
    missing = bench.store(bench.data.test).missing(bench.data.test.image_ids)
    assert missing == sorted(set(bench.data.test.image_ids.tolist()) - needed) != []
