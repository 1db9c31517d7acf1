"""Disks that are full, folders that cannot be written, files of others: a sentence, nothing lost.

A limit on the size of a file stands for the full disk: the same write fails, with another number.
"""

import json
import os
import shutil
from pathlib import Path

import pytest

from la.data.embedded import synthetic
from tests.commands import Command

pytestmark = pytest.mark.slow  # starts whole commands

NAME = "few; $(touch pwned) `touch pwned` \"'&|"  # a folder that a shell must not read
EVALUATE = ["evaluate", "--method", "threshold_prototype", "--episodes", "4"]
NOTEBOOK = ["run", "figure3", "--episodes", "150"]


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> Path:
    return synthetic.write(
        tmp_path_factory.mktemp("in") / NAME, n_train=60, n_val=400, progress=False
    )


@pytest.fixture(scope="module")
def home(tmp_path_factory, data) -> Path:
    """A home with features, a trained model, and the result that the notebook shows."""
    home = tmp_path_factory.mktemp("home") / "la"
    home.mkdir()
    assert start(home, data, ["features"]).end() == 0
    assert (
        start(home, data, ["evaluate", "--method", "la", "--ways", "2", "--episodes", "150"]).end()
        == 0
    )
    return home


def start(home: Path, data: Path, words: list[str], **options) -> Command:
    return Command(home, [*words, "--profile", "smoke", "--data", str(data)], **options)


def leftovers(home: Path) -> list[Path]:
    patterns = (".writing-*", "*.part", "*.partial.ipynb", "*.failed.ipynb")
    return [path for pattern in patterns for path in home.rglob(pattern)]


def refused(command: Command, *words: str) -> None:
    """The command exits with 2, and its last line contains these words."""
    status, last = command.end(), command.said.splitlines()[-1]
    assert status == 2, command.said
    assert "Traceback" not in command.said
    assert all(word in last for word in words), last


@pytest.mark.parametrize(
    ("words", "largest_file", "named"),
    [
        (["features"], 20_000, ".f16"),
        (["train"], 1_000_000, "/runs/smoke/la_fold0_"),
        (EVALUATE, 600, "/measurements/evaluate.jsonl"),
        (NOTEBOOK, 200_000, "/figure3.ipynb"),  # more than the figure alone
    ],
    ids=lambda value: value[0] if isinstance(value, list) else "",
)
def test_a_full_disk_is_named_and_the_same_command_goes_on(
    words, largest_file, named, home, data, tmp_path
):
    if words[0] in ("features", "train"):
        full, home = home, tmp_path / "la"
        home.mkdir()
        made = shutil.ignore_patterns("features") if words[0] == "features" else None
        shutil.copytree(full / "cache", home / "cache", ignore=made)
    before = sorted(path for path in home.rglob("*") if path.is_file())
    refused(start(home, data, words, largest_file=largest_file), "File too large", named)
    assert not leftovers(home)
    assert all(path.exists() for path in before)
    assert start(home, data, words).end() == 0
    assert not leftovers(home)


@pytest.mark.parametrize(
    ("words", "folder"),
    [(["features"], "cache/features"), (["train"], "runs"), (EVALUATE, "results")],
)
def test_a_folder_that_cannot_be_written_is_named(words, folder, data, tmp_path):
    home = tmp_path / "la"
    path = home / folder
    path.parent.mkdir(parents=True)
    if os.geteuid():
        path.mkdir(mode=0o500)
    else:  # nothing is read-only for root, but a file is no folder
        path.write_text("")
    try:
        refused(start(home, data, words), str(path))
    finally:
        path.chmod(0o700)
    assert not leftovers(home)


def test_a_damaged_result_is_named_and_kept(home, data):
    words = [*EVALUATE, "--seed", "7"]
    assert start(home, data, words).end() == 0
    (path,) = (home / "results").rglob("evaluate.jsonl")
    lines = path.read_text().splitlines(keepends=True)
    path.write_text("".join([*lines, '{"key": "cut sho']))
    before = path.read_bytes()
    words[-1] = "8"
    refused(start(home, data, words), path.name, f"line {len(lines) + 1}", "delete the line")
    assert path.read_bytes() == before
    path.write_text("".join(lines))
    assert start(home, data, words).end() == 0
    assert len(path.read_text().splitlines()) == len(lines) + 1


def test_two_at_once_make_one_notebook_and_a_folders_name_is_never_a_command(home, data):
    both = [start(home, data, NOTEBOOK) for _ in range(2)]
    assert [command.end() for command in both] == [0, 0], [command.said for command in both]
    (notebook,) = home.rglob("figure3.ipynb")
    cells = json.loads(notebook.read_text())["cells"]
    assert any(cell.get("outputs") for cell in cells) and not leftovers(home)
    assert "touch pwned" in json.dumps(cells)
    for folder in (home, data.parent, Path.cwd()):
        assert not list(folder.rglob("pwned"))
