"""A page knows what it was made from, and which of it has changed since."""

import json

import pytest

from la.experiment.setup.workbench import Workbench
from la.report.pages import freshness
from la.report.pages.freshness import changes_since, record_inputs

INPUTS = {"notebook": "a", "code": "b"}


@pytest.fixture
def page(tmp_path):
    path = tmp_path / "table2.ipynb"
    path.write_text(json.dumps({"cells": [], "metadata": {}}))
    (tmp_path / "table2.csv").write_text("points\n")
    (tmp_path / "table2_per_class.csv").write_text("points\n")
    (tmp_path / "table3.csv").write_text("points\n")
    return path


def test_a_recorded_page_is_fresh_until_an_input_changes(page):
    assert changes_since(page, INPUTS) == ["it does not say what it was made from"]
    record_inputs(page, INPUTS)
    assert changes_since(page, INPUTS) == []
    assert changes_since(page, INPUTS | {"code": "c"}) == ["code changed"]
    assert changes_since(page, INPUTS | {"data": "new"}) == ["data changed"]


def test_a_page_without_one_of_its_own_files_is_not_fresh(page):
    record_inputs(page, INPUTS)
    (page.parent / "table3.csv").unlink()
    assert changes_since(page, INPUTS) == []
    (page.parent / "table2_per_class.csv").unlink()
    assert changes_since(page, INPUTS) == ["table2_per_class.csv is missing"]
    page.unlink()
    assert changes_since(page, INPUTS) == ["it is missing"]


def test_inputs_change_with_parameters_and_with_the_tables_own_measurements(tmp_path, tiny_coco):
    bench = Workbench.open("smoke", tiny_coco.parents[1])
    bench = Workbench(bench.config, bench.source, tmp_path)
    before = freshness.inputs_of_page(bench, "table2", {"folds": [0]})
    other = freshness.inputs_of_page(bench, "table2", {"folds": [1]})
    assert {k for k in before if before[k] != other[k]} == {"parameters"}

    folder = bench.results / "measurements"
    folder.mkdir(parents=True)
    (folder / "table3.jsonl").write_text("{}\n")
    (folder / "table2.jsonl").write_text("{}\n")
    of_table2 = freshness.inputs_of_page(bench, "table2", {"folds": [0]})
    assert {k for k in before if before[k] != of_table2[k]} == {"measurements"}
    (folder / "table3.jsonl").write_text("{}\n{}\n")
    assert freshness.inputs_of_page(bench, "table2", {"folds": [0]}) == of_table2


def test_a_page_changes_with_the_file_that_keeps_its_results(tmp_path, tiny_coco):
    bench = Workbench.open("smoke", tiny_coco.parents[1])
    bench = Workbench(bench.config, bench.source, tmp_path)
    folder = bench.results / "measurements"
    folder.mkdir(parents=True)
    for page, file in freshness.KEPT_WITH.items():
        cells = json.loads((freshness.NOTEBOOKS / f"{page}.ipynb").read_text())["cells"]
        assert any(f'la.compute(bench, "{file}"' in "".join(cell["source"]) for cell in cells)
        (folder / "table2.jsonl").write_text("{}\n")
        (folder / f"{file}.jsonl").write_text("{}\n")
        before = freshness.inputs_of_page(bench, page, {})
        (folder / "table2.jsonl").write_text("{}\n{}\n")
        assert freshness.inputs_of_page(bench, page, {}) == before
        (folder / f"{file}.jsonl").write_text("{}\n{}\n")
        after = freshness.inputs_of_page(bench, page, {})
        assert {key for key in before if before[key] != after[key]} == {"measurements"}


def test_the_front_page_changes_with_the_times_that_the_curves_measured(tmp_path, tiny_coco):
    bench = Workbench.open("smoke", tiny_coco.parents[1])
    bench = Workbench(bench.config, bench.source, tmp_path)
    bench.results.mkdir(parents=True)
    before = freshness.inputs_of_page(bench, "summary", {})
    (bench.results / "curves.csv").write_text("method\n")
    after = freshness.inputs_of_page(bench, "summary", {})
    assert {key for key in before if before[key] != after[key]} == {"measurements"}


def test_code_that_a_page_does_not_import_leaves_it_as_it_is(tmp_path, tiny_coco, monkeypatch):
    bench = Workbench.open("smoke", tiny_coco.parents[1])
    bench = Workbench(bench.config, bench.source, tmp_path)
    digested = {}
    monkeypatch.setattr(freshness, "code_digest", lambda files: digested.update(now=set(files)))
    for page, uses in (("table2", False), ("photographs", True)):
        freshness.inputs_of_page(bench, page, {})
        files = {path.relative_to(freshness.PACKAGE).as_posix() for path in digested["now"]}
        assert ("predict/predictor.py" in files) == uses
        assert {
            "report/pages/notebooks.py",
            "report/pages/navigation.py",
            "learn/training.py",
        } <= files
        assert not [name for name in files if name.startswith(("commands/", "widgets/"))]
