"""Whether a results page would come out the same if it were made again.

The metadata of a page hold a digest of each thing that it was made from. `la run` compares them
with the present ones, and executes the notebook only if one differs, which it names. Of the code,
the modules count that the notebook imports, directly or not, and those that execute it. Imports
only what is quick to import, because most calls find that nothing changed.
"""

import hashlib
import json
from collections.abc import Iterable
from pathlib import Path

from la.code import PACKAGE, code_digest
from la.config import digest
from la.experiment.setup.workbench import Workbench
from la.files import write_whole
from la.report.pages.imports import files_of, imported_by

NOTEBOOKS = PACKAGE.parent / "notebooks"
KEY = "made_from"  # in the metadata of an executed notebook
KEPT_WITH = {"curves": "table3"}  # pages whose results are in the file of another page
EXECUTED_BY = ("la.report.pages.notebooks",)  # which computes a page and adds its links


def inputs_of_page(
    bench: Workbench,
    name: str,
    parameters: dict[str, object],
) -> dict[str, str]:
    """A digest of everything that the page `name` is made from, by what it is.

    Args:
        bench: the profile and data of the page.
        name: of a notebook in `notebooks/`.
        parameters: as the notebook is called with them.

    Raises:
        FileNotFoundError: there is no such notebook.
    """
    # The folder of the data does not matter; their content is added below.
    chosen = {key: value for key, value in parameters.items() if key != "data"}
    measurements = bench.results / "measurements"
    tables = sorted(measurements.glob(f"{KEPT_WITH.get(name, name)}.jsonl"))
    if not tables:  # the page of another notebook shows results of any table, and times
        tables = sorted(measurements.glob("*.jsonl"))
        tables += sorted(bench.results.glob("curves.csv"))
    notebook = NOTEBOOKS / f"{name}.ipynb"
    return {
        "notebook": notebook_digest(notebook),
        "parameters": digest(chosen | {"profile": digest(bench.config)}),
        "data": f"{bench.data.name} {bench.data.fingerprint}",
        "code": code_digest(imported_by(notebook) | files_of(EXECUTED_BY)),
        "weights": _bytes_digest(sorted((PACKAGE / "weights").iterdir())),
        "measurements": _bytes_digest(tables),
    }


def changes_since(page: Path, inputs: dict[str, str]) -> list[str]:
    """Why the page must be made again, as phrases; empty if it need not."""
    if not page.exists():
        return ["it is missing"]
    try:
        made_from = json.loads(page.read_text(encoding="utf-8"))["metadata"][KEY]
    except (KeyError, ValueError):
        return ["it does not say what it was made from"]
    reasons = []
    for name in made_from["files"]:
        if not (page.parent / name).exists():
            reasons.append(f"{name} is missing")
    for what, now in inputs.items():
        if made_from.get(what) != now:
            reasons.append(f"{what} changed")
    return reasons


def record_inputs(page: Path, inputs: dict[str, str]) -> None:
    """Keep in an executed notebook what it was made from, and the files that it wrote."""
    notebook = json.loads(page.read_text(encoding="utf-8"))
    files = sorted(
        path.name
        for path in page.parent.glob(f"{page.stem}*")
        if path != page and path.suffix in (".csv", ".md", ".png", ".svg")
    )
    notebook["metadata"][KEY] = inputs | {"files": files}
    text = json.dumps(notebook, indent=1, ensure_ascii=False, sort_keys=True)
    write_whole(page, text)


def notebook_digest(path: Path) -> str:
    """A digest of the source of a notebook's cells; outputs and metadata do not count.

    Raises:
        FileNotFoundError: there is no such notebook.
    """
    notebook = json.loads(path.read_text(encoding="utf-8"))
    sources = []
    for cell in notebook["cells"]:
        sources.append((cell["cell_type"], "".join(cell["source"])))
    return digest({"cells": sources})


def _bytes_digest(paths: Iterable[Path]) -> str:
    whole = hashlib.sha256()
    for path in paths:
        content = hashlib.sha256(path.read_bytes())
        whole.update(path.name.encode() + content.digest())
    return whole.hexdigest()[:12]
