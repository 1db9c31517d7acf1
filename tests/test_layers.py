"""Imports point down: a file may import from its own wing and from lower layers only.

The folders of a wing import one way, and no folder holds more than can be read in one sitting.
"""

import ast
import graphlib
import re
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


def folders_of(wing: Path) -> set[str]:
    return {path.name for path in wing.iterdir() if (path / "__init__.py").exists()}


def imports_between_folders(wing: Path) -> dict[str, set[str]]:
    """For each folder of a wing, the other folders of it from which its files import."""
    inside = re.compile(rf"from la\.{wing.name}(?:\.| import )(\w+)")
    imports = {}
    for folder in folders_of(wing):
        sources = [path.read_text() for path in (wing / folder).rglob("*.py")]
        named = set(inside.findall("\n".join(sources)))
        imports[folder] = (named & folders_of(wing)) - {folder}
    return imports


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
        ("model", "import la.data.coco.index"),
        ("learn", "def f():\n    from la import experiment"),
        ("types", "from la.config import x"),
    ],
)
def test_an_import_that_points_up_is_found(own, source):
    assert upward(own, source)


WINGS = sorted(path.parent for path in PACKAGE.glob("*/__init__.py"))


@pytest.mark.parametrize("wing", WINGS, ids=lambda path: path.name)
def test_folders_of_a_wing_import_one_way(wing):
    order = list(graphlib.TopologicalSorter(imports_between_folders(wing)).static_order())
    assert set(order) == folders_of(wing)


def test_two_folders_that_import_each_other_are_found(tmp_path):
    for own, other in (("a", "b"), ("b", "a")):
        (tmp_path / "wing" / own).mkdir(parents=True)
        (tmp_path / "wing" / own / "__init__.py").touch()
        text = f"from la.wing.{other}.file import x\n"
        (tmp_path / "wing" / own / "file.py").write_text(text)
    with pytest.raises(graphlib.CycleError):
        graphlib.TopologicalSorter(imports_between_folders(tmp_path / "wing")).prepare()


def test_no_folder_has_more_than_1800_lines():
    folders = {path.parent for path in PACKAGE.rglob("*.py")}
    assert len(folders) > 25
    for folder in folders:
        code = [path for path in folder.iterdir() if path.suffix in (".py", ".js", ".css")]
        assert sum(path.read_text().count("\n") for path in code) <= 1800, folder


def described_layout() -> tuple[list[str], list[str], dict[str, set[str]]]:
    """The files, the wings in their order and the folders of each, as CONTRIBUTING.md has them."""
    text = (PACKAGE.parent / "CONTRIBUTING.md").read_text(encoding="utf-8")
    first, *lines = text.split("## Layout")[1].split("```")[1].strip().splitlines()
    wings: dict[str, set[str]] = {}
    for line in lines:
        wing = re.match(r"  (\w+)/", line)
        folder = re.match(r"    (\w+)/", line)
        if wing:
            wings[wing[1]] = set()
        elif folder:
            wings[[*wings][-1]].add(folder[1])
    return first.removeprefix("la/").replace(",", "").split(), [*wings], wings


def test_contributing_lists_every_file_and_folder_in_the_order_of_the_imports():
    files, order, folders = described_layout()
    assert set(files) == {path.stem for path in PACKAGE.glob("[!_]*.py")}
    assert {name: folders[name] for name in order if name in RANK} == {
        wing.name: folders_of(wing) for wing in WINGS
    }
    ranks = [RANK[name] for name in order if name in RANK]
    assert ranks == sorted(ranks)
    assert all((PACKAGE / name).is_dir() for name in order)
