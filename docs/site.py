"""`make site`: the rendered notebooks and the documents as a static site in `build/site`.

Sphinx builds it from local files alone, so that it opens from the file system and offline.
"""

import re
import shutil
import sys
from pathlib import Path

import nbformat
from sphinx.cmd.build import build_main

ROOT = Path(__file__).resolve().parent.parent
SITE = ROOT / "build" / "site"
USE = (
    "docs/own_data.md",
    "docs/photos.md",
    "docs/data.md",
    "docs/cluster.md",
    "docs/speed.md",
    "results/bench.md",
)
READ = ("docs/scoring.md", "docs/differences.md")
WORK = ("CONTRIBUTING.md", "CHANGELOG.md")
TITLES = {"results/bench.md": "Speed, as measured"}  # in the navigation, where two are alike
LINK = re.compile(r"\]\(([^)#:]+)")  # links to files, not to addresses
CONFIGURATION = """
project = "Label Anything, the workbook"
extensions = ["myst_nb"]
html_theme = "furo"
html_title = project
html_copy_source = False
html_show_sphinx = False
html_show_copyright = False
myst_heading_anchors = 3
nb_execution_mode = "off"
nb_render_markdown_format = "myst"
nb_ipywidgets_js = {}
nb_code_prompt_show = "Code"
nb_code_prompt_hide = "Code"
nb_output_stderr = "remove"
suppress_warnings = ["myst.header"]
"""


def main() -> int:
    """Build the site and return the exit status of Sphinx, which is not 0 after any warning."""
    source = SITE.with_name("site-source")
    shutil.rmtree(source, ignore_errors=True)
    shutil.rmtree(SITE, ignore_errors=True)
    results = _names("results/*/*.ipynb")
    results.sort(key=lambda name: "summary" not in name)
    others = [name for name in _names("docs/*.md") if name not in (*USE, *READ)]
    sections = {
        "Results": results,
        "How to use it": [*USE, *others],
        "How scores are made": list(READ),
        "How to change it": list(WORK),
    }
    for names in sections.values():
        for name in names:
            _copy_page(name, source)
    (source / "conf.py").write_text(CONFIGURATION, encoding="utf-8")
    _copy_page("README.md", source)
    front = (source / "README.md").read_text(encoding="utf-8")
    (source / "index.md").write_text(front + _navigation(sections), encoding="utf-8")
    (source / "README.md").unlink()
    return build_main(["-q", "-W", "--keep-going", str(source), str(SITE)])


def _names(pattern: str) -> list[str]:
    names = [path.relative_to(ROOT).as_posix() for path in sorted(ROOT.glob(pattern))]
    return [name for name in names if ".partial." not in name and ".failed." not in name]


def _navigation(sections: dict[str, list[str]]) -> str:
    """Every page by section, for the navigation at the side."""
    lines = []
    for title, names in sections.items():
        lines += ["", "```{toctree}", ":hidden:", f":caption: {title}", ""]
        for name in names:
            page = "/" + name.rsplit(".", 1)[0]
            lines.append(f"{TITLES[name]} <{page}>" if name in TITLES else page)
        lines.append("```")
    return "\n".join(lines)


def _copy_page(name: str, source: Path) -> None:
    """Copy a page, its code folded, and the files of the repository that it links to or shows."""
    page = ROOT / name
    target = source / name
    target.parent.mkdir(parents=True, exist_ok=True)
    text = page.read_text(encoding="utf-8")
    if page.suffix == ".ipynb":
        notebook = nbformat.reads(text, as_version=4)
        for cell in notebook.cells:
            if cell.cell_type == "code":
                cell.metadata.setdefault("tags", []).append("hide-input")
        nbformat.write(notebook, target)
        cells = [cell.source for cell in notebook.cells if cell.cell_type == "markdown"]
        text = "\n".join(cells)
    else:
        target.write_text(text, encoding="utf-8")
    for link in LINK.findall(text):
        linked = (page.parent / link).resolve()
        if linked.is_file() and linked.suffix not in (".md", ".ipynb"):
            copy = source / linked.relative_to(ROOT)
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(linked, copy)


if __name__ == "__main__":
    sys.exit(main())
