"""Which modules a notebook needs: read from its code, compared with what Python imports."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from la.code import PACKAGE
from la.report.imports import files_of, imported_by

LOADED = """
import importlib, sys
importlib.import_module(sys.argv[1])
print(*(m.__file__ for name, m in sys.modules.items() if name.startswith("la.")), sep="\\n")
print(*sys.modules)
"""


def notebook(tmp_path: Path, *codes: str) -> Path:
    cells = [{"cell_type": "code", "source": [code]} for code in codes]
    cells.insert(0, {"cell_type": "markdown", "source": ["`la.Predictor` is not code"]})
    path = tmp_path / "page.ipynb"
    path.write_text(json.dumps({"cells": cells}))
    return path


def names(files: set[Path]) -> set[str]:
    return {path.relative_to(PACKAGE).as_posix() for path in files}


def test_public_names_and_imports_lead_to_their_modules_and_on(tmp_path):
    codes = ("import la\nla.charts.show(1)", "from la.report import choosing as chosen, families")
    found = names(imported_by(notebook(tmp_path, *codes)))
    assert {"report/charts.py", "report/choosing.py", "report/families.py"} <= found
    assert {"report/canvas.py", "wording.py", "experiment/methods.py"} <= found  # by way of these
    for wing in ("commands/", "widgets/", "formats/", "predict/", "__init__.py"):
        assert not [name for name in found if name.startswith(wing)]


def test_a_public_name_alone_needs_its_own_module(tmp_path):
    assert "predict/predictor.py" in names(imported_by(notebook(tmp_path, "la.Predictor")))
    assert not imported_by(notebook(tmp_path, "import numpy as np\nnp.ones(1)"))


@pytest.mark.parametrize(
    "module", ["la.report.notebooks", "la.report.pages", "la.predict.predictor"]
)
def test_every_module_that_python_imports_is_found(module):
    done = subprocess.run(
        [sys.executable, "-c", LOADED, module], capture_output=True, text=True, check=True
    )
    *files, packages = done.stdout.splitlines()
    loaded = {Path(file) for file in files}
    assert len(loaded) > 20 and loaded <= files_of([module])
    # They take 1.5 s to import, which the kernel of every page would wait for.
    runs_notebooks = module == "la.report.notebooks"
    assert runs_notebooks or {"papermill", "nbformat"}.isdisjoint(packages.split())
