"""Two processes fit and evaluate on one list: each its share, the sum is what one counts."""

import json
import os
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest

from la.data.embedded import synthetic
from tests.commands import Command

pytestmark = pytest.mark.slow  # starts whole commands

ROOT = Path(__file__).resolve().parent.parent
LAUNCHER = ["torch.distributed.run", "--standalone", "--nproc-per-node=2", "-m"]


def alone(home: Path, method: str, episodes: str) -> tuple[dict, list[str]]:
    """What one process counts and fits."""
    command = Command(home, words(home, method, episodes))
    assert command.end() == 0, command.said
    return counted(home, command.said)


def together(home: Path, method: str, episodes: str) -> tuple[dict, list[str]]:
    """What two processes of torchrun count and fit."""
    done = subprocess.run(
        [sys.executable, "-m", *LAUNCHER, "la", *words(home, method, episodes)],
        capture_output=True, text=True, timeout=240,
        env=os.environ | {"LA_HOME": str(home), "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return counted(home, done.stdout)


def words(home: Path, method: str, episodes: str) -> list[str]:
    data = str(home.parent / "few")
    return ["evaluate", "--profile", "smoke", "--method", method, "--ways", "2",
            "--episodes", episodes, "--data", data]  # fmt: skip


def counted(home: Path, printed: str) -> tuple[dict, list[str]]:
    """The printed counts without the seconds, and the stored fits."""
    (line,) = (line for line in printed.splitlines() if line.startswith("{"))
    shown = {k: v for k, v in json.loads(line).items() if k != "seconds"}
    fits = sorted(path.name for path in (home / "runs" / "fits").glob("*.json"))
    assert fits  # named by what they depend on, so equal names are equal settings
    return shown, [(home / "runs" / "fits" / name).read_text() for name in fits]


def test_two_processes_count_and_fit_what_one_does(tmp_path):
    synthetic.write(tmp_path / "few", n_train=20, n_val=120, progress=False)
    for method in ("threshold_prototype", "affinity"):  # a bias, and a hyper-parameter
        expected = alone(tmp_path / "one", method, "11")
        assert together(tmp_path / "two", method, "11") == expected


def test_fewer_episodes_than_processes_are_counted_once_and_nothing_hangs(tmp_path):
    synthetic.write(tmp_path / "few", n_train=20, n_val=120, progress=False)
    expected = alone(tmp_path / "one", "class_prior", "1")
    assert together(tmp_path / "two", "class_prior", "1") == expected


def test_two_processes_render_a_notebook_once_and_end(tmp_path):
    cells = [
        nbformat.v4.new_code_cell('profile: str = "smoke"', metadata={"tags": ["parameters"]}),
        nbformat.v4.new_code_cell("import la\nla.Workbench.open(profile).ranks.num_processes"),
    ]
    kernel = {"name": "python3", "language": "python", "display_name": "Python 3"}
    notebook = nbformat.v4.new_notebook(cells=cells, metadata={"kernelspec": kernel})
    nbformat.write(notebook, tmp_path / "small.ipynb")
    synthetic.write(tmp_path / "few", n_train=4, n_val=4, progress=False)
    program = tmp_path / "program.py"
    program.write_text(
        f"import pathlib, sys\n"
        f"from la.__main__ import main\n"
        f"from la.report.pages import freshness, notebooks\n"
        f"notebooks.NOTEBOOKS = freshness.NOTEBOOKS = pathlib.Path({str(tmp_path)!r})\n"
        f"sys.exit(main(['run', 'small', '--profile', 'smoke', '--data', 'few']))\n"
    )
    home = tmp_path / "home"
    environment = os.environ | {"LA_HOME": str(home), "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-m", *LAUNCHER[:-1], str(program)], capture_output=True, text=True,
        timeout=240, env=environment, cwd=tmp_path,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    (page,) = (home / "results").rglob("small.ipynb")
    assert done.stdout.splitlines() == [str(page)]
    cells = nbformat.read(page, as_version=4).cells
    outputs = [output for cell in cells for output in cell.get("outputs", [])]
    assert outputs[-1]["data"]["text/plain"] == "1", "the kernel is a process on its own"
