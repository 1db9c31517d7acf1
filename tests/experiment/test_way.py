"""How many modules of the experiment wing a measurement visits, from the call to the page.

A newcomer who asks where a number comes from reads these modules, in this order.
"""

import sys
from dataclasses import replace
from types import FrameType

import pytest

from la.experiment.run import compute
from la.experiment.setup.measurements import Measurement
from la.experiment.setup.workbench import Workbench

WING = "la.experiment."
Call = tuple[str, str]  # of a function: its module, its name


class Way:
    """The modules of the wing in the order in which they are entered, and the calls between them.

    A call from another wing counts for the function of this wing that called the other wing.
    """

    def __init__(self) -> None:
        self.modules: list[str] = []
        self.calls: dict[tuple[Call, Call], None] = {}

    def __call__(self, frame: FrameType, event: str, argument: object) -> None:
        if event != "call" or not _is_in_wing(frame):
            return
        called = _function(frame)
        if called[0] not in self.modules:
            self.modules.append(called[0])
        caller = frame.f_back
        while caller is not None and not _is_in_wing(caller):
            caller = caller.f_back
        if caller is not None and _function(caller)[0] != called[0]:
            self.calls[_function(caller), called] = None

    def climbs(self) -> list[tuple[Call, Call]]:
        """The calls into a module that was entered before that of the caller."""
        place = self.modules.index
        return [call for call in self.calls if place(call[1][0]) < place(call[0][0])]


def _is_in_wing(frame: FrameType) -> bool:
    return frame.f_globals.get("__name__", "").startswith(WING)


def _function(frame: FrameType) -> Call:
    module = frame.f_globals["__name__"].removeprefix(WING)
    return module, f"{frame.f_code.co_name} at line {frame.f_code.co_firstlineno}"


def measured(bench: Workbench, measurement: Measurement) -> Way:
    """The way of a measurement that is not stored yet, up to the score that a page shows."""
    way = Way()
    sys.setprofile(way)
    try:
        (result,) = compute(bench, "table2", [measurement])
        assert result.scores.miou_star >= 0
    finally:
        sys.setprofile(None)
    return way


@pytest.fixture
def bench(short, few, home) -> Workbench:
    """Of fewer images in place of the embedded ones, so not of a reader's own."""
    bench = Workbench(short, home=home)
    vars(bench)["data"] = Workbench(short, few(120, 120), home=home).data
    return bench


@pytest.mark.slow
def test_a_measurement_visits_six_modules_and_climbs_back_at_most_five_times(bench):
    way = measured(bench, Measurement("threshold_prototype", 0, 1, 1, 0, 4))
    assert way.modules == [
        "run",
        "job",
        "methods",
        "setup.workbench",
        "setup.measurements",
        "scoring",
    ]
    assert len(way.climbs()) <= 5, way.climbs()


@pytest.mark.slow
def test_a_trained_model_adds_the_module_of_its_training(bench):
    trained = Measurement("la", 0, 1, 1, 0, 4)
    compute(bench, "table2", [trained])  # whose model and bias the next one shares
    way = measured(bench, replace(trained, episodes=5))
    assert sorted(way.modules) == sorted(
        ["run", "job", "methods", "runs", "setup.workbench", "setup.measurements", "scoring"]
    )
    assert len(way.climbs()) <= 5, way.climbs()
