"""The benchmark at toy sizes: every part runs and its records say what they should."""

import json
import math
import subprocess
import sys
import time
from itertools import count

import psutil
import pytest

from tests.bench import __main__ as bench
from tests.bench.loading import _running_seconds
from tests.bench.memory import peak_mb
from tests.bench.records import Bar, interleaved, record
from tests.bench.sizes import Sizes
from tests.bench.steps import MAE

TOY = Sizes(
    forward=((MAE, (1, 1, 1)), (MAE, (1, 2, 1))),
    train=((MAE, (1, 1, 1)),),
    memory=(),
    train_memory=(),
    seconds=0,
    least=1,
    annotations=(1_000, 6_000),
    episodes=50,
    batches=2,
    ready=4,
    photographs=60,
    masks=20,
    features=8,
    scored_images=100,
    scored=4,
)


@pytest.mark.slow
def test_every_part_makes_records_with_numbers_units_and_bars(tmp_path, capsys):
    records = bench.run(TOY, tmp_path)

    written = json.loads((tmp_path / "bench.json").read_text())
    printed, page = capsys.readouterr().out, (tmp_path / "bench.md").read_text()
    assert len(written) == len(records) == len({entry["work"] for entry in written})
    for entry in written:
        assert {"work", "ours", "reference", "ratio", "unit", "spread"} <= entry.keys()
        assert entry["work"] in printed and entry["work"] in page
        assert math.isfinite(entry["ours"])
        # Times of toy sizes may fall with N by chance, which makes their exponent negative.
        assert entry["ours"] >= 0 or entry["unit"] == "exponent"
        low, high = entry["spread"]
        assert low <= entry["ours"] <= high
        assert (entry["bar"] == "") == (entry["met"] is None)
    for part in ("operations", "matmul rate", "sampling", "ready", "decode", "write", "read"):
        assert part in page
    by_wall, by_cpu = (e for e in written if "batches of paper-sam" in e["work"])
    assert by_wall["bar"] == "ours >= 25" and "got" in by_cpu["note"]
    errors = [e["ours"] for e in written if "largest difference" in e["work"]]
    assert len(errors) == 2 and max(errors) < 1e-5


@pytest.mark.parametrize(("unit", "ratio"), [("s", 5), ("MB", 5), ("episodes/s", 0.2)])
def test_the_ratio_says_how_many_times_ours_is_better(unit, ratio):
    found = record("work", unit, [1, 2, 9], [10], Bar("ratio", ">=", 5))
    assert (found.ours, found.ratio, found.spread) == (2, ratio, (1, 9))
    assert found.met == (ratio >= 5)


def test_arms_take_turns_and_the_first_round_only_warms_up(monkeypatch):
    monkeypatch.setattr("gc.collect", lambda: 0)
    order, now = [], count()
    arms = {name: lambda name=name: order.append(name) for name in "AB"}
    taken = interleaved(arms, lambda: next(now), seconds=0.05, least=2)
    assert "".join(order) == "AB" * (len(order) // 2)
    assert len(taken["A"]) == len(taken["B"]) == len(order) // 2 - 1
    assert set(taken["A"]) == {1}


def test_the_time_of_the_workers_leaves_out_processes_that_were_there_before():
    of_other_tests = {child.pid for child in psutil.Process().children(recursive=True)}
    with subprocess.Popen([sys.executable, "-c", "while True: pass"]) as busy:
        others = {*of_other_tests, busy.pid}
        try:
            while _running_seconds(of_other_tests) < 0.2:
                time.sleep(0.05)
            assert _running_seconds(others) < 0.2 <= _running_seconds(of_other_tests)
        finally:
            busy.kill()


@pytest.mark.slow
def test_the_peak_of_a_step_holds_at_least_the_inputs():
    above, whole = peak_mb(MAE, "ours", (1, 2, 1), train=False, threads=1)
    assert 3 * 768 * 30 * 30 * 4 / 1e6 < above < whole
