"""Imports point down: a file may import from its own subpackage and from lower layers only."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parent.parent / "la"

LAYERS = [  # a wing imports only from earlier lines, or from itself
    {"errors", "types", "rng", "files", "folders", "colours", "wording", "code", "provenance"},
    {"config"},
    {"profiles"},
    {"data", "model"},
    {"learn"},
    {"comparators", "features"},
    {"formats"},
    {"experiment", "predict"},
    {"report"},
    {"widgets", "commands"},
    {"__main__"},
]
RANK = {name: rank for rank, names in enumerate(LAYERS) for name in names}
FILES = sorted(p for p in PACKAGE.rglob("*.py") if p != PACKAGE / "__init__.py")


def la_imports(source: str) -> Iterator[tuple[int, str]]:
    """(line, module) for each `la.<module>` that is imported, also inside functions."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"line {node.lineno}: write the import in full"
            parts = (node.module or "").split(".")
            names = [parts[1]] if len(parts) > 1 else [alias.name for alias in node.names]
            found = names if parts[0] == "la" else []
        elif isinstance(node, ast.Import):
            found = [a.name.split(".")[1] for a in node.names if a.name.startswith("la.")]
        else:
            continue
        yield from ((node.lineno, name) for name in found)


def upward(own: str, source: str) -> list[str]:
    """What a file of module `own` imports but may not."""
    return [
        f"line {line}: la.{own} imports la.{other}"
        for line, other in la_imports(source)
        if other != own and RANK[other] >= RANK[own]
    ]


@pytest.mark.parametrize("path", FILES, ids=lambda p: p.relative_to(PACKAGE).as_posix())
def test_imports_point_down(path):
    own = path.relative_to(PACKAGE).parts[0].removesuffix(".py")
    assert own in RANK, f"give la.{own} a layer in {Path(__file__).name}"
    assert not upward(own, path.read_text())


@pytest.mark.parametrize(
    ("own", "source"),
    [
        ("data", "from la.model.layers import x"),
        ("model", "import la.data.index"),
        ("learn", "def f():\n    from la import experiment"),
        ("types", "from la.config import x"),
    ],
)
def test_an_import_that_points_up_is_found(own, source):
    assert upward(own, source)
