"""Settings that somebody's own data do not allow are left out before the work."""

import logging
from dataclasses import replace

import pytest

import la
from la.errors import UserError
from la.experiment.setup.drawable import drawable
from la.experiment.setup.measurements import Measurement
from la.experiment.setup.workbench import Workbench
from tests.conftest import write_coco


@pytest.fixture
def bench(tmp_path):
    """Eight classes, so that a fold has two."""
    write_coco(tmp_path / "set", n_images=40, class_ids=[2, 3, 5, 7, 11, 13, 17, 19])
    return Workbench(la.profile("smoke"), tmp_path / "set", home=tmp_path)


def planned(*ways):
    return [Measurement("la", fold, n, 1, 0, 4) for n in ways for fold in (0, 1)]


def test_n_is_lowered_to_the_classes_of_a_fold_with_the_reason(bench, caplog):
    with caplog.at_level(logging.WARNING):
        possible = drawable(bench, planned(1, 2, 5))
    assert possible == planned(1, 2)
    assert "too few classes have enough images for 5-way 1-shot; 2-way 1-shot" in caplog.text
    assert drawable(bench, planned(5)) == planned(2)


def test_n_is_lowered_for_all_folds_alike(tmp_path):
    write_coco(tmp_path / "set", n_images=60, class_ids=[2, 3, 5, 7, 11])
    bench = Workbench(la.profile("smoke"), tmp_path / "set", home=tmp_path)
    # Fold 0 has two classes, and fold 1 has one.
    assert drawable(bench, planned(2)) == planned(1)


def test_three_classes_are_scored_together_and_one_class_alone(tmp_path):
    for name, class_ids, n_ways in (("three", [2, 3, 5], 3), ("one", [2], 1)):
        write_coco(tmp_path / name, n_images=12, class_ids=class_ids)
        bench = Workbench(la.profile("smoke"), tmp_path / name, home=tmp_path)
        # Each fold would train and test on the same classes.
        assert drawable(bench, planned(5)) == planned(n_ways)[:1]


def test_exchanged_supports_need_twice_as_many_classes(bench):
    own = planned(2)
    exchanged = [replace(m, supports="exchanged") for m in own]
    possible = drawable(bench, [*own, *exchanged])
    assert {(m.supports, m.n_ways) for m in possible} == {("own", 1), ("exchanged", 1)}


def test_shots_that_no_class_has_images_for_are_an_error_and_left_out_beside_others(bench):
    many = [replace(m, k_shots=99) for m in planned(1)]
    assert drawable(bench, [*planned(1), *many]) == planned(1)
    with pytest.raises(UserError, match="0 of 2 classes can be drawn, as 99-shot needs 100 images"):
        drawable(bench, many)
    assert drawable(bench, []) == []


def test_a_setting_that_a_profile_s_own_data_do_not_allow_stops_the_run_at_once(bench):
    own = replace(bench, source=None)
    vars(own)["data"] = bench.data  # in place of the embedded data
    methods = [replace(m, method="floor") for m in planned(1, 5)]
    with pytest.raises(UserError, match="fold 0: 2 of 2 classes can be drawn"):
        la.compute(own, "t", methods)
    assert not own.results.exists()


def test_more_classes_than_a_model_has_tokens_for_are_refused_before_the_data_are_read(tmp_path):
    bench = Workbench(la.profile("quick"), tmp_path / "nowhere", home=tmp_path)
    assert bench.config.model.token_pool == 128
    with pytest.raises(
        UserError, match="128-way is not possible: the model distinguishes 127 classes"
    ):
        bench.sampler(0, (128, 1))
    with pytest.raises(UserError, match="no folder .*nowhere"):
        bench.sampler(0, (127, 1))
