"""Pages of scores on COCO's photographs are stored without the photographs."""

import base64
import json
from pathlib import Path

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output
from photo_pages import OVERLAP, copy_pages

ROOT = Path(__file__).parents[1]
PICTURE = base64.b64encode(b"a photograph").decode()
CHART = base64.b64encode(b"a chart").decode()


def test_a_copy_keeps_numbers_and_charts_and_loses_the_photographs(tmp_path):
    strip = new_code_cell("strip(la.pictures(bench, shown))")
    strip.outputs = [new_output("display_data", {"image/png": PICTURE})]
    chart = new_code_cell("la.charts.show(chart)")
    chart.outputs = [new_output("display_data", {"image/png": CHART})]
    cells = [new_markdown_cell("# Scores\n\nWhat is asked."), strip, chart]
    (tmp_path / "from" / "measurements").mkdir(parents=True)
    nbformat.write(new_notebook(cells=cells), tmp_path / "from" / "table.ipynb")
    (tmp_path / "from" / "table.md").write_text("# Scores\n\n| a |\n")
    (tmp_path / "from" / "measurements" / "table.jsonl").write_text("{}\n")
    copy_pages(tmp_path / "from", tmp_path / "to")
    text = (tmp_path / "to" / "table.ipynb").read_text()
    assert PICTURE not in text and CHART in text
    copied = nbformat.reads(text, nbformat.NO_CONVERT)
    assert copied.cells[0].source == f"# Scores\n\n{OVERLAP}\n\nWhat is asked."
    assert (tmp_path / "to" / "table.md").read_text() == f"# Scores\n\n{OVERLAP}\n\n| a |\n"
    assert (tmp_path / "to" / "measurements" / "table.jsonl").read_text() == "{}\n"


@pytest.mark.parametrize("page", sorted((ROOT / "results" / "photos").glob("*.ipynb")), ids=str)
def test_no_stored_page_shows_photographs_of_coco(page):
    for cell in json.loads(page.read_text(encoding="utf-8"))["cells"]:
        if "la.pictures(" in "".join(cell["source"]):
            assert "image/png" not in json.dumps(cell["outputs"])
