"""Running a notebook: its cells first, then papermill, and a name only if it succeeded."""

import ast
import json
import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import nbformat
import papermill

from la import config as configs
from la.errors import UserError
from la.experiment.measurements import Measurement
from la.experiment.run import compute
from la.experiment.workbench import HOME, Workbench
from la.files import claim, named
from la.report.tables import TABLES, measurements

log = logging.getLogger(__name__)

# What torchrun tells each of its processes. A notebook's kernel is a process on its own: with these
# variables it would wait for the other ranks.
OF_TORCHRUN = (
    "RANK", "LOCAL_RANK", "GROUP_RANK", "ROLE_RANK", "ROLE_NAME", "WORLD_SIZE",
    "LOCAL_WORLD_SIZE", "GROUP_WORLD_SIZE", "ROLE_WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT",
)  # fmt: skip
FOLDER = Path(__file__).resolve().parents[2] / "notebooks"


class NotebookFailed(UserError):
    """A cell of a notebook raised; the copy with its traceback is kept."""


def plan_of(name: str, profile: str, parameters: dict) -> tuple[dict, list[Measurement]]:
    """The parameters that the notebook takes, and the cells that it will show.

    Raises:
        ValueError: no such notebook or profile, or a parameter that the notebook does not have.
    """
    source = FOLDER / f"{name}.ipynb"
    if not source.exists():
        known = ", ".join(sorted(p.stem for p in FOLDER.glob("*.ipynb")))
        raise UserError(f"no notebook {name!r} in notebooks/; known: {known}")
    values = {"profile": configs.profile(profile).profile} | parameters
    known = papermill.inspect_notebook(str(source))
    if unknown := sorted(set(values) - set(known) - {"data"}):
        raise UserError(f"{name} has no parameter {unknown[0]!r}; it has {', '.join(known)}")
    values = {k: v for k, v in values.items() if k in known}
    if name not in TABLES:
        return values, []
    given = {k: ast.literal_eval(v["default"]) for k, v in known.items()} | values
    names = ("folds", "seeds", "episodes", "protocol", "methods")
    wanted = {k: given[k] for k in names if k in given}
    return values, measurements(name, profile, **wanted)


def run(
    bench: Workbench,
    name: str,
    values: dict,
    wanted: list[Measurement],
    *,
    recompute: bool = False,
) -> Path:
    """Execute `notebooks/<name>.ipynb` into the profile's results folder; the path of the copy.

    `values` and `wanted` are from `plan_of`; the cells are computed before the notebook runs, by
    all ranks. Only rank 0 executes the notebook; the others return at once.

    While it runs the copy is `<name>.partial.ipynb`; if it fails it stays as `<name>.failed.ipynb`
    with its traceback, so that a failed notebook is never taken for a made one.

    Raises:
        NotebookFailed: a cell of the notebook raised.
    """
    if wanted:
        compute(bench, name, wanted, recompute=recompute)
    final = bench.results / f"{name}.ipynb"
    if not bench.ranks.is_main_process:
        return final
    with claim(final, wait=True), named(final), _alone():
        _execute(name, values, final, bench.source)
    return final


@contextmanager
def _alone() -> Iterator[None]:
    """Remove torchrun's variables from this process's environment, which a kernel inherits."""
    removed = {
        name: os.environ.pop(name)
        for name in list(os.environ)
        if name in OF_TORCHRUN or name.startswith("TORCHELASTIC_")
    }
    try:
        yield
    finally:
        os.environ.update(removed)


def _execute(name: str, values: dict, final: Path, data: Path | None) -> None:
    partial, failed = (final.with_suffix(f".{state}.ipynb") for state in ("partial", "failed"))
    os.environ["JUPYTER_PREFER_ENV_PATH"] = "1"  # the kernel of this environment, not a stray one
    try:
        papermill.execute_notebook(
            str(FOLDER / f"{name}.ipynb"), str(partial), values, cwd=str(HOME), progress_bar=False,
            store_widget_state=False, kernel_name="python3",
            extra_arguments=["--IPKernelApp.log_level=40"],
        )  # fmt: skip
        _tidy(partial, data)
        os.replace(partial, final)
        failed.unlink(missing_ok=True)
    except papermill.PapermillExecutionError as error:
        os.replace(partial, failed)
        what = f"{error.ename}: {error.evalue}"
        raise NotebookFailed(f"{name} failed ({what}); the traceback is in {failed}") from None
    finally:
        partial.unlink(missing_ok=True)


def _tidy(path: Path, data: Path | None) -> None:
    """Drop what changes from run to run or names this machine: paths, times, widget state."""
    notebook = nbformat.read(path, as_version=4)
    notebook.metadata.pop("widgets", None)
    kept = notebook.metadata.pop("papermill", {})
    notebook.metadata["papermill"] = {"parameters": kept.get("parameters", {})}
    for cell in notebook.cells:
        cell.metadata = {k: v for k, v in cell.metadata.items() if k == "tags"}
    text = nbformat.writes(notebook)
    if data:  # the folder's name says which data it was; where it lay is nobody's business
        text = text.replace(json.dumps(str(data))[1:-1], json.dumps(data.name)[1:-1])
    path.write_text(text, encoding="utf-8")
