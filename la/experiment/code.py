"""Digests of the code that a number depends on, so that a result knows what computed it.

Comments, docstrings and annotations do not count: rewording a sentence changes no number.
Configurations do not count either, as each run and result is named by its own.
"""

import ast
import hashlib
from collections.abc import Iterable
from functools import cache
from pathlib import Path

PACKAGE = Path(__file__).resolve().parents[1]
TRAINING = ("rng.py", "types.py", "data", "model", "learn")
SCORING = (*TRAINING, "comparators", "experiment/methods.py", "experiment/job.py")
# What moves bytes or shows progress changes no number.
NOT_COUNTED = (
    "data/download.py",
    "data/transfer.py",
    "learn/checkpoints.py",
    "learn/cost.py",
    "learn/pretraining.py",
    "learn/states.py",
)


@cache
def training_code() -> str:
    """Twelve hex digits for the code that trains a model."""
    return code_digest(_files(TRAINING))


@cache
def scoring_code() -> str:
    """Twelve hex digits for the code that trains, fits and counts."""
    return code_digest(_files(SCORING))


def code_digest(paths: Iterable[Path]) -> str:
    """Twelve hex digits that change with any statement of these Python files."""
    whole = hashlib.sha256()
    for path in sorted(paths):
        tree = _Bare().visit(ast.parse(path.read_text(encoding="utf-8")))
        whole.update(f"{path.relative_to(PACKAGE)} {ast.dump(tree)}".encode())
    return whole.hexdigest()[:12]


class _Bare(ast.NodeTransformer):
    """Removes docstrings and annotations."""

    def generic_visit(self, node: ast.AST) -> ast.AST:
        super().generic_visit(node)
        body = getattr(node, "body", None)
        if isinstance(body, list) and body and _is_text(body[0]):
            del body[0]
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            node.returns = None
        if isinstance(node, ast.arg):
            node.annotation = None
        return node


def _is_text(node: ast.AST) -> bool:
    """Whether a statement is a string by itself, as a docstring is."""
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)


def _files(names: Iterable[str]) -> list[Path]:
    places = [PACKAGE / name for name in names]
    files = [path for place in places if place.is_dir() for path in place.rglob("*.py")]
    files += [place for place in places if not place.is_dir()]
    skipped = {PACKAGE / name for name in NOT_COUNTED}
    return [path for path in files if path not in skipped]
