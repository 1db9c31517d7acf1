"""Settings that somebody's own data do not allow are left out before the work."""

import logging

import pytest

import la
from la.errors import UserError
from la.experiment.drawable import check_drawable, drawable
from la.experiment.measurements import Measurement
from la.experiment.workbench import Workbench
from tests.conftest import write_coco


@pytest.fixture
def bench(tmp_path):
    """Eight classes, so that a fold has two."""
    write_coco(tmp_path / "set", n_images=40, class_ids=[2, 3, 5, 7, 11, 13, 17, 19])
    return Workbench(la.profile("smoke"), tmp_path / "set", home=tmp_path)


def planned(*ways):
    return [Measurement("la", fold, n, 1, 0, 4) for n in ways for fold in (0, 1)]


def test_what_cannot_be_drawn_is_left_out_with_the_reason(bench, caplog):
    with caplog.at_level(logging.WARNING):
        possible = drawable(bench, planned(1, 2, 5))
    assert possible == planned(1, 2)
    assert caplog.text.count("left out: 5-way 1-shot of fold") == 2
    assert "n_ways=5 cannot be drawn; use n_ways <= 2" in caplog.text


def test_nothing_that_can_be_drawn_is_an_error(bench):
    with pytest.raises(UserError, match="n_ways=5 cannot be drawn"):
        drawable(bench, planned(5, 6))
    assert drawable(bench, []) == []


def test_the_check_stops_at_the_first_impossible_setting(bench):
    check_drawable(bench, planned(1, 2))
    with pytest.raises(UserError, match="fold 0: 2 classes are given"):
        check_drawable(bench, planned(1, 5))
