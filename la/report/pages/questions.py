"""The questions of a first reader of the results, each with one link."""

from pathlib import Path

# A question, and the places that answer it; the first one that exists is linked.
QUESTIONS = (
    (
        "What is claimed, and does it hold here?",
        ("results/quick/summary.ipynb#Claims-and-verdicts", "notebooks/summary.ipynb"),
    ),
    (
        "How sure are the numbers?",
        ("results/quick/summary.ipynb#How-sure-the-numbers-are", "docs/scoring.md"),
    ),
    ("On what data?", ("docs/data.md#the-embedded-data-set-profile-quick",)),
    ("What is LA's weak spot?", ("results/quick/summary.ipynb",)),
    ("Which method for 20 classes?", ("results/quick/table3.ipynb", "notebooks/table3.ipynb")),
    ("How long does it take?", ("README.md#reproduce",)),
    ("How do I run it again?", ("README.md#reproduce",)),
    (
        "Where is the episode list behind a number?",
        ("results/quick/table2.ipynb#The-episode-list", "docs/scoring.md"),
    ),
    ("What has never been run?", ("README.md#what-has-never-run",)),
    ("Whom do I cite?", ("CITATION.cff",)),
)


def questions(root: Path, page: str = "") -> str:
    """All questions as a Markdown list of links.

    Args:
        root: of the checkout.
        page: the folder of the page that shows them, such as "results/quick"; "" is the root.
    """
    up = "../" * len(Path(page).parts)
    lines = []
    for question, places in QUESTIONS:
        there = [p for p in places if (root / p.partition("#")[0]).exists()]
        place = there[0] if there else places[-1]
        if not page:
            place = place.removeprefix("README.md")
        lines.append(f"- [{question}]({up}{place})\n")
    return "".join(lines)
