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
    """Every text in the code of `la` that is no docstring, with its place."""
    texts = []
    for path in sorted((REPOSITORY / "la").rglob("*.py")):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        for node in ast.walk(tree):
            if isinstance(node, ast.Expr):
                node.value = ast.Pass() if isinstance(node.value, ast.Constant) else node.value
        for node in ast.walk(tree):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                texts.append((f"{path.name}:{node.lineno}", node.value))
    return texts


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


def test_no_message_advises_no_class_at_all():
    for place, text in MESSAGES:
        assert "n_ways <= 0" not in text, place
