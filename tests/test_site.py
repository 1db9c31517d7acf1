"""The site: every page is there, every link resolves, and nothing is loaded from elsewhere."""

import re
import subprocess
import sys
from pathlib import Path
from urllib.parse import unquote

import pytest

ROOT = Path(__file__).resolve().parent.parent
SITE = ROOT / "build" / "site"
LOADED = re.compile(r"<(?:script|link|img|iframe)[^>]*?(?:src|href)=\"([^\"]+)\"")
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
