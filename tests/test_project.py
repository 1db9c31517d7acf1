"""What a newcomer uses first: the Makefile, the environment, the list of packages, README."""

import ast
import re
import shutil
import subprocess
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.conftest import NEEDED, group_of, pytest_sessionstart

ROOT = Path(__file__).resolve().parent.parent


def make(*words: str, folder: Path = ROOT) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["make", *words], cwd=folder, capture_output=True, text=True)


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
    assert "/my/python -m la run table2 --profile auto --data 'there' --episodes 7" in shown
    assert "venv" not in shown


@pytest.mark.parametrize(
    "variable, option",
    [
        ("RECOMPUTE=1", "--recompute"),
        ("METHODS=la,prototype", "--methods la,prototype"),
        ("FOLDS=0,1", "--folds 0,1"),
        ("SEEDS=0", "--seeds 0"),
    ],
)
def test_a_variable_of_make_becomes_an_option_of_the_command(variable, option):
    assert option not in make("-n", "reproduce-table2", "PY=python").stdout
    assert option in make("-n", "reproduce-table2", "PY=python", variable).stdout


def test_several_gpus_start_one_process_each():
    shown = make("-n", "reproduce-table2", "PY=python", "GPUS=2").stdout
    assert "python -m torch.distributed.run --nproc-per-node 2 -m la run table2" in shown


def test_the_fast_tests_start_no_whole_command():
    assert "-m 'not browser and not slow'" in make("-n", "test-fast", "PY=python").stdout
    starts = re.compile(r"^from tests\.(commands|verify) |^LAUNCHER", re.M)
    for path in (ROOT / "tests").rglob("test_*.py"):
        text = path.read_text()
        if starts.search(text) and path.name != Path(__file__).name:
            assert "pytest.mark.slow" in text, path


@pytest.mark.parametrize(
    ("file", "group"),
    [
        ("tests/widgets/test_lab.py", "browser"),
        ("tests/widgets/test_loop_page.py", "browser"),
        ("tests/widgets/test_loop.py", "tests/widgets/test_loop.py"),
        ("tests/data/test_folds.py", "tests/data/test_folds.py"),
    ],
)
def test_one_process_has_all_files_that_test_widgets_in_a_browser(file, group):
    assert group_of(f"{file}::test_anything[browser]") == group


def test_a_failed_notebook_fails_make_and_the_next_make_tries_again(tmp_path):
    shutil.copy(ROOT / "Makefile", tmp_path)
    shutil.copytree(ROOT / "notebooks", tmp_path / "notebooks")
    for _ in range(2):
        failed = make("reproduce-table2", "PY=false", folder=tmp_path)
        assert failed.returncode != 0 and "la run table2" in failed.stdout


def installed_by(*words: str, folder: Path) -> list[str]:
    """The `pip install` lines that `make setup` would run in a folder."""
    shown = make("-n", "setup", *words, "CONDA_PREFIX=", folder=folder).stdout
    joined = shown.replace("\\\n", " ")
    return [line for line in joined.splitlines() if "pip install" in line]


def test_a_locked_environment_installs_the_lock_file_and_stays_locked(tmp_path):
    for name in ("Makefile", "pyproject.toml", "requirements.lock"):
        shutil.copy(ROOT / name, tmp_path)
    (free,) = installed_by(folder=tmp_path)
    (locked,) = installed_by("LOCKED=1", folder=tmp_path)
    assert "-c requirements.lock" not in free and "-c requirements.lock" in locked

    (tmp_path / ".venv").mkdir()
    (tmp_path / ".venv" / ".installed-locked").touch()
    assert installed_by(folder=tmp_path) == []


FAKE_PYTHON = """#!/bin/sh
case "$*" in
  "-m venv .venv") mkdir -p .venv/bin && cp "$0" .venv/bin/python ;;
  "-m pip install "*) echo "$*" >> installed ;;
esac
"""


def test_setup_makes_an_environment_and_installs_once(tmp_path):
    for name in ("Makefile", "pyproject.toml"):
        shutil.copy(ROOT / name, tmp_path)
    python = tmp_path / "python"
    python.write_text(FAKE_PYTHON)
    python.chmod(0o755)
    for _ in range(2):
        done = make("setup", "CONDA_PREFIX=", f"PYTHON={python}", folder=tmp_path)
        assert done.returncode == 0, done.stderr
    (line,) = (tmp_path / "installed").read_text().splitlines()
    assert line.endswith("-e .[dev]")


def test_the_lock_file_pins_every_package_at_a_version_that_pyproject_allows():
    lines = (ROOT / "requirements.lock").read_text().splitlines()
    pinned = {}
    for line in lines:
        name, version = re.fullmatch(r"([A-Za-z0-9._-]+)==([\w.!]+)", line).groups()
        pinned[canonicalize_name(name)] = version
    assert not [name for name in pinned if re.match("nvidia|cuda|triton", name)]
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    for text in project["dependencies"] + project["optional-dependencies"]["dev"]:
        requirement = Requirement(text)
        assert pinned[canonicalize_name(requirement.name)] in requirement.specifier, text


def long_functions(source: str) -> list[str]:
    """Names of the functions that take more than 60 lines."""
    functions = [
        node
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    ]
    return [f.name for f in functions if f.end_lineno - f.lineno + 1 > 60]


@pytest.mark.parametrize("length, found", [(60, []), (61, ["long"])])
def test_a_long_function_is_found(length, found):
    assert long_functions("def long():\n" + "    pass\n" * (length - 1)) == found


def test_no_file_has_more_than_260_lines_and_no_function_more_than_60():
    code = [path for path in (ROOT / "la").rglob("*") if path.suffix in (".py", ".js")]
    assert len(code) > 100
    for path in code:
        source = path.read_text()
        assert source.count("\n") <= 260, path
        if path.suffix == ".py":
            assert long_functions(source) == [], path


@pytest.mark.parametrize(
    "name",
    [
        "README.md",
        "pyproject.toml",
        "Makefile",
        "environment.yml",
        "requirements.lock",
    ],
)
def test_no_file_names_a_machine(name):
    text = (ROOT / name).read_text()
    assert not re.search(r"/home/|/root/|/work/|index-url|--find-links", text)


@pytest.mark.parametrize("free, stops", [(NEEDED - 1, True), (NEEDED, False)])
def test_a_full_disk_stops_the_tests_before_the_first(free, stops, monkeypatch):
    usage = shutil.disk_usage("/")._replace(free=free)
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: usage)
    if not stops:
        pytest_sessionstart()
        return
    with pytest.raises(pytest.exit.Exception, match="set TMPDIR to a folder on another disk"):
        pytest_sessionstart()
