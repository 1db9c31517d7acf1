"""A stranger's ten questions: each has one link, and the link leads somewhere."""

import json
import re
from pathlib import Path

import pytest

from la.report.pages.questions import QUESTIONS, questions

ROOT = Path(__file__).resolve().parents[2]


def heading_anchors(path: Path) -> set[str]:
    """The anchors that a Markdown file has on the web."""
    titles = re.findall(r"^#+ (.+)$", path.read_text(encoding="utf-8"), re.M)
    return {re.sub(r"[^\w -]", "", title).lower().replace(" ", "-") for title in titles}


def headings_of_notebook(path: Path) -> set[str]:
    """The anchors of a rendered page: those of the notebook that it is made from."""
    cells = json.loads((ROOT / "notebooks" / path.name).read_text(encoding="utf-8"))["cells"]
    texts = ["".join(cell["source"]) for cell in cells if cell["cell_type"] == "markdown"]
    titles = re.findall(r"^#+ (.+)$", "\n".join(texts), re.M)
    return {title.replace(" ", "-") for title in titles}


@pytest.mark.parametrize("page", ["", "results/quick"])
def test_ten_questions_have_a_link_that_leads_to_a_file_and_a_heading(page):
    links = re.findall(r"^- \[(.+)\]\((.+)\)$", questions(ROOT, page), re.M)
    assert [question for question, _ in links] == [question for question, _ in QUESTIONS]
    assert len(links) == 10
    for _, target in links:
        name, _, anchor = target.partition("#")
        path = (ROOT / page / name) if name else ROOT / "README.md"
        assert path.is_file(), target
        is_notebook = path.suffix == ".ipynb"
        anchors = headings_of_notebook(path) if is_notebook else heading_anchors(path)
        assert not anchor or anchor in anchors, target


def after_heading(path: Path, anchor: str) -> str:
    """What follows a heading of a document or of a notebook's source, about a screen of it."""
    text = path.read_text(encoding="utf-8")
    if path.suffix == ".ipynb":
        text = "\n\n".join("".join(cell["source"]) for cell in json.loads(text)["cells"])
    for heading in re.finditer(r"^#+ (.+)$", text, re.M):
        title = heading.group(1).replace(" ", "-")
        if anchor in (title, re.sub(r"[^\w-]", "", title).lower()):
            return text[heading.end() :][:1500]
    raise AssertionError(f"{path.name} has no heading {anchor}")


@pytest.mark.parametrize(
    ("question", "answer"),
    [
        ("What is claimed, and does it hold here?", "la.shown(claims)"),
        ("How sure are the numbers?", "la.differences("),
        ("On what data?", "80 classes"),
        ("How long does it take?", "| minutes |"),
        ("How do I run it again?", "`make reproduce-table2` computes Table 2"),
        ("Where is the episode list behind a number?", "la.first_list("),
        ("What has never been run?", "several GPUs"),
    ],
)
def test_a_question_is_answered_where_its_link_leads(question, answer):
    place = dict(QUESTIONS)[question][0]
    name, _, anchor = place.partition("#")
    path = ROOT / name.replace("results/quick", "notebooks")
    assert answer in after_heading(path, anchor)


def test_the_rendered_page_is_linked_as_soon_as_it_is_there(tmp_path):
    assert "[Which method for 20 classes?](notebooks/table3.ipynb)" in questions(tmp_path)
    (tmp_path / "results" / "quick").mkdir(parents=True)
    (tmp_path / "results" / "quick" / "table3.ipynb").touch()
    assert "(results/quick/table3.ipynb)" in questions(tmp_path)
    assert "(../../results/quick/table3.ipynb)" in questions(tmp_path, "results/quick")
