"""Links between the rendered pages that work in any notebook viewer."""

import os
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # nbformat takes as long to import as torch; most callers need only `ORDER`
    from nbformat import NotebookNode

ORDER = (  # in which pages are read
    "summary",
    "table1",
    "table2",
    "table3",
    "table4",
    "table5",
    "figure3",
    "prompts_used",
    "protocol",
    "curves",
    "train",
    "model",
    "choosing",
    "adapting",
    "photographs",
    "own_method",
)


def add_navigation(notebook: "NotebookNode", folder: Path, name: str, source: Path) -> None:
    """Add a line with the sections of a rendered page, and one with its neighbours at its end.

    Args:
        folder: of the rendered page and of its neighbours, as they are there now.
        name: of the page.
        source: the notebook that was executed.
    """
    sections = _sections(notebook.cells)
    if sections:
        contents = _cell("contents", f"On this page: {' · '.join(sections)}")
        notebook.cells.insert(_place(notebook.cells), contents)
    notebook.cells.append(_cell("pages", neighbours(folder, name, source)))


def neighbours(folder: Path, name: str, source: Path) -> str:
    """The front page, the pages before and after `name` that exist, and its own source."""
    links = []
    others = [page for page in ORDER if page == name or (folder / f"{page}.ipynb").exists()]
    if name in others:
        place = others.index(name)
        if place > 0:
            links.append(f"Previous: [{others[place - 1]}]({others[place - 1]}.ipynb)")
        if place + 1 < len(others):
            links.append(f"Next: [{others[place + 1]}]({others[place + 1]}.ipynb)")
    if name != "summary" and (folder / "summary.ipynb").exists():
        links.append("[All pages](summary.ipynb)")
    relative = Path(os.path.relpath(source, folder)).as_posix()
    if folder.parent.parent == source.parent.parent:  # results of this checkout
        links.append(f"[The notebook of this page]({relative})")
    return " · ".join(links)


def _starts_section(source: str) -> bool:
    return any(line.startswith("## ") for line in source.splitlines())


def _cell(identity: str, text: str) -> "NotebookNode":
    from nbformat.v4 import new_markdown_cell

    return new_markdown_cell(text, id=identity, metadata={"tags": ["navigation"]})


def _sections(cells: Iterable["NotebookNode"]) -> list[str]:
    """A link to each second-level heading; its anchor has hyphens for spaces."""
    links = []
    for cell in cells:
        if cell.cell_type == "markdown":
            for line in cell.source.splitlines():
                if line.startswith("## "):
                    title = line.removeprefix("## ")
                    links.append(f"[{title}](#{title.replace(' ', '-')})")
    return links


def _place(cells: list["NotebookNode"]) -> int:
    """After the finding, the chart and the table, i.e. before the second of the main sections."""
    heads = []
    for number, cell in enumerate(cells):
        if cell.cell_type == "markdown" and _starts_section(cell.source):
            heads.append(number)
    return heads[1] if len(heads) > 1 else len(cells)
