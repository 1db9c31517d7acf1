"""Links between rendered pages."""

from pathlib import Path

from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

from la.report.pages.freshness import NOTEBOOKS
from la.report.pages.navigation import ORDER, add_navigation, neighbours


def folder_with(home: Path, *names: str) -> Path:
    """`home`/results/quick with empty pages."""
    folder = home / "results" / "quick"
    folder.mkdir(parents=True)
    for name in names:
        (folder / f"{name}.ipynb").touch()
    return folder


def test_every_page_of_the_order_is_a_notebook():
    assert {path.stem for path in NOTEBOOKS.glob("*.ipynb")} >= set(ORDER)


def test_neighbours_are_those_that_have_been_rendered(tmp_path):
    folder = folder_with(tmp_path, "summary", "table1", "table5", "model")
    source = tmp_path / "notebooks" / "table5.ipynb"
    assert neighbours(folder, "table5", source) == (
        "Previous: [table1](table1.ipynb) · Next: [model](model.ipynb) · "
        "[All pages](summary.ipynb) · "
        "[The notebook of this page](../../notebooks/table5.ipynb)"
    )
    first = neighbours(folder, "summary", tmp_path / "notebooks" / "summary.ipynb")
    assert first.startswith("Next: [table1](table1.ipynb) · [The notebook")


def test_results_outside_of_the_checkout_do_not_link_to_its_notebooks(tmp_path):
    folder = folder_with(tmp_path, "table1")
    assert neighbours(folder, "table1", NOTEBOOKS / "table1.ipynb") == ""


def test_a_page_lists_its_sections_before_the_second_and_its_neighbours_last(tmp_path):
    folder = folder_with(tmp_path, "table1", "table2")
    texts = ["# Title", "## By fold\n\ntext", "## Details\n### Not this"]
    cells = [new_markdown_cell(text) for text in texts]
    cells.insert(2, new_code_cell("## no heading"))
    notebook = new_notebook(cells=cells)
    add_navigation(notebook, folder, "table1", tmp_path / "notebooks" / "table1.ipynb")
    sources = [cell.source for cell in notebook.cells]
    assert sources[3] == "On this page: [By fold](#By-fold) · [Details](#Details)"
    assert sources[-1].startswith("Next: [table2](table2.ipynb)")
