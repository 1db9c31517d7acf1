"""Two processes that train together: they take the steps of one, and may die at any moment."""

import json
import os
import shutil
import signal
import socket
import time
from multiprocessing.process import BaseProcess
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from training_run import CONFIG, history_of, state, train_beside

from la.files import PREFIX
from la.learn.training import REQUEUE
from la.rng import stream
from tests.forks import FORK

pytestmark = pytest.mark.slow  # other processes

DEATHS = int(os.environ.get("LA_KILLS", 3))
ROUNDS = 5  # at most, for each death
PATIENCE = 120  # seconds; it takes one, but other programs may have the cores


def start_two(folder: Path, pause: float = 0.0) -> list[BaseProcess]:
    """Ranks 0 and 1 of a run in `folder`."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    ranks = []
    for rank in range(2):
        arguments = (rank, 2, port, folder, CONFIG, pause)
        ranks.append(FORK.Process(target=train_beside, args=arguments))
        ranks[-1].start()
    return ranks


def finish(folder: Path) -> float:
    """Train to the end, undisturbed; the seconds that it took."""
    started = time.monotonic()
    ranks = start_two(folder)
    for rank in ranks:
        rank.join(300)
    assert [rank.exitcode for rank in ranks] == [0, 0]
    return time.monotonic() - started


def wait_for_one(ranks: list[BaseProcess], seconds: float) -> None:
    """Until one of the ranks has ended."""
    end = time.monotonic() + seconds
    while all(rank.is_alive() for rank in ranks) and time.monotonic() < end:
        time.sleep(0.01)


@pytest.fixture(scope="module")
def seconds() -> dict[str, float]:
    """What the run of `two` takes."""
    return {}


@pytest.fixture(scope="module")
def two(tmp_path_factory, seconds) -> Path:
    """The folder of a run of two processes that nothing stopped."""
    folder = tmp_path_factory.mktemp("ranks") / "two"
    seconds["two"] = finish(folder)
    return folder


def test_two_processes_take_the_steps_of_one(two, undisturbed):
    one, both = history_of(undisturbed), history_of(two)
    assert len(both) == 24
    for a, b in zip(one, both, strict=True):
        assert b["loss"] == pytest.approx(a["loss"], abs=1e-5)
        assert b["norm"] == pytest.approx(a["norm"], abs=1e-4)
    given = [json.loads((two.parent / f"numbers-{rank}.json").read_text()) for rank in range(2)]
    assert not set(given[0]) & set(given[1])
    assert sorted(given[0] + given[1]) == list(range(48))
    ours, expected = (load_file(max(f.glob("state-*"))) for f in (two, undisturbed))
    for key in expected:
        assert torch.allclose(ours[key], expected[key], atol=1e-4), key


def test_ranks_that_die_one_by_one_lose_nothing_and_leave_nobody_waiting(tmp_path, two, seconds):
    """As under torchrun, which sends SIGTERM to the others when one has died."""
    folder, rng = tmp_path / "two", stream(DEATHS, "ranks that die")
    pause = 0.05
    whole = seconds["two"] + 24 * pause
    statuses: list[list[int | None]] = []  # of the ranks, for each time that one of them died
    for _ in range(ROUNDS * DEATHS):
        ranks = start_two(folder, pause)
        time.sleep(rng.uniform(0.1, 0.9) * whole)
        victim = ranks[int(rng.integers(2))]
        if victim.pid is not None and victim.is_alive():
            os.kill(victim.pid, (signal.SIGKILL, signal.SIGTERM)[len(statuses) % 2])
        wait_for_one(ranks, 120)
        for rank in ranks:
            rank.join(2)
            if rank.is_alive():
                rank.terminate()
            rank.join(PATIENCE)
            assert not rank.is_alive(), "a rank waits for one that has died"
        ended = [rank.exitcode for rank in ranks]
        if ended == [0, 0]:  # the run was over before the death, so that another one begins
            assert state(folder) == state(two)
            shutil.rmtree(folder)
            continue
        statuses.append(ended)
        if len(statuses) == DEATHS:
            break
    print(statuses)
    assert len(statuses) == DEATHS, "the runs were over before their deaths"
    assert {code for status in statuses for code in status} & {-signal.SIGKILL, REQUEUE}
    finish(folder)
    assert state(folder) == state(two)
    assert history_of(folder) == history_of(two)
    assert not list(folder.glob(PREFIX + "*"))


def wait_until_running(ranks: list[BaseProcess], folder: Path) -> None:
    """Until both ranks have asked for their batches, or one of them has ended."""
    asked = [folder.parent / f"numbers-{rank}.json" for rank in range(2)]
    end = time.monotonic() + PATIENCE
    while not all(path.exists() for path in asked) and all(rank.is_alive() for rank in ranks):
        assert time.monotonic() < end, "the ranks do not start"
        time.sleep(0.01)


def test_sigterm_to_one_running_rank_stops_both_and_loses_nothing(tmp_path, two):
    """Nobody sends a signal to the other rank, as a scheduler may not.

    A run of 24 steps can be stopped twice, as the ranks agree on it every 8 steps.
    """
    rng, statuses = stream(DEATHS, "one rank is stopped"), []
    folders = [tmp_path / str(number // 2) / "two" for number in range(DEATHS)]
    for number, folder in enumerate(folders):
        folder.parent.mkdir(exist_ok=True)
        for path in folder.parent.glob("numbers-*.json"):
            path.unlink()
        ranks = start_two(folder, pause=0.05)
        wait_until_running(ranks, folder)
        time.sleep(rng.uniform(0, 0.3))
        victim = ranks[int(rng.integers(2))]
        if victim.pid is not None and victim.is_alive():
            os.kill(victim.pid, signal.SIGTERM)
        for rank in ranks:
            rank.join(PATIENCE)
            assert not rank.is_alive(), "a rank goes on, or waits for the other"
        statuses.append([rank.exitcode for rank in ranks])
        assert statuses[-1] in ([REQUEUE, REQUEUE], [0, 0]), number
    print(statuses)
    assert [REQUEUE, REQUEUE] in statuses, "every run was over before its signal"
    for folder in dict.fromkeys(folders):
        finish(folder)
        assert state(folder) == state(two)
        assert history_of(folder) == history_of(two)
        assert not list(folder.glob(PREFIX + "*"))
