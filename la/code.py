"""Digests of the code that a number depends on; each result stores the digest of its code.

Comments, docstrings and annotations do not count: rewording a sentence changes no number.
Configurations do not count either, because the name of a run or result contains its own.

A digest changes with every statement, so a refactor makes stored results look outdated.
`make verify ACCEPT=1` computes a table again and, if every count is equal, adds the pair of digests
to `equal_code.txt`: results of the older code then count as current.
"""

import ast
import hashlib
from collections.abc import Iterable
from functools import cache
from pathlib import Path

PACKAGE = Path(__file__).resolve().parent
EQUAL = PACKAGE / "equal_code.txt"
TRAINING = ("rng.py", "types.py", "data", "model", "learn")
LEARNED = PACKAGE / "comparators" / "learned.py"  # what every trained comparator imports
COUNTING = (
    "rng.py",
    "types.py",
    "data",
    "learn/device.py",
    "learn/evaluation.py",
    "learn/metrics.py",
    "learn/precision.py",
    "experiment/scoring.py",
)
# No number of a table depends on these: they move bytes, measure time, or run elsewhere.
NOT_COUNTED = (
    "data/download.py",
    "data/transfer.py",
    "learn/adaptation.py",
    "learn/cost.py",
    "learn/pretraining.py",
    "learn/weights",
)


@cache
def training_code(module: str = "") -> str:
    """Twelve hex digits for the code that trains a model.

    Args:
        module: the module of `la` that defines a comparator; "" for Label Anything.
    """
    return code_digest(set(_files(TRAINING) + _imported_by(module)))


@cache
def scoring_code(module: str) -> str:
    """Twelve hex digits for the code that fits and counts a method.

    Args:
        module: the module of `la` that defines a comparator; "" for Label Anything. The number
            of a trained method also depends on the code that trains it.
    """
    own_files = _imported_by(module)
    is_trained = not module or LEARNED in own_files
    files = _files(COUNTING) + own_files
    if is_trained:
        files += _files(TRAINING)
    return code_digest(set(files))


def is_todays(digest: str, today: str) -> bool:
    """Whether code of this digest gives the numbers of today's code, as `equal_code.txt` says."""
    return digest in _equal_to(today)


def accept(digest: str, today: str, evidence: str) -> None:
    """Add to `equal_code.txt` that code of two digests gives equal numbers."""
    with EQUAL.open("a", encoding="utf-8") as file:
        file.write(f"{digest} {today} {evidence}\n")
    _equal_to.cache_clear()


@cache
def _equal_to(today: str) -> frozenset[str]:
    """Digests whose code gives the numbers of today's, directly or by way of other digests."""
    pairs = [line.split()[:2] for line in EQUAL.read_text(encoding="utf-8").splitlines()]
    equal = {today}
    for _ in pairs:  # as many rounds as the longest chain can need
        for pair in pairs:
            if not equal.isdisjoint(pair):
                equal.update(pair)
    return frozenset(equal)


def code_digest(paths: Iterable[Path]) -> str:
    """Twelve hex digits that change with any statement of these Python files.

    They are the same under every version of Python.
    """
    whole = hashlib.sha256()
    for path in sorted(paths):
        statements = _statements(path.read_text(encoding="utf-8"))
        whole.update(f"{path.relative_to(PACKAGE)} {statements}".encode())
    return whole.hexdigest()[:12]


@cache
def _statements(code: str) -> str:
    """The statements of Python code as text, without docstrings and annotations."""
    return _text_of(_Bare().visit(ast.parse(code)))


def _text_of(node: object) -> str:
    """A syntax tree as text; `ast.dump` writes empty fields in some versions of Python only."""
    if isinstance(node, list):
        return f"[{', '.join(_text_of(item) for item in node)}]"
    if not isinstance(node, ast.AST):
        return repr(node)
    fields = []
    for name, value in ast.iter_fields(node):
        if value is not None and value != []:
            fields.append(f"{name}={_text_of(value)}")
    return f"{type(node).__name__}({', '.join(fields)})"


class _Bare(ast.NodeTransformer):
    """Removes docstrings, annotations, and what only some versions of Python add."""

    def generic_visit(self, node: ast.AST) -> ast.AST:
        super().generic_visit(node)
        body = getattr(node, "body", None)
        if isinstance(body, list) and body and _is_text(body[0]):
            del body[0]
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            node.returns = None
        if isinstance(node, ast.arg):
            node.annotation = None
        if isinstance(node, ast.JoinedStr):  # Python 3.12 ends format specifications with ""
            node.values = [value for value in node.values if not _is_empty_text(value)]
        return node


def _is_text(node: ast.AST) -> bool:
    """Whether a statement is only a string, like a docstring."""
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)


def _is_empty_text(node: ast.AST) -> bool:
    return isinstance(node, ast.Constant) and node.value == ""


def _files(names: Iterable[str]) -> list[Path]:
    places = [PACKAGE / name for name in names]
    files = [path for place in places if place.is_dir() for path in place.rglob("*.py")]
    files += [place for place in places if not place.is_dir()]
    skipped = [PACKAGE / name for name in NOT_COUNTED]
    return [file for file in files if not any(map(file.is_relative_to, skipped))]


def _imported_by(module: str) -> list[Path]:
    """The files of a module of `la` and of the comparators that it imports, directly or not."""
    files: list[Path] = []
    modules = [module]
    for name in modules:
        path = PACKAGE.parent / f"{name.replace('.', '/')}.py"
        if not path.is_file():
            continue  # a user's own method, outside of the package
        files.append(path)
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            imported = node.module if isinstance(node, ast.ImportFrom) else None
            if imported and imported.startswith("la.comparators.") and imported not in modules:
                modules.append(imported)
    return files
