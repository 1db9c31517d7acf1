"""The site: every page is there, every link resolves, and nothing is loaded from elsewhere."""

import json
import re
import subprocess
import sys
from pathlib import Path
from urllib.parse import unquote

import pytest
from axe_playwright_python.base import AXE_FILE_PATH

from la.report.pages.questions import QUESTIONS

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "docs"))
from site_links import Links, equations_as_pictures, sections_in_lower_case
from site_mend import mend

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parent.parent
SITE = ROOT / "build" / "site"
LOADED = re.compile(r"<(?:script|link|img|iframe)[^>]*?(?:src|href)=\"([^\"]+)\"")
AXE = """async () => {
    const { violations } = await axe.run(document);
    const grave = violations.filter((v) => ["serious", "critical"].includes(v.impact));
    return grave.map((v) => [v.id, v.nodes.map((node) => node.html)]);
}"""
CUT = """() => {
    const scrolls = (node) => ["auto", "scroll"].includes(getComputedStyle(node).overflowX);
    const isCut = (node) => {
        const { width, right } = node.getBoundingClientRect();
        if (!width || right <= innerWidth + 1) return false;
        for (let box = node; box; box = box.parentElement) if (scrolls(box)) return false;
        return true;
    };
    return [...document.querySelectorAll("table, pre, img")].filter(isCut).length;
}"""
ANCHOR = re.compile(r"<a [^>]*?href=\"([^\"]+)\"")


@pytest.fixture(scope="module")
def pages() -> dict[Path, str]:
    """The text of every HTML page, built as `make site` builds it: any warning fails."""
    done = subprocess.run(
        [sys.executable, "docs/site.py"], cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return {path: path.read_text(encoding="utf-8") for path in SITE.rglob("*.html")}


def test_every_rendered_notebook_and_document_is_a_page(pages):
    notebooks = [path for path in ROOT.glob("results/*/*.ipynb") if ".partial" not in path.name]
    documents = list(ROOT.glob("docs/*.md"))
    assert notebooks and documents
    for path in (*notebooks, *documents):
        assert (SITE / path.relative_to(ROOT)).with_suffix(".html") in pages
    assert "most of it PyTorch" in pages[SITE / "index.html"]  # the README is the front page


def test_nothing_is_loaded_from_another_host(pages):
    loaded = {address for text in pages.values() for address in LOADED.findall(text)}
    assert loaded and not [address for address in loaded if re.match("(https?:)?//", address)]


def test_every_link_leads_to_a_file_and_an_anchor_of_the_site(pages):
    broken = []
    for page, text in pages.items():
        for address in {*ANCHOR.findall(text), *LOADED.findall(text)}:
            if re.match("https?:|mailto:|data:", address):
                continue
            name, _, anchor = unquote(address).partition("#")
            target = (page.parent / name.split("?")[0]).resolve() if name else page
            has_anchor = not anchor or f'id="{anchor}"' in pages.get(target, "")
            if not target.exists() or not has_anchor:
                broken.append((page.name, address))
    assert not broken


def grave_findings(page, paths: list[Path], width: int) -> dict[str, list]:
    """What axe-core finds on pages of this width in pixels, by page; without what is not grave."""
    page.set_viewport_size({"width": width, "height": 900})
    axe, grave = AXE_FILE_PATH.read_text(), {}
    for path in paths:
        page.goto(path.as_uri())
        page.evaluate(axe)
        if found := page.evaluate(AXE):
            grave[path.name] = found
    return grave


@pytest.mark.browser
def test_the_accessibility_check_has_no_serious_findings(pages, page):
    """Every page as wide as a phone, where most has to scroll; pages of lines are alike.

    The markup is the same at every width. A wide window adds the navigation, which is the same
    on all pages, and shows tables as tables: two pages, of which one has the longest tables.
    """
    of_lines = (".py.html", ".jsonl.html", ".csv.html")
    shown = [path for path in pages if not path.name.endswith(of_lines)]
    shown += [next(path for path in pages if path.name.endswith(kind)) for kind in of_lines]
    assert not grave_findings(page, shown, width=400)
    wide = [SITE / "index.html", SITE / "results" / "quick" / "table2.html"]
    assert not grave_findings(page, wide, width=1200)


@pytest.mark.browser
def test_the_accessibility_check_finds_a_picture_without_a_text(tmp_path, page):
    path = tmp_path / "page.html"
    path.write_text('<html lang="en"><title>a</title><main><h1>a</h1><img src="a.png"></main>')
    ((rule, _),) = grave_findings(page, [path], width=400)["page.html"]
    assert rule == "image-alt"


@pytest.mark.browser
def test_no_page_is_wider_than_a_phone(pages, page):
    page.set_viewport_size({"width": 400, "height": 900})
    wide = []
    cut = []
    for path in pages:
        page.goto(path.as_uri())
        if page.evaluate("document.documentElement.scrollWidth") > 400:
            wide.append(path.name)
        if page.evaluate(CUT):  # what is wider scrolls in a box of its own
            cut.append(path.name)
    assert not wide and not cut


def test_a_linked_source_line_is_an_anchor_of_a_page(tmp_path):
    root, site = tmp_path / "root", tmp_path / "site"
    page = root / "results" / "quick" / "table1.ipynb"
    for name, text in {"la/model.py": "x = 1 < 2\ny = 2\n", "results/quick/a.csv": "1\n"}.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    links = Links(root)
    text = links.rewrite("| [line 2](../../la/model.py#L2) | [rows](a.csv) | [b](b.md) |", page)
    assert text == (
        '| <a href="../../la/model.py.html#L2">line 2</a> | <a href="a.csv">rows</a> | [b](b.md) |'
    )
    links.write_files(site)
    source = (site / "la" / "model.py.html").read_text()
    assert '<span id="L2">    2  y = 2</span>' in source and "1 &lt; 2" in source
    assert (site / "results" / "quick" / "a.csv").read_text() == "1\n"


def test_linked_lines_of_stored_counts_are_a_page_that_begins_with_the_score(tmp_path):
    root, site = tmp_path / "root", tmp_path / "site"
    page = root / "results" / "table1.ipynb"
    page.parent.mkdir(parents=True)
    stored = {"confusion": "c" * 500, "measurement": {"method": "la"}, "miou_star": 0.25}
    (page.parent / "a.jsonl").write_text(f"{json.dumps(stored)}\n" * 3)
    (page.parent / "b.csv").write_text("seed\n0\n")
    links = Links(root)
    text = links.rewrite("[lines 2 to 3](a.jsonl#L2-L3) [line 2](b.csv#L2)", page)
    assert text == ('<a href="a.jsonl.html#L2">lines 2 to 3</a> <a href="b.csv.html#L2">line 2</a>')
    links.write_files(site)
    lines = (site / "results" / "a.jsonl.html").read_text()
    assert '<span id="L2">    2  {&quot;miou_star&quot;: 0.25, &quot;measurement&quot;' in lines
    assert "c" * 80 not in lines and '<a href="a.jsonl">the file</a>' in lines
    assert (site / "results" / "a.jsonl").read_text().count("c" * 500) == 3
    assert '<span id="L2">    2  0</span>' in (site / "results" / "b.csv.html").read_text()


def test_a_heading_of_another_page_is_linked_as_the_site_names_it(tmp_path):
    page = tmp_path / "results" / "quick" / "table2.ipynb"
    page.parent.mkdir(parents=True)
    page.touch()
    text = "[x](results/quick/table2.ipynb#The-episode-list)"
    linked = Links(tmp_path).rewrite(text, tmp_path / "README.md")
    assert linked == "[x](results/quick/table2.ipynb#the-episode-list)"


def test_links_to_pages_pictures_and_hosts_are_left_as_they_are(tmp_path):
    (tmp_path / "a.png").touch()
    text = "![x](a.png) [y](missing.py) [z](https://example.org/a.py)"
    assert Links(tmp_path).rewrite(text, tmp_path / "page.md") == text


def test_a_link_to_a_section_has_the_anchor_of_its_heading():
    text = "[a](#From-a-number-to-its-source) [b](other.md#Part)"
    assert sections_in_lower_case(text) == (
        '<a href="#from-a-number-to-its-source">a</a> [b](other.md#Part)'
    )


def test_a_picture_with_a_width_is_copied_beside_the_page(tmp_path):
    (tmp_path / "a.png").write_bytes(b"png")
    links = Links(tmp_path)
    text = '<img src="a.png" width="420" alt="x">'
    assert links.rewrite(text, tmp_path / "README.md") == text
    links.write_files(tmp_path / "site")
    assert (tmp_path / "site" / "a.png").read_bytes() == b"png"


def test_an_equation_is_a_picture_with_its_text():
    shown = equations_as_pictures(r"the sum $F_x \cdot E_n$ (Eq. 5)")
    assert shown.startswith(
        'the sum <img class="equation" alt="F_x \\cdot E_n" src="data:image/svg'
    )
    assert shown.endswith('"> (Eq. 5)')


def test_what_scrolls_can_be_reached_and_headings_have_levels():
    page = '<p class="caption" role="heading">A</p><pre>b</pre><th></th><td><p>1 ± 2</p></td>'
    page += "<th>2-way 1-shot</th>"
    assert mend(page) == (
        '<p class="caption" role="heading" aria-level="2">A</p><pre tabindex="0">b</pre><td></td>'
        "<td><p>1&nbsp;±&nbsp;2</p></td>"
        '<th><span class="setting">2-way 1-shot</span></th>'
    )


def test_cells_of_a_table_with_sentences_carry_the_names_of_their_columns():
    long = f"<td><p>{80 * 'a'}</p></td>"
    head = "<thead><tr><th><p>claim</p></th><th><p>found</p></th></tr></thead>"
    table = f"<table>{head}<tbody><tr><td><p>x</p></td>{long}</tr></tbody></table>"
    shown = mend(table)
    assert '<td data-name="claim"><p>x</p>' in shown
    assert '<td data-name="found" class="long">' in shown
    assert mend(table.replace(80 * "a", "short")) == table.replace(80 * "a", "short")


def test_no_equation_is_left_to_a_script(pages):
    assert not [
        path.name for path, text in pages.items() if "\\mathrm{" in text and "<img" not in text
    ]


def test_ten_questions_are_links_of_the_front_page(pages):
    front = pages[SITE / "index.html"]
    for question, _ in QUESTIONS:
        assert re.search(
            rf'<a [^>]*href="[^"]+"[^>]*>(<span[^>]*>)?{re.escape(question)}',
            front.replace("’", "'"),
        ), question
