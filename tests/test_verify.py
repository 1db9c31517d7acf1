"""`make verify`: equal numbers pass, others are named, and the tolerance is as stated."""

from dataclasses import replace

import pytest
from hand_made import with_iou

from la import code
from la.experiment.job import Job
from la.experiment.run import compute
from la.experiment.setup.workbench import Workbench
from la.report.pages.notebooks import plan_of
from tests import verify
from tests.verify import TOLERANCE, compare

pytestmark = pytest.mark.slow  # starts whole commands

ELSEWHERE = {"device": "another processor"}


@pytest.mark.parametrize("points, differs", [(0, False), (1, True)])
def test_the_same_processor_must_give_equal_numbers(points, differs):
    before = [with_iou(40, fold=0), with_iou(30, fold=1)]
    again = [with_iou(40, fold=0), with_iou(30 + points, fold=1)]
    differing = compare(before, again)
    expected = [("value", "1"), ("value", "mean"), ("raw", "1"), ("raw", "mean")]
    assert list(zip(differing["number"], differing["fold"], strict=True)) == expected * differs


@pytest.mark.parametrize("method", ["floor", "la"])
@pytest.mark.parametrize("seeds", [(40, 40), (38, 42)])
def test_another_processor_may_move_a_mean_by_the_tolerance_or_a_trained_interval(method, seeds):
    """Of 38 and 42 the 95 % interval is 40 +- 12.706 * 2."""
    before = [with_iou(iou, method=method, seed=seed) for seed, iou in enumerate(seeds)]
    allowed = 25.4 if method == "la" and seeds == (38, 42) else TOLERANCE
    for points in (0, 1, 10, 26):
        again = [
            replace(with_iou(iou + points, method=method, seed=seed), provenance=ELSEWHERE)
            for seed, iou in enumerate(seeds)
        ]
        folds = compare(before, again)["fold"].tolist()
        assert folds == (["mean", "mean"] if points > allowed else [])


@pytest.fixture
def small(few, tmp_path) -> Workbench:
    """A workbench with a small data set, on which `figure3` is one result."""
    bench = Workbench(Workbench.open("smoke").config, few(60, 120), tmp_path / "home")
    (tmp_path / "home" / "cache").mkdir(parents=True)
    return bench


def test_a_table_that_is_made_again_passes(small, capsys):
    assert verify.verify(small, "figure3") == 2
    assert "make reproduce-figure3" in capsys.readouterr().out
    compute(small, "figure3", plan_of("figure3", "smoke", {})[1])
    assert verify.verify(small, "figure3") == 0
    out = capsys.readouterr().out
    assert "all numbers must be equal" in out and out.endswith("PASS\n")
    assert not (small.home / "build" / "verify" / "figure3").exists()


def test_a_number_that_differs_is_named_and_fails(small, capsys, monkeypatch):
    measurements = plan_of("figure3", "smoke", {})[1]
    stored, again = with_iou(99, method="la"), with_iou(3, method="la")
    monkeypatch.setattr(verify, "stored", lambda bench, measurements: [stored] * len(measurements))
    monkeypatch.setattr(verify, "compute", lambda bench, table, measurements: [again])
    assert len(measurements) == 1
    assert verify.verify(small, "figure3") == 1
    out = capsys.readouterr().out
    assert "99.0" in out and "3.0" in out and "FAIL: 4 numbers differ" in out


def test_equal_counts_of_other_code_are_accepted_and_then_current(small, monkeypatch, tmp_path):
    monkeypatch.setattr(code, "EQUAL", tmp_path / "equal.txt")
    code.EQUAL.write_text("")
    code._equal_to.cache_clear()
    measurements = plan_of("figure3", "smoke", {})[1]
    (made,) = compute(small, "figure3", measurements)
    stored = small.results / "measurements" / "figure3.jsonl"
    stored.write_text(stored.read_text().replace(made.code, "older"))
    job = Job(small, made.measurement)
    (job.run.folder / "code.txt").write_text("trained-before\n")
    (older,) = compute(small, "figure3", measurements)
    assert older.code == "older" and not job.is_current(older)
    assert verify.verify(small, "figure3", accepting=True) == 0
    lines = [line.split()[:2] for line in code.EQUAL.read_text().splitlines()]
    assert lines == [["older", made.code], ["trained-before", code.training_code()]]
    assert Job(small, made.measurement).is_current(older)
    code._equal_to.cache_clear()
