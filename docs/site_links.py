"""What Sphinx does not do for the site: links to source lines and files, and equations offline."""

import base64
import html
import json
import os
import re
import shutil
from io import BytesIO
from pathlib import Path

from matplotlib.figure import Figure

LINK = re.compile(r"(!?)\[([^\]]*)\]\(([^)#:\s]+)(#[^)\s]*)?\)")  # to files, not to addresses
SECTION = re.compile(r"\[([^\]]*)\]\(#([\w-]+)\)")  # a link within a notebook
IMAGE = re.compile(r"<img [^>]*?src=\"([^\"]+)\"")  # as HTML, which has a width
LINES = re.compile(r"#L\d+")  # of a file, the first of the linked ones
LONG = re.compile(r'"([^"\\]{12})[^"\\]{68,}"')  # a text of a JSON file that hides the others
EQUATION = re.compile(r"\$([^$\n]+)\$")
PAGE = """<!DOCTYPE html>
<html lang="en">
<head><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>{name}</title>
<style>
body {{ font: 14px sans-serif; margin: 1rem; }}
h1 {{ overflow-wrap: anywhere; }}
pre {{ overflow-x: auto; }}
span:target {{ background: #fe9; }}
</style></head>
<body><main><h1>{name}</h1>
<p><a href="{front}">Label Anything, the workbook</a>{note}</p>
<pre tabindex="0">
{lines}
</pre></main></body>
</html>
"""


class Links:
    """Links of pages to files that are no pages; the files are copied beside the pages.

    Python files, and others whose lines are linked, become web pages with an anchor for each line,
    so that `file.py#L12` works here as it does where the repository is hosted.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self.files: set[Path] = set()
        self.with_lines: set[Path] = set()

    def rewrite(self, text: str, page: Path) -> str:
        """The Markdown of a page with its links to files replaced by HTML, which Sphinx keeps."""

        def replace(match: re.Match[str]) -> str:
            mark, words, name, anchor = match.groups()
            linked = self._file(page, name)
            if linked == self.root / "README.md":  # which is the first page of the site
                front = os.path.relpath(self.root / "index.html", page.parent)
                return f'<a href="{front}{anchor or ""}">{words}</a>'
            if mark or linked is None:
                return match.group()
            if self._is_page(linked):  # the headings of the site's pages are in lower case
                return f"[{words}]({name}{(anchor or '').lower()})"
            line = LINES.match(anchor or "")
            if linked.suffix == ".py" or line:
                self.with_lines.add(linked)
                return f'<a href="{name}.html{line.group() if line else ""}">{words}</a>'
            self.files.add(linked)
            return f'<a href="{name}{anchor or ""}">{words}</a>'

        for name in IMAGE.findall(text):
            shown = self._file(page, name)
            if shown is not None:
                self.files.add(shown)
        return LINK.sub(replace, text)

    def pictures(self, text: str, page: Path) -> list[Path]:
        """The picture files that a page shows."""
        shown = [self._file(page, name) for mark, _, name, _ in LINK.findall(text) if mark]
        return [path for path in shown if path is not None]

    def write_files(self, site: Path) -> None:
        """Write what the pages link to."""
        for path in sorted(self.files | self.with_lines):
            copy = site / path.relative_to(self.root)
            copy.parent.mkdir(parents=True, exist_ok=True)
            if path.suffix != ".py":
                shutil.copyfile(path, copy)
            if path in self.with_lines:
                front = os.path.relpath(site / "index.html", copy.parent)
                page = _page_of_lines(path, path.relative_to(self.root).as_posix(), front)
                copy.with_name(f"{copy.name}.html").write_text(page, encoding="utf-8")

    def _file(self, page: Path, name: str) -> Path | None:
        linked = (page.parent / name).resolve()
        return linked if linked.is_file() and linked.is_relative_to(self.root) else None

    def _is_page(self, path: Path) -> bool:
        """Whether the site has a page of this file: all documents, and executed notebooks."""
        is_executed = path.suffix == ".ipynb" and "results" in path.relative_to(self.root).parts
        return path.suffix == ".md" or is_executed


def _page_of_lines(path: Path, name: str, front: str) -> str:
    """A file as HTML; `#L12` is its line 12. Stored results begin with their score."""
    lines = []
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        if path.suffix == ".jsonl":
            line = _score_first(line)
        lines.append(f'<span id="L{number}">{number:5}  {html.escape(line)}</span>')
    note = ""
    if path.suffix != ".py":
        shortened = "; counts are shortened here" if path.suffix == ".jsonl" else ""
        note = f' · <a href="{path.name}">the file</a>{shortened}'
    return PAGE.format(name=name, front=front, note=note, lines="\n".join(lines))


def _score_first(line: str) -> str:
    """A stored result with its score and measurement first, and long texts shortened."""
    fields = json.loads(line)
    first = {key: fields.pop(key) for key in ("miou_star", "measurement") if key in fields}
    return LONG.sub(r'"\1…"', json.dumps(first | fields))


def sections_in_lower_case(text: str) -> str:
    """Markdown whose links to sections have the anchors that Sphinx gives their headings."""
    return SECTION.sub(lambda match: f'<a href="#{match[2].lower()}">{match[1]}</a>', text)


def equations_as_pictures(text: str) -> str:
    """Markdown with each `$equation$` as a picture: MathJax would come from another host."""
    return EQUATION.sub(lambda match: _picture(match.group(1)), text)


def _picture(equation: str) -> str:
    """An equation as HTML with a picture in it; its text is the TeX."""
    figure = Figure(figsize=(0.01, 0.01))
    figure.text(0, 0, f"${equation}$", fontsize=13)
    with BytesIO() as drawn:
        figure.savefig(drawn, format="svg", transparent=True, bbox_inches="tight", pad_inches=0.03)
        data = base64.b64encode(drawn.getvalue()).decode()
    alt = html.escape(equation, quote=True)
    return f'<img class="equation" alt="{alt}" src="data:image/svg+xml;base64,{data}">'
