"""Copies result pages without the photographs that they show: python -m tests.photo_pages FROM TO.

The pages of `photos` on COCO show photographs that may not be passed on. Their numbers may.
"""

import re
import shutil
import sys
from pathlib import Path

import nbformat
from nbformat import NotebookNode
from nbformat.v4 import new_output

LEFT_OUT = (
    "*The photographs are COCO's and are left out here. The command of this page shows them.*"
)
OVERLAP = (
    "**ImageNet's labels overlap COCO's.** The image encoder was trained on ImageNet and has met "
    "most of these objects under some name. The numbers say how well the model works on "
    "photographs; they are not a test of unseen classes in the paper's sense, and they cannot be "
    "compared with published ones."
)
TITLE = re.compile(r"\A# .*\n")


def copy_pages(source: Path, destination: Path) -> None:
    """Copy a folder of results; its notebooks lose their photographs, and pages get the note."""
    for path in sorted(source.rglob("*")):
        copy = destination / path.relative_to(source)
        if path.is_dir():
            continue
        copy.parent.mkdir(parents=True, exist_ok=True)
        if path.suffix == ".ipynb":
            notebook = without_photographs(nbformat.read(path, nbformat.NO_CONVERT))
            nbformat.write(notebook, copy)
        elif path.suffix == ".md":
            copy.write_text(with_note(path.read_text(encoding="utf-8")), encoding="utf-8")
        else:
            shutil.copyfile(path, copy)


def without_photographs(notebook: NotebookNode) -> NotebookNode:
    """The notebook, changed in place: the note under its title, no picture of an episode."""
    notebook.cells[0].source = with_note(notebook.cells[0].source + "\n").rstrip("\n")
    for cell in notebook.cells:
        if cell.cell_type == "code" and "la.pictures(" in cell.source:
            cell.outputs = [new_output("display_data", {"text/markdown": LEFT_OUT})]
            cell.metadata.pop("mystnb", None)
    return notebook


def with_note(text: str) -> str:
    """A page with the note about ImageNet under its title."""
    return TITLE.sub(lambda title: f"{title.group()}\n{OVERLAP}\n", text, count=1)


if __name__ == "__main__":
    copy_pages(Path(sys.argv[1]), Path(sys.argv[2]))
