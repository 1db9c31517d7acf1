"""Numbers agree with their nouns, in every message that counts something."""

import ast
import re
from pathlib import Path

import pytest

from la.wording import counted, listed, numbered, plural

PACKAGE = Path(__file__).resolve().parent.parent / "la"
# Those that speak to people. The readers in la.data name at least the first three entries of
# whatever they count.
SPEAKING = ("commands", "experiment", "formats", "predict", "report", "widgets")
NOUNS = (
    "annotation",
    "box",
    "claim",
    "class",
    "core",
    "entry",
    "episode",
    "example",
    "fold",
    "image",
    "instance",
    "list",
    "measurement",
    "model",
    "photo",
    "photograph",
    "prompt",
    "query",
    "result",
    "setting",
    "step",
    "training",
)


@pytest.mark.parametrize(
    "number, noun, text",
    [
        (1, "class", "1 class"),
        (0, "class", "0 classes"),
        (2, "box", "2 boxes"),
        (1, "query", "1 query"),
        (3, "query", "3 queries"),
        (2, "day", "2 days"),
        (1, "test image", "1 test image"),
        (12, "test image", "12 test images"),
        (2, "batch", "2 batches"),
    ],
)
def test_a_number_agrees_with_its_noun(number, noun, text):
    assert counted(number, noun) == text


def uncounted(source: str) -> list[str]:
    """The f-strings of a file in which a whole number stands before a plural noun."""
    ending = "|".join(plural(noun) for noun in NOUNS)
    found = []
    for node in ast.walk(ast.parse(source)):
        if not isinstance(node, ast.JoinedStr):
            continue
        for number, text in zip(node.values, node.values[1:], strict=False):
            is_number = isinstance(number, ast.FormattedValue) and number.format_spec is None
            follows = isinstance(text, ast.Constant) and str(text.value)
            if (
                is_number
                and follows
                and re.match(rf" (?!(?:as|from|of) )(\w+ )?({ending})\b", follows)
            ):
                found.append(ast.unparse(node))
    return found


@pytest.mark.parametrize(
    "source, n_found",
    [
        ('f"{n} classes"', 1),
        ('f"of {len(images)} test images"', 1),
        ('f"{share:.1f} images a second"', 0),
        ("f\"{counted(n, 'class')} are there\"", 0),
        ('f"{path} has the value"', 0),
    ],
)
def test_a_plural_after_any_number_is_found(source, n_found):
    assert len(uncounted(source)) == n_found


def test_no_message_says_1_classes():
    found = {}
    for folder in SPEAKING:
        for path in sorted((PACKAGE / folder).rglob("*.py")):
            texts = uncounted(path.read_text(encoding="utf-8"))
            if texts:
                found[path.relative_to(PACKAGE).as_posix()] = texts
    assert found == {}


def test_one_thing_has_its_number_and_several_are_counted():
    assert numbered("fold", [0]) == "fold 0" and numbered("fold", {3}) == "fold 3"
    assert numbered("fold", [0, 2]) == "2 folds"


@pytest.mark.parametrize(
    "names, text",
    [("", ""), ("a", "a"), ("abc", "a, b, c"), ("abcd", "a, b, c and 1 more")],
)
def test_a_long_list_names_the_first_and_counts_the_others(names, text):
    assert listed(names) == text
    assert listed(names, most=4) == ", ".join(names)
