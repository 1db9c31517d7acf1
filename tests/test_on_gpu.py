"""The checks of `python -m tests.on_gpu` run on a CPU, too, at reduced sizes."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from tests.on_gpu import __main__ as on_gpu
from tests.on_gpu.place import CPU, Place

ROOT = Path(__file__).resolve().parent.parent

pytestmark = pytest.mark.slow  # another process


def checked(out: Path, *words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "tests.on_gpu", "--out", str(out), *words]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True)


def figures(out: Path) -> list[dict]:
    return [json.loads(line) for line in out.read_text().splitlines()]


def test_without_a_gpu_one_sentence_says_so(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(sys, "argv", ["on_gpu", "--out", str(tmp_path / "out.jsonl")])
    assert on_gpu.main() == 2
    said = capsys.readouterr().out
    assert said == "torch finds no CUDA device on this machine, so nothing is checked.\n"
    assert not (tmp_path / "out.jsonl").exists()


def test_named_checks_run_on_a_cpu_and_write_their_figures(tmp_path):
    out = tmp_path / "out.jsonl"
    ended = checked(out, "--pretend", "--only", "golden,waits,evaluation,encoding,whole")
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert "5 of 5 checks passed" in ended.stdout
    lines = figures(out)
    assert lines[0]["check"] == "machine" and lines[0]["torch"] == torch.__version__
    ends = {line["check"]: line["error"] for line in lines if "error" in line}
    assert ends == dict.fromkeys(("golden", "waits", "evaluation", "encoding", "whole"), "")
    assert all(line["logits"]["max_abs"] < 5e-4 for line in lines if "logits" in line)
    assert [line["n_ways"] for line in lines if "n_ways" in line] == [1, 5, 20]


def test_a_check_that_fails_or_takes_too_long_does_not_end_the_run(tmp_path, monkeypatch, capsys):
    def fails(place):
        yield {"figure": 1}
        raise AssertionError("wrong by 3")

    def lasts(place):
        yield {"figure": 2}
        while True:
            pass

    monkeypatch.setitem(on_gpu.CHECKS, "fails", (fails, 10))
    monkeypatch.setitem(on_gpu.CHECKS, "lasts", (lasts, 1))
    monkeypatch.setattr(on_gpu, "SLOWER", 1)
    place = Place(CPU, tmp_path, reduced=True)
    with (tmp_path / "out.jsonl").open("w") as out:
        assert not on_gpu.run_check("fails", place, out)
        assert not on_gpu.run_check("lasts", place, out)
    errors = [line["error"] for line in figures(tmp_path / "out.jsonl") if "error" in line]
    assert errors == ["AssertionError: wrong by 3", "TooLong: not done after 1 s"]
    assert "wrong by 3" in capsys.readouterr().out
