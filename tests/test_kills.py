"""SIGKILL at random moments of every stage: the results are those of an undisturbed run.

`LA_KILLS=20 pytest tests/test_kills.py` kills that often; the default is a few kills.
"""

import json
import os
import signal
import time
from pathlib import Path

import psutil
import pytest

from la.data.embedded import synthetic
from la.rng import stream
from tests.commands import Command

pytestmark = pytest.mark.slow  # starts whole commands

KILLS = int(os.environ.get("LA_KILLS", 3))
SMALL = """
from dataclasses import replace
from la import profiles
from la.report.scores import tables
smoke = profiles.PROFILES["smoke"]
training = replace(smoke.train, steps=12, checkpoint_every=3)
profiles.PROFILES["smoke"] = replace(smoke, train=training)
tables.TABLES["table2"] = replace(tables.TABLES["table2"], methods=("la", "threshold_prototype"))
"""
STAGES = {  # and the share of the kills that it gets
    "features": (["features"], 0.2),
    "training": (["train", "--method", "la"], 0.4),
    "evaluation and rendering": (["run", "table2", "--folds", "0", "--seeds", "0"], 0.4),
}


def run(home: Path, words: list[str], kill_after: float | None = None) -> tuple[bool, float]:
    """Whether the command was killed, and its seconds; without a kill it must succeed."""
    started = time.perf_counter()
    data = ["--profile", "smoke", "--data", str(home.parent / "few")]
    command = Command(home, words + data, changes=SMALL)
    status = command.end(kill_after)
    assert status in (0, -signal.SIGKILL), command.said[-3000:]
    return status != 0, time.perf_counter() - started


def processes(home: Path) -> list[str]:
    """The processes that a run in `home` started and that still exist."""
    found = []
    for process in psutil.process_iter():
        try:
            if process.environ().get("LA_HOME") == str(home):
                found.append(" ".join(process.cmdline()))
        except psutil.Error:
            continue
    return found


def results(home: Path) -> dict:
    """Weights, counts and tables, without the times of the run."""
    made: dict = {}
    for path in sorted(p for p in home.rglob("*") if p.is_file()):
        name = path.relative_to(home).as_posix()
        if path.parent.name == "measurements":
            lines = [json.loads(line) for line in path.read_text().splitlines()]
            kept = [{k: v for k, v in line.items() if k != "seconds"} for line in lines]
            made[name] = kept
        elif path.suffix in (".csv", ".f16", ".safetensors", ".jsonl") or "fits" in path.parts:
            made[name] = path.read_bytes()
        elif path.suffix == ".ipynb":
            made[name] = len(json.loads(path.read_text())["cells"])
    return made


def test_kills_at_random_moments_of_every_stage_change_nothing(tmp_path):
    synthetic.write(tmp_path / "few", n_train=60, n_val=120, progress=False)
    once, often = tmp_path / "once", tmp_path / "often"
    once.mkdir()
    often.mkdir()
    assert Command(once, ["models"]).end() == 0  # so that the packages are loaded
    rng, kills = stream(KILLS, "kills"), {}
    for name, (words, share) in STAGES.items():
        _, seconds = run(once, words)
        wanted, kills[name] = round(share * KILLS), 0
        for _ in range(wanted):
            killed, _ = run(often, words, kill_after=rng.uniform(0.1, 0.6) * seconds)
            kills[name] += killed
        run(often, words)
    print(kills)
    assert any(kills.values()), "every stage was over before its kills"
    disturbed = results(often)
    assert disturbed.keys() == results(once).keys()
    assert disturbed == results(once)
    assert {Path(name).suffix for name in disturbed} >= {".safetensors", ".csv", ".json", ".jsonl"}
    patterns = (".writing-*", "*.part", "*.partial.ipynb", "*.failed.ipynb", "*.lock-*")
    assert not [p for pattern in patterns for p in often.rglob(pattern)]
    deadline = time.monotonic() + 20
    while (left := processes(often)) and time.monotonic() < deadline:
        time.sleep(0.2)
    assert not left, f"killed runs left processes behind: {left}"
