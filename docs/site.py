"""`make site`: the rendered notebooks and the documents as a static site in `build/site`.

Sphinx builds it from local files alone, so that it opens from the file system and offline.
"""

import shutil
import sys
from pathlib import Path

import nbformat
from nbformat import NotebookNode
from site_links import Links, equations_as_pictures, sections_in_lower_case
from site_mend import mend
from sphinx.cmd.build import build_main

from la.report.pages.navigation import ORDER

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
TITLES = {  # in the navigation, where two are alike
    "results/bench.md": "Speed, as measured",
    "results/photos/table2.ipynb": "Table 2 on photographs",
}
CONFIGURATION = """
project = "Label Anything, the workbook"
extensions = ["myst_nb"]
html_theme = "furo"
html_title = project
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_copy_source = False
html_show_sphinx = False
html_show_copyright = False
language = "en"
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
    results = sorted(_names("results/*/*.ipynb"), key=_place)
    others = [name for name in _names("docs/*.md") if name not in (*USE, *READ)]
    sections = {
        "Results": results,
        "How to use it": [*USE, *others],
        "How scores are made": list(READ),
        "How to change it": list(WORK),
    }
    links = Links(ROOT)
    for names in sections.values():
        for name in names:
            _copy_page(name, source, links)
    (source / "conf.py").write_text(CONFIGURATION, encoding="utf-8")
    (source / "_static").mkdir()
    shutil.copy(Path(__file__).with_name("site.css"), source / "_static")
    _copy_page("README.md", source, links)
    front = (source / "README.md").read_text(encoding="utf-8")
    (source / "index.md").write_text(front + _navigation(sections), encoding="utf-8")
    (source / "README.md").unlink()
    status = build_main(["-q", "-W", "--keep-going", str(source), str(SITE)])
    for page in SITE.rglob("*.html"):
        page.write_text(mend(page.read_text(encoding="utf-8")), encoding="utf-8")
    links.write_files(SITE)
    return status


def _names(pattern: str) -> list[str]:
    names = [path.relative_to(ROOT).as_posix() for path in sorted(ROOT.glob(pattern))]
    return [name for name in names if ".partial." not in name and ".failed." not in name]


def _place(name: str) -> tuple[bool, str, int]:
    """Pages of a profile in their reading order; others after them; `quick` comes first."""
    path = Path(name)
    profile = path.parent.name
    return profile != "quick", profile, ORDER.index(path.stem) if path.stem in ORDER else len(ORDER)


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


def _copy_page(name: str, source: Path, links: Links) -> None:
    """Copy a page, its code folded, its links to files of the repository made links to copies."""
    page = ROOT / name
    target = source / name
    target.parent.mkdir(parents=True, exist_ok=True)
    text = page.read_text(encoding="utf-8")
    if page.suffix == ".ipynb":
        nbformat.write(_for_the_site(nbformat.reads(text, as_version=4), page, links), target)
    else:
        target.write_text(links.rewrite(text, page), encoding="utf-8")
    for picture in links.pictures(text, page):
        copy = source / picture.relative_to(ROOT)
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(picture, copy)


def _for_the_site(notebook: NotebookNode, page: Path, links: Links) -> NotebookNode:
    """The notebook without its own navigation, which the site has at its sides."""
    kept = []
    for cell in notebook.cells:
        tags = cell.metadata.setdefault("tags", [])
        if "navigation" in tags:
            continue
        kept.append(cell)
        if cell.cell_type == "markdown":
            linked = sections_in_lower_case(links.rewrite(cell.source, page))
            cell.source = equations_as_pictures(linked)
            continue
        tags.append("hide-input")
        for output in cell.get("outputs", []):
            text = output.get("data", {}).get("text/markdown")
            if text:
                output.data["text/markdown"] = links.rewrite(text, page)
    notebook.cells = kept
    return notebook


if __name__ == "__main__":
    sys.exit(main())
