"""Running a notebook: its measurements first, then its cells; a failed copy has another name."""

import ast
import json
import logging
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import nbformat
import papermill
from nbformat import NotebookNode

from la import profiles
from la.errors import UserError
from la.experiment.run import compute
from la.experiment.setup.measurements import Measurement
from la.experiment.setup.workbench import Workbench
from la.files import claim, named
from la.folders import HOME
from la.report.pages.freshness import KEPT_WITH, NOTEBOOKS
from la.report.pages.navigation import add_navigation
from la.report.scores.tables import TABLES, measurements

log = logging.getLogger(__name__)

# Variables that torchrun sets for its processes. A notebook's kernel is a process on its own:
# with these it would wait for the other ranks.
OF_TORCHRUN = {
    "RANK",
    "LOCAL_RANK",
    "GROUP_RANK",
    "ROLE_RANK",
    "ROLE_NAME",
    "WORLD_SIZE",
    "LOCAL_WORLD_SIZE",
    "GROUP_WORLD_SIZE",
    "ROLE_WORLD_SIZE",
    "MASTER_ADDR",
    "MASTER_PORT",
}
WIDGET = "application/vnd.jupyter.widget-view+json"


class NotebookFailed(UserError):
    """A cell of a notebook raised; the copy with its traceback is kept."""


def plan_of(
    name: str,
    profile: str,
    parameters: Mapping[str, object],
) -> tuple[dict[str, object], list[Measurement]]:
    """The parameters that the notebook takes, and the measurements that it will show.

    Raises:
        UserError: there is no such notebook or profile, or the notebook lacks a parameter.
    """
    defaults = _defaults(name)
    values: dict[str, object] = {"profile": profiles.profile(profile).profile} | dict(parameters)
    if values.get("methods") == ["all"] and "methods" not in defaults:
        del values["methods"]  # a page without rows to choose shows all that it has
    unknown = sorted(set(values) - set(defaults) - {"data"})
    if unknown:
        known = ", ".join(defaults)
        raise UserError(f"{name} has no parameter {unknown[0]!r}; it has {known}")
    values = {key: value for key, value in values.items() if key in defaults}
    if name not in TABLES:
        return values, []
    chosen: dict[str, Any] = defaults | values
    planned = measurements(
        name,
        profile,
        folds=chosen["folds"],
        seeds=chosen.get("seeds"),
        episodes=chosen.get("episodes"),
        protocol=chosen.get("protocol"),
        methods=chosen.get("methods"),
    )
    return values, planned


def _defaults(name: str) -> dict[str, object]:
    """The parameters of a notebook with the values that its cell gives them."""
    source = NOTEBOOKS / f"{name}.ipynb"
    if not source.exists():
        known = ", ".join(sorted(path.stem for path in NOTEBOOKS.glob("*.ipynb")))
        raise UserError(f"no notebook {name!r} in notebooks/; known: {known}")
    parameters = papermill.inspect_notebook(str(source))
    return {key: ast.literal_eval(entry["default"]) for key, entry in parameters.items()}


def run(
    bench: Workbench,
    name: str,
    values: dict[str, object],
    planned: list[Measurement],
    *,
    recompute: bool = False,
) -> Path:
    """Execute `notebooks/<name>.ipynb` into the profile's results folder; the path of the copy.

    `values` and `planned` are from `plan_of`; the measurements are computed before the notebook
    runs, by all ranks. Only rank 0 executes the notebook; the others return at once.

    While it runs the copy is `<name>.partial.ipynb`. If it fails the copy with its traceback is
    kept as `<name>.failed.ipynb`, so that a failed notebook is never taken for a complete one.

    Raises:
        NotebookFailed: a cell of the notebook raised.
    """
    if planned:
        compute(bench, KEPT_WITH.get(name, name), planned, recompute=recompute)
    final = bench.results / f"{name}.ipynb"
    if not bench.ranks.is_main_process:
        return final
    with claim(final, wait=True), named(final), _alone():
        _execute(name, values, final, bench.source)
    return final


@contextmanager
def _alone() -> Iterator[None]:
    """Remove torchrun's variables from the environment that a kernel inherits."""
    removed = {
        name: os.environ.pop(name)
        for name in list(os.environ)
        if name in OF_TORCHRUN or name.startswith("TORCHELASTIC_")
    }
    try:
        yield
    finally:
        os.environ.update(removed)


def _execute(
    name: str,
    values: Mapping[str, object],
    final: Path,
    data: Path | None,
) -> None:
    partial = final.with_suffix(".partial.ipynb")
    failed = final.with_suffix(".failed.ipynb")
    # The kernel of this environment, not another one of the same name.
    os.environ["JUPYTER_PREFER_ENV_PATH"] = "1"
    # Papermill adds a cell for what it is given; values that the notebook has need none.
    defaults = _defaults(name)
    changed = {key: value for key, value in values.items() if value != defaults[key]}
    try:
        papermill.execute_notebook(
            str(NOTEBOOKS / f"{name}.ipynb"),
            str(partial),
            changed,
            cwd=str(HOME),
            progress_bar=False,
            store_widget_state=False,
            kernel_name="python3",
            extra_arguments=["--IPKernelApp.log_level=40"],
        )
        _tidy(partial, final, data)
        os.replace(partial, final)
        failed.unlink(missing_ok=True)
    except papermill.PapermillExecutionError as error:
        os.replace(partial, failed)
        what = f"{error.ename}: {error.evalue}"
        raise NotebookFailed(f"{name} failed ({what}); the traceback is in {failed}") from None
    finally:
        partial.unlink(missing_ok=True)


def _tidy(path: Path, final: Path, data: Path | None) -> None:
    """Drop logs and what changes from run to run or names this machine; fold code, add links."""
    notebook = nbformat.read(path, as_version=4)
    notebook.metadata.pop("widgets", None)
    papermill_data = notebook.metadata.pop("papermill", {})
    notebook.metadata["papermill"] = {"parameters": papermill_data.get("parameters", {})}
    for cell in notebook.cells:
        cell.metadata = {key: value for key, value in cell.metadata.items() if key == "tags"}
        if cell.cell_type == "code":
            cell.outputs = [output for output in cell.outputs if not _is_log(output)]
            cell.metadata["jupyter"] = {"source_hidden": True}
            _keep_picture(cell)
        else:  # links to files begin at notebooks/, and this copy is a folder deeper
            cell.source = cell.source.replace("](../", "](../../")
    add_navigation(notebook, final.parent, final.stem, NOTEBOOKS / final.name)
    text = nbformat.writes(notebook)
    if data:  # the folder's name says which data it was; the rest of its path names the machine
        text = text.replace(json.dumps(str(data))[1:-1], json.dumps(data.name)[1:-1])
    path.write_text(text, encoding="utf-8")


def _is_log(output: NotebookNode) -> bool:
    """Whether an output is a message, or a widget without a picture, such as a progress bar."""
    data = output.get("data", {})
    return output.get("name") == "stderr" or (WIDGET in data and "image/png" not in data)


def _keep_picture(cell: NotebookNode) -> None:
    """Copy the text and width of a picture to where the web site looks, `mystnb.image`."""
    for output in cell.outputs:
        shown = output.get("metadata", {}).get("image/png", {})
        if shown.get("alt"):
            image = {"alt": shown["alt"]}
            if "width" in shown:
                image["width"] = f"{shown['width']}px"
            cell.metadata["mystnb"] = {"image": image}
