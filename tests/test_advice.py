"""What messages advise exists: options, commands, variables of make and of the environment."""

import ast
import re
from pathlib import Path

import typer

import la.__main__  # noqa: F401  it registers the commands
from la.commands.app import app

REPOSITORY = Path(__file__).resolve().parent.parent
COMMANDS = typer.main.get_command(app).commands
OTHERS = {  # options of other programs, and the placeholder of an option's help
    "--IPKernelApp",
    "--force-reinstall",
    "--local-dir",
    "--short",
    "NAME",
}


def messages() -> list[tuple[str, str]]:
    """Every text in the code of `la` that is no docstring, with its place.

    What an f-string inserts is 1.
    """
    texts = []
    for path in sorted((REPOSITORY / "la").rglob("*.py")):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        parts = set()
        for node in ast.walk(tree):
            if isinstance(node, ast.Expr):
                node.value = ast.Pass() if isinstance(node.value, ast.Constant) else node.value
            if isinstance(node, ast.JoinedStr):
                parts.update(map(id, node.values))
        for node in ast.walk(tree):
            text = _text(node)
            if text is not None and id(node) not in parts:
                place = path.relative_to(REPOSITORY / "la").as_posix()
                texts.append((f"{place}:{node.lineno}", text))
    return texts


def _text(node: ast.AST) -> str | None:
    if isinstance(node, ast.JoinedStr):
        return "".join(_text(part) or "1" for part in node.values)
    is_text = isinstance(node, ast.Constant) and isinstance(node.value, str)
    return node.value if is_text else None


MESSAGES = messages()


def unknown(pattern: str, known: set[str]) -> list[tuple[str, str]]:
    """The matches of a pattern in messages that are not among the known words."""
    return [
        (place, word)
        for place, text in MESSAGES
        for word in re.findall(pattern, text)
        if word not in known | OTHERS
    ]


def test_every_option_that_a_message_names_is_one_of_a_command():
    options = {name for c in COMMANDS.values() for p in c.params for name in p.opts}
    assert {"--ways", "--data", "--support", "--episodes"} <= options
    assert unknown(r"(?<![\w-])--[A-Za-z][\w-]*", options) == []


def test_every_command_that_a_message_names_exists():
    said = unknown(r"(?:python -m la|`la) ([a-z][a-z-]*)", set(COMMANDS))
    assert said == []


def test_every_variable_that_a_message_sets_exists():
    makefile = (REPOSITORY / "Makefile").read_text()
    variables = set(re.findall(r"^([A-Z]+) *[?:]?=", makefile, flags=re.M))
    code = "\n".join(path.read_text() for path in (REPOSITORY / "la").rglob("*.py"))
    variables |= set(re.findall(r"environ[^\n]*\"(LA_[A-Z_]+)\"", code))
    variables |= {"LA_COCO", "LA_CPU"} & set(re.findall(r"LA_[A-Z]+", code))
    assert {"DATA", "RECOMPUTE", "EPISODES"} <= variables
    assert unknown(r"(?<![\w.])([A-Z][A-Z_]{3,})=", variables) == []


COMMAND = re.compile(r"python -m la ([a-z][a-z-]*)((?: [^`;,\"]+)?)")


def test_a_command_that_a_message_writes_out_has_its_options():
    n_options = 0
    for place, text in MESSAGES:
        for name, words in COMMAND.findall(text):
            known = {option for p in COMMANDS[name].params for option in p.opts}
            options = re.findall(r"(?<![\w-])--?[a-z][\w-]*", words)
            assert set(options) <= known, (place, text)
            n_options += len(options)
    assert n_options >= 3


OPTION_OF = {  # of the variables of make that stand for an option
    "DATA": "--data",
    "EPISODES": "--episodes",
    "FOLDS": "--folds",
    "METHODS": "--methods",
    "PROFILE": "--profile",
    "RECOMPUTE": "--recompute",
    "SEEDS": "--seeds",
    "UNSEEN": "--unseen",
}


def test_who_reads_of_a_variable_of_make_reads_of_the_option_too():
    """Pages speak of make alone, which makes them; code whose digest is stored is left as it is."""
    found = 0
    for place, text in MESSAGES:
        if place.startswith(("report/", "learn/")) or text.startswith("PROFILE=auto is"):
            continue
        for name in re.findall(r"(?<![\w.])([A-Z]{4,})=", text):
            if name in OPTION_OF:
                assert OPTION_OF[name] in text, (place, text)
                found += 1
    assert found >= 5


def test_every_document_that_a_message_names_exists():
    names = set()
    for _, text in MESSAGES:
        names |= set(re.findall(r"(?<![\w.])(?:docs/)?[A-Za-z_]+\.(?:md|ipynb)\b", text))
    assert {"docs/data.md", "draw_prompts.ipynb"} <= names
    for name in names:
        assert any((REPOSITORY / folder / name).exists() for folder in (".", "notebooks")), name


def test_no_message_advises_no_class_at_all():
    for place, text in MESSAGES:
        assert "n_ways <= 0" not in text, place
