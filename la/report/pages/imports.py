"""The modules of `la` that a notebook imports, directly or by way of others.

Read from the syntax of the files, so that nothing is imported. An import inside a function counts
as one at the top.
"""

import ast
import json
from collections.abc import Iterable
from functools import cache
from pathlib import Path

import la
from la.code import PACKAGE


def imported_by(notebook: Path) -> set[Path]:
    """The files of the modules of `la` that the code of a notebook needs.

    `la/__init__.py` is not among them: it holds the addresses of public names, and what a name
    leads to is found by its address.

    Raises:
        FileNotFoundError: there is no such notebook.
    """
    cells = json.loads(notebook.read_text(encoding="utf-8"))["cells"]
    modules: list[str] = []
    for cell in cells:
        if cell["cell_type"] == "code":
            modules += _named_in("".join(cell["source"]))
    return files_of(modules)


def files_of(modules: Iterable[str]) -> set[Path]:
    """The files of these modules, and of all modules of `la` that they import."""
    files: set[Path] = set()
    waiting = list(modules)
    while waiting:
        module = waiting.pop()
        waiting += module.rsplit(".", 1)[:-1]  # Python runs the package of a module, too
        file = _file_of(module)
        if file is not None and file not in files:
            files.add(file)
            waiting += _named_in(file.read_text(encoding="utf-8"))
    return files


@cache
def _named_in(code: str) -> tuple[str, ...]:
    """What Python code imports of `la`, and the homes of the public names that it uses.

    A name that is imported from a package is given as a module of it, which it may be.
    """
    named: list[str] = []
    for node in ast.walk(ast.parse(code)):
        if isinstance(node, ast.Import):
            named += (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module == "la":
            named += (la.module_of(alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            named.append(node.module)
            named += (f"{node.module}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Attribute) and ast.unparse(node.value) == "la":
            named.append(la.module_of(node.attr))
    return tuple(named)


def _file_of(module: str) -> Path | None:
    """Where a module of `la` is; None for the package itself, another's module, and a name."""
    first, *rest = module.split(".")
    if first != "la" or not rest:
        return None
    path = PACKAGE.joinpath(*rest)
    candidates = (path.with_suffix(".py"), path / "__init__.py")
    return next((file for file in candidates if file.is_file()), None)
