"""The drawing notebook, executed as a reader without a browser gets it."""

import base64
from io import BytesIO

import nbformat
import numpy as np
import papermill
import pytest
from PIL import Image

from la.report.pages.freshness import NOTEBOOKS

pytestmark = pytest.mark.slow  # executes the notebook


@pytest.fixture(scope="module")
def cells(tmp_path_factory) -> list:
    folder = tmp_path_factory.mktemp("executed")
    papermill.execute_notebook(
        str(NOTEBOOKS / "draw_prompts.ipynb"),
        str(folder / "out.ipynb"),
        cwd=str(folder),
        progress_bar=False,
        store_widget_state=False,
        kernel_name="python3",
        extra_arguments=["--IPKernelApp.log_level=40"],
    )
    assert (folder / "out.ipynb").stat().st_size < 1_000_000
    assert [path.name for path in folder.iterdir()] == ["out.ipynb"]
    return nbformat.read(folder / "out.ipynb", as_version=4).cells


def pictures(cells: list) -> list[Image.Image]:
    outputs = [o for c in cells if c.cell_type == "code" for o in c.outputs]
    found = [o.data["image/png"] for o in outputs if "image/png" in o.get("data", {})]
    return [Image.open(BytesIO(base64.b64decode(png))).convert("RGB") for png in found]


def test_an_executed_copy_shows_the_editor_as_a_picture_and_says_where_it_lives(cells):
    shown = next(o for c in cells if c.cell_type == "code" for o in c.outputs if "data" in o)
    assert shown.data["text/plain"] == "PromptEditor, live in JupyterLab: run this cell"
    assert shown.metadata["image/png"]["alt"]
    first, overlay, snapshot = pictures(cells)
    assert first.width > 400 and overlay.size == (512, 394)
    assert np.asarray(first).std() > 20 and snapshot.size == first.size


def test_the_model_segments_the_example_before_the_picture_is_taken(cells):
    """Without the label map the query would be pale: nothing on it would be coloured."""
    third = np.asarray(pictures(cells)[0], int)[:, -200:]
    colourful = (third.max(2) - third.min(2)) > 60
    assert colourful.mean() > 0.03
