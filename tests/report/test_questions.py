"""A stranger's ten questions: each has one link, and the link leads somewhere."""

import re
from pathlib import Path

import pytest

from la.report.questions import QUESTIONS, questions

ROOT = Path(__file__).resolve().parents[2]


def heading_anchors(path: Path) -> set[str]:
    """The anchors that a Markdown file has on the web."""
    titles = re.findall(r"^#+ (.+)$", path.read_text(encoding="utf-8"), re.M)
    return {re.sub(r"[^\w -]", "", title).lower().replace(" ", "-") for title in titles}


@pytest.mark.parametrize("page", ["", "results/quick"])
def test_ten_questions_have_a_link_that_leads_to_a_file_and_a_heading(page):
    links = re.findall(r"^- \[(.+)\]\((.+)\)$", questions(ROOT, page), re.M)
    assert [question for question, _ in links] == [question for question, _ in QUESTIONS]
    assert len(links) == 10
    for _, target in links:
        name, _, anchor = target.partition("#")
        path = (ROOT / page / name) if name else ROOT / "README.md"
        assert path.is_file(), target
        assert not anchor or anchor in heading_anchors(path), target


def test_the_rendered_page_is_linked_as_soon_as_it_is_there(tmp_path):
    assert "[Which method for 20 classes?](notebooks/table3.ipynb)" in questions(tmp_path)
    (tmp_path / "results" / "quick").mkdir(parents=True)
    (tmp_path / "results" / "quick" / "table3.ipynb").touch()
    assert "(results/quick/table3.ipynb)" in questions(tmp_path)
    assert "(../../results/quick/table3.ipynb)" in questions(tmp_path, "results/quick")
