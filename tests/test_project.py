"""What a newcomer meets first: the Makefile, the environment, the list of packages, the README."""

import re
import shutil
import subprocess
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent


def make(*words, **environment):
    import os

    return subprocess.run(
        ["make", *words], cwd=ROOT, capture_output=True, text=True, env=os.environ | environment
    )


def test_packages_are_listed_once_and_in_pyproject_alone():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    everything = project["dependencies"] + sum(project["optional-dependencies"].values(), [])
    names = [re.match(r"[\w-]+", line)[0] for line in everything]
    assert len(names) == len(set(names))
    conda = (ROOT / "environment.yml").read_text()
    assert "-e .[dev]" in conda
    assert not [name for name in names if re.search(rf"^\s*- {name}\b", conda, re.M)]


def test_make_help_lists_every_target_that_the_readme_names():
    listed = make("help").stdout
    named = set(re.findall(r"\bmake ([a-z][a-z0-9-]+)", (ROOT / "README.md").read_text()))
    missing = [n for n in named if n not in listed and n.removeprefix("reproduce-") not in listed]
    assert named and not missing


def test_make_uses_a_given_interpreter_and_makes_no_environment():
    shown = make("-n", "-B", "reproduce-table2", "PY=/my/python", "DATA=there", "EPISODES=7").stdout
    assert '/my/python -m la run table2 --profile auto --data "there" --episodes 7' in shown
    assert "venv" not in shown


def test_a_failed_notebook_leaves_no_stamp(tmp_path):
    shutil.copytree(ROOT, tmp_path / "w", ignore=shutil.ignore_patterns(
        ".git", ".venv", "runs", "cache", "results", ".stamps"))  # fmt: skip
    done = subprocess.run(
        ["make", "reproduce-table2", "PY=false"], cwd=tmp_path / "w", capture_output=True, text=True
    )
    assert done.returncode != 0
    assert not list((tmp_path / "w" / ".stamps").rglob("table2"))


def test_results_that_came_with_the_clone_are_made_anew_and_own_ones_stay(tmp_path):
    cells = tmp_path / "results" / "quick" / "cells"
    cells.mkdir(parents=True)
    shutil.copy(ROOT / "Makefile", tmp_path)
    (cells / "theirs.json").write_text("{}")
    for words in (["init", "-q"], ["add", "results"]):
        subprocess.run(["git", *words], cwd=tmp_path, check=True)
    (cells / "own.json").write_text("{}")
    for _ in range(2):
        subprocess.run(["make", ".stamps/own"], cwd=tmp_path, check=True, capture_output=True)
        assert [path.name for path in cells.iterdir()] == ["own.json"]
        subprocess.run(["git", "add", "results"], cwd=tmp_path, check=True)


@pytest.mark.parametrize("name", ["README.md", "pyproject.toml", "Makefile", "environment.yml"])
def test_no_file_names_a_machine(name):
    text = (ROOT / name).read_text()
    assert not re.search(r"/home/|/root/|/work/|index-url|--find-links", text)
