"""Notebooks are narrative and calls; one is executed as `make` does it, at a tiny size."""

import ast
import base64
import json
import re
import subprocess
import sys
from pathlib import Path

import nbformat
import papermill
import pytest

from la.experiment.methods import RIVALS
from la.report.pages import notebooks
from la.report.pages.freshness import NOTEBOOKS as FOLDER
from la.report.pages.notebooks import plan_of
from la.report.scores.tables import TABLES, WITH_RIVALS
from tests.commands import Command

NOTEBOOKS = sorted(FOLDER.glob("*.ipynb"))
NARRATIVE = (ast.For, ast.While, ast.FunctionDef, ast.ClassDef, ast.Lambda)


def stored(path: Path) -> nbformat.NotebookNode:
    """The notebook as git would commit it: one that was only run in JupyterLab breaks no test."""
    name = path.relative_to(FOLDER.parent).as_posix()
    index = subprocess.run(["git", "show", f":{name}"], cwd=FOLDER.parent, capture_output=True)
    text = index.stdout if index.returncode == 0 else path.read_bytes()
    return nbformat.reads(text.decode(), as_version=4)


def code_cells(path: Path) -> list:
    return [c for c in stored(path).cells if c.cell_type == "code"]


def test_a_notebook_that_was_run_in_lab_is_judged_by_what_git_has_of_it(tmp_path, monkeypatch):
    subprocess.run(["git", "init", "-q", tmp_path], check=True)
    monkeypatch.setattr(sys.modules[__name__], "FOLDER", tmp_path / "notebooks")
    path = tmp_path / "notebooks" / "a.ipynb"
    path.parent.mkdir()
    cell = nbformat.v4.new_code_cell("1 + 1")
    nbformat.write(nbformat.v4.new_notebook(cells=[cell]), path)
    subprocess.run(["git", "add", path], cwd=tmp_path, check=True)
    cell.execution_count = 1
    nbformat.write(nbformat.v4.new_notebook(cells=[cell]), path)
    assert stored(path).cells[0].execution_count is None
    subprocess.run(["git", "add", path], cwd=tmp_path, check=True)
    assert stored(path).cells[0].execution_count == 1


def test_a_page_has_the_results_of_its_cells_without_messages_and_progress_bars(tmp_path):
    bar = {notebooks.WIDGET: {"model_id": "1"}, "text/plain": "features: 0/300"}
    viewer = {notebooks.WIDGET: {"model_id": "2"}, "text/plain": "viewer", "image/png": "aGk="}
    outputs = [
        nbformat.v4.new_output("stream", name="stderr", text="a warning"),
        nbformat.v4.new_output("display_data", data=bar),
        nbformat.v4.new_output("display_data", data=viewer),
        nbformat.v4.new_output("execute_result", data={"text/plain": "12"}),
    ]
    cell = nbformat.v4.new_code_cell("score()", outputs=outputs)
    path = tmp_path / "table2.partial.ipynb"
    nbformat.write(nbformat.v4.new_notebook(cells=[cell]), path)
    notebooks._tidy(path, tmp_path / "table2.ipynb", None)
    page = nbformat.read(path, as_version=4)
    (kept,) = (cell for cell in page.cells if cell.source == "score()")
    assert [output["data"]["text/plain"] for output in kept.outputs] == ["viewer", "12"]


@pytest.fixture(params=NOTEBOOKS, ids=lambda path: path.stem)
def path(request) -> Path:
    return request.param


def test_there_is_a_notebook_for_every_table():
    assert {path.stem for path in NOTEBOOKS} >= {*TABLES, "summary"}


def test_notebooks_are_kept_without_outputs_and_machine_traces(path):
    notebook = stored(path)
    nbformat.validate(notebook)
    assert "widgets" not in notebook.metadata
    assert notebook.metadata.kernelspec.name == "python3"
    for cell in code_cells(path):
        assert cell.outputs == [] and cell.execution_count is None


def test_a_notebook_begins_with_its_title_and_has_one_cell_of_literal_parameters(path):
    notebook = stored(path)
    assert notebook.cells[0].cell_type == "markdown"
    assert notebook.cells[0].source.startswith("# ")
    tagged = [c for c in notebook.cells if "parameters" in c.metadata.get("tags", [])]
    assert len(tagged) == 1
    for line in tagged[0].source.splitlines():
        (node,) = ast.parse(line).body
        assert isinstance(node, ast.AnnAssign), f"{line!r} has no type"
        ast.literal_eval(node.value)
        assert "  # " in line, f"{line!r} has no comment"


def test_cells_are_short_and_define_nothing(path):
    for cell in code_cells(path):
        assert len(cell.source.splitlines()) <= 15, cell.source
        if "own-method" in cell.metadata.get("tags", []):
            continue  # a reader's own method, which is the subject of that notebook
        found = [n for n in ast.walk(ast.parse(cell.source)) if isinstance(n, NARRATIVE)]
        assert not found, cell.source


SHOWN = ("la.charts.show", "la.charts.show_image")


def test_figures_are_shown_with_a_text_that_replaces_them():
    shown = []
    for path in NOTEBOOKS:
        for cell in code_cells(path):
            for call in ast.walk(ast.parse(cell.source)):
                if isinstance(call, ast.Call) and ast.unparse(call.func) in SHOWN:
                    alt = [*call.args[1:], *(k.value for k in call.keywords if k.arg == "alt")]
                    shown.append(ast.unparse(alt[0]))
    assert len(shown) > 10
    assert all(len(text) > 30 for text in shown)


@pytest.mark.parametrize("table", [path for path in NOTEBOOKS if path.stem.startswith("table")])
def test_the_text_of_a_table_holds_for_data_too_small_for_folds(table):
    """Of one to three classes all are trained on; only the headline knows the data."""
    text = "".join(c.source for c in stored(table).cells if c.cell_type == "markdown")
    assert "mIoU" in text and not re.search("unseen|never seen|new class", text)


def test_what_the_makefile_passes_are_parameters_of_every_table():
    for name in TABLES:
        known = papermill.inspect_notebook(str(FOLDER / f"{name}.ipynb"))
        assert {"profile", "data", "folds", "seeds", "episodes"} <= set(known)


@pytest.fixture(scope="module")
def executed(few, tmp_path_factory):
    """`la run table2` in a home of its own on few images: what it said, and the folder."""
    home = tmp_path_factory.mktemp("table2") / "home"
    home.mkdir()
    words = ["run", "table2", "--profile", "smoke", "--data", str(few(60, 120))]
    command = Command(home, [*words, "--folds", "0", "--seeds", "0"])
    assert command.end() == 0, command.said[-2000:]
    return command.said, home / "results" / "smoke@few"


@pytest.mark.slow
def test_a_table_says_how_many_results_were_stored(executed):
    said, _ = executed
    n = 2 * len(TABLES["table2"].methods)
    assert f"table2: {n} measurements, 0 stored, {n} to compute" in said


@pytest.mark.slow
def test_an_executed_notebook_can_be_read_on_a_web_page(executed):
    _, folder = executed
    path = folder / "table2.ipynb"
    text = path.read_text()
    assert len(text) < 1_000_000
    assert str(folder.parent.parent) not in text and not re.search(r"/(home|Users|tmp)/", text)
    notebook = json.loads(text)
    assert "widgets" not in notebook["metadata"]
    pictures = tables = 0
    tags = [cell["metadata"].get("tags", []) for cell in notebook["cells"]]
    assert ["injected-parameters"] in tags  # smoke is not the notebook's own profile
    assert tags.count(["navigation"]) == 2 and tags[-1] == ["navigation"]
    for cell in notebook["cells"]:
        if cell["cell_type"] == "code":
            assert cell["metadata"]["jupyter"] == {"source_hidden": True}
        for output in cell.get("outputs", []):
            assert output["output_type"] != "error" and output.get("name") != "stderr"
            data = output.get("data", {})
            assert "application/vnd.jupyter.widget-view+json" not in data
            tables += "<table" in "".join(data.get("text/html", ""))
            tables += "|:--" in "".join(data.get("text/markdown", ""))
            if "image/png" in data:
                pictures += 1
                assert base64.b64decode(data["image/png"]).startswith(b"\x89PNG")
                shown = output["metadata"]["image/png"]
                image = {"alt": shown["alt"], "width": f"{shown['width']}px"}
                assert cell["metadata"]["mystnb"] == {"image": image}
    assert pictures >= 3 and tables >= 5


@pytest.mark.slow
def test_an_executed_table_leaves_results_a_page_and_csv_files(executed):
    _, folder = executed
    lines = (folder / "measurements" / "table2.jsonl").read_text().splitlines()
    assert len(lines) == 2 * len(TABLES["table2"].methods)
    page = (folder / "table2.md").read_text()
    assert "LA" in page and "MFNet" in page and "nan" not in page
    assert (folder / "table2.csv").exists() and (folder / "table2_per_class.csv").exists()
    assert not list(folder.glob("*.partial.ipynb")) and not list(folder.glob("*.failed.ipynb"))


def test_all_methods_adds_the_rivals_to_the_pages_that_compare_them_and_stops_no_other_page():
    for name in TABLES:
        _, planned = plan_of(name, "smoke", {"methods": ["all"]})
        rows = {m.method for m in planned}
        assert (RIVALS.keys() <= rows) == (name in WITH_RIVALS), name
        assert rows >= set(TABLES[name].methods)
