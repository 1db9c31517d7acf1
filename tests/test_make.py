"""`make reproduce-table2` decides by content: what it does after each kind of change.

A copy of the project computes a small table on a small data set, so that files can be edited.
"""

import json
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import nbformat
import pytest
from PIL import Image, ImageOps

from la.data.embedded import synthetic

pytestmark = pytest.mark.slow  # starts whole commands

ROOT = Path(__file__).resolve().parent.parent
COPIED = ("la", "notebooks", "Makefile", "pyproject.toml")


@dataclass(frozen=True)
class Copy:
    """A copy of the project, the data set that it reads, and the folder of its results."""

    root: Path
    data: Path

    @property
    def results(self) -> Path:
        return self.root / "results" / f"smoke@{self.data.name}"

    def make(self, *words: str) -> str:
        """Run make; what it printed on both streams."""
        environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(self.root)}
        environment.pop("LA_HOME", None)
        command = ["make", "reproduce-table2", f"PY={sys.executable}", "PROFILE=smoke"]
        command += [f"DATA={self.data}", "FOLDS=0", "SEEDS=0", "EPISODES=4"]
        command += ["METHODS=la", *words]  # one training, so no worker process is started
        done = subprocess.run(
            command, cwd=self.root, env=environment, text=True,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        )  # fmt: skip
        assert done.returncode == 0, done.stdout[-3000:]
        return done.stdout

    def files(self) -> dict[str, float]:
        """The time at which each file of the results was written."""
        paths = [path for path in self.results.rglob("*") if path.is_file()]
        return {str(p.relative_to(self.results)): p.stat().st_mtime for p in paths}


@pytest.fixture(scope="module")
def copy(tmp_path_factory) -> Copy:
    """A copy whose table2 has been made once; its notebook only computes and writes a CSV file."""
    folder = tmp_path_factory.mktemp("make")
    root = folder / "project"
    root.mkdir()
    for name in COPIED:
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(source, root / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(source, root / name)
    shorten(root / "notebooks" / "table2.ipynb")
    made = Copy(root, synthetic.write(folder / "few", n_train=60, n_val=120, progress=False))
    assert str(made.results / "table2.ipynb") in made.make()
    return made


def shorten(path: Path) -> None:
    """Keep the cells of a table's notebook up to the one that computes, and write the scores."""
    notebook = nbformat.read(path, as_version=4)
    computes = [i for i, cell in enumerate(notebook.cells) if "la.compute(" in cell.source]
    notebook.cells = notebook.cells[: computes[0] + 1]
    scores = 'la.tables.scores(results).to_csv(bench.results / "table2.csv", index=False)'
    notebook.cells.append(nbformat.v4.new_code_cell(scores))
    nbformat.write(notebook, path)


def test_nothing_is_made_when_nothing_changed(copy):
    before = copy.files()
    assert "nothing changed since it was made" in copy.make()
    assert copy.files() == before


def test_removed_files_of_the_page_are_made_again(copy):
    text = (copy.results / "table2.csv").read_text()
    other = copy.results / "table3.md"
    other.write_text("of another table")
    (copy.results / "table2.csv").unlink()
    assert "table2.csv is missing" in copy.make()
    (copy.results / "table2.ipynb").unlink()
    assert "table2: 2 measurements, 2 stored, 0 to compute" in copy.make()
    assert (copy.results / "table2.ipynb").exists()
    assert (copy.results / "table2.csv").read_text() == text
    assert other.read_text() == "of another table"


def test_edited_metrics_are_recomputed(copy):
    path = copy.root / "la" / "learn" / "metrics.py"
    text = path.read_text()
    path.write_text(text + "\n# A remark.\n")
    assert "nothing changed" in copy.make()
    path.write_text(text + "\nUNUSED = 1\n")
    said = copy.make()
    assert "code changed" in said and "computed by other code than today's" in said
    assert "0 to compute" in said
    before = copy.files()
    said = copy.make("RECOMPUTE=1")
    assert "nothing changed" not in said and "other code" not in said and " 0 stored" in said
    after = copy.files()
    assert after.keys() == before.keys() and after["table2.ipynb"] > before["table2.ipynb"]
    path.write_text(text)


def test_a_replaced_picture_is_noticed(copy):
    picture = sorted((copy.data).rglob("*.png"))[-1]
    ImageOps.invert(Image.open(picture).convert("RGB")).save(picture)
    assert "data changed" in copy.make()


def test_an_edited_annotation_file_is_noticed(copy):
    path = next((copy.data / "annotations").glob("*val*.json"))
    content = json.loads(path.read_text())
    content["annotations"] = content["annotations"][1:]
    path.write_text(json.dumps(content))
    assert "data changed" in copy.make()
    assert "nothing changed" in copy.make()
