"""Which modules a notebook needs: read from its code, compared with what Python imports."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from la.code import PACKAGE
from la.report.pages.imports import files_of, imported_by

MODULES = ("la.report.pages.notebooks", "la.report.pages.markdown", "la.predict.predictor")
# Each module is imported by a process that has loaded what all of them load first.
LOADED = """
import importlib, json, os, sys
import matplotlib.pyplot, pandas, scipy.stats, torch

for module in sys.argv[1:]:
    if not os.fork():
        importlib.import_module(module)
        files = [m.__file__ for name, m in sys.modules.items() if name.startswith("la.")]
        print(json.dumps([files, list(sys.modules)]), flush=True)
        os._exit(0)
    assert os.wait()[1] == 0, module
"""


@pytest.fixture(scope="module")
def loaded() -> dict[str, list[list[str]]]:
    """The files of `la` that Python has loaded after the import of a module, and all modules."""
    command = [sys.executable, "-c", LOADED, *MODULES]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return dict(zip(MODULES, map(json.loads, done.stdout.splitlines()), strict=True))


def notebook(tmp_path: Path, *codes: str) -> Path:
    cells = [{"cell_type": "code", "source": [code]} for code in codes]
    cells.insert(0, {"cell_type": "markdown", "source": ["`la.Predictor` is not code"]})
    path = tmp_path / "page.ipynb"
    path.write_text(json.dumps({"cells": cells}))
    return path


def names(files: set[Path]) -> set[str]:
    return {path.relative_to(PACKAGE).as_posix() for path in files}


def test_public_names_and_imports_lead_to_their_modules_and_on(tmp_path):
    codes = (
        "import la\nla.charts.show(1)",
        "from la.report.pages import choosing as chosen, claims",
        "from la.report.verdicts import families",
    )
    found = names(imported_by(notebook(tmp_path, *codes)))
    assert {
        "report/figures/charts.py",
        "report/pages/choosing.py",
        "report/verdicts/families.py",
    } <= found
    assert {
        "report/figures/canvas.py",
        "wording.py",
        "experiment/methods.py",
    } <= found  # by way of these
    for wing in ("commands/", "widgets/", "formats/", "predict/", "__init__.py"):
        assert not [name for name in found if name.startswith(wing)]


def test_a_public_name_alone_needs_its_own_module(tmp_path):
    assert "predict/predictor.py" in names(imported_by(notebook(tmp_path, "la.Predictor")))
    assert not imported_by(notebook(tmp_path, "import numpy as np\nnp.ones(1)"))


@pytest.mark.parametrize("module", MODULES)
def test_every_module_that_python_imports_is_found(module, loaded):
    files = {Path(file) for file in loaded[module][0]}
    assert len(files) > 20 and files <= files_of([module])


def test_the_kernel_of_a_page_does_not_wait_for_the_packages_that_run_notebooks(loaded):
    """Their import takes longer than that of torch."""
    slow = {"papermill", "nbformat"}
    assert slow <= set(loaded["la.report.pages.notebooks"][1])
    assert slow.isdisjoint(loaded["la.report.pages.markdown"][1])
