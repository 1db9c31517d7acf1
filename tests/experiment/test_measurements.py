"""Results as values: what is written comes back, and what is damaged is named."""

import json

import numpy as np
import pytest
from hand_made import result

from la.experiment.setup.measurements import Measurement, Result
from la.types import PromptKind


def test_a_result_comes_back_with_all_its_counts():
    written = result(ids=[(3,), (11,)], kinds=(PromptKind.BOX, PromptKind.POINT))
    read = Result.from_json(json.loads(json.dumps(written.to_json())))
    assert read.measurement == written.measurement and read.classes == written.classes
    assert read.fit == written.fit
    np.testing.assert_array_equal(read.confusion, written.confusion)
    np.testing.assert_array_equal(read.raw_confusion, written.raw_confusion)
    np.testing.assert_array_equal(read.class_ids, written.class_ids)
    assert read.scores.miou_star == written.scores.miou_star


def test_the_scores_are_written_for_readers_without_this_package():
    plain = result().to_json()
    assert plain["miou_star"] == pytest.approx(0.5)
    assert plain["raw_miou_star"] == pytest.approx(0.5)


def test_counts_that_are_cut_short_are_refused():
    plain = result(ids=[(3,), (7,)]).to_json()
    plain["confusion"] = result(ids=[(3,)]).to_json()["confusion"]
    with pytest.raises(ValueError, match="cut short"):
        Result.from_json(plain)


def test_keys_differ_by_the_measurement_and_by_what_else_it_depends_on():
    measurement = Measurement("la", 0, 1, 1, 0, 400)
    others = [
        Measurement("la", 0, 1, 1, 0, 400, kinds=(PromptKind.BOX,)),
        Measurement("la", 0, 1, 1, 0, 400, protocol="paper"),
        Measurement("la", 0, 1, 1, 0, 401),
        Measurement("la", 1, 1, 1, 0, 400),
    ]
    keys = [measurement.key("x"), measurement.key("y"), *(other.key("x") for other in others)]
    assert len(set(keys)) == len(keys)
    assert measurement.key("x") == keys[0]
