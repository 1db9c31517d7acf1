"""Tables as Markdown pages in a results folder, with where their numbers come from."""

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from la.data.atomic import atomic_write
from la.results import CellResult


def provenance(results: Sequence[CellResult]) -> pd.DataFrame:
    """What a reader needs to make the numbers again, one line a fact."""
    one = results[0]
    lists = {(r.cell.setting, r.cell.fold, r.cell.seed): r.episodes_sha256 for r in results}
    models = {(r.cell.method, r.cell.fold): r.checkpoint_sha256 for r in results}
    facts = {
        "data": one.data,
        "episodes of a list": one.cell.episodes,
        "seeds": sorted({r.cell.seed for r in results}),
        "protocol": one.cell.protocol,
        "episode lists (SHA-256 of all)": _sha256(lists),
        "checkpoints (SHA-256 of all)": _sha256(models),
        "minutes of evaluation": round(sum(r.seconds for r in results) / 60, 1),
    } | one.provenance
    return pd.DataFrame({"": facts.values()}, index=list(facts))


def markdown(frame: pd.DataFrame) -> str:
    """The frame as a Markdown table; headers of two rows are joined, NaN is empty."""
    columns = [" ".join(c).strip() if isinstance(c, tuple) else str(c) for c in frame.columns]
    rows = [[*(n or "" for n in frame.index.names), *columns]]
    rows.append(["---"] * len(rows[0]))
    for key, values in zip(frame.index, frame.itertuples(index=False), strict=True):
        cells = [*(key if isinstance(key, tuple) else (key,)), *values]
        rows.append(["" if cell != cell else str(cell) for cell in cells])
    return "".join("| " + " | ".join(row) + " |\n" for row in rows)


def write_page(
    folder: Path, name: str, headline: str, sections: dict[str, pd.DataFrame | str]
) -> Path:
    """`<name>.md` in a results folder: a headline, then each section's table or text."""
    parts = [f"# {name.capitalize()}\n\n{headline}\n"]
    for title, content in sections.items():
        parts.append(f"## {title}\n\n{content if isinstance(content, str) else markdown(content)}")
    path = folder / f"{name}.md"
    with atomic_write(path) as file:
        file.write("\n".join(parts).encode())
    return path


def links(folder: Path) -> str:
    """A Markdown list of the executed notebooks in a results folder, each by its first heading."""
    lines = []
    for path in sorted(folder.glob("*.ipynb")):
        if path.stem.count(".") == 0:  # neither .partial nor .failed
            first = "".join(json.loads(path.read_text())["cells"][0]["source"]).splitlines()[0]
            lines.append(f"- [{first.lstrip('# ')}]({path.name})\n")
    return "".join(lines)


def _sha256(values: dict) -> str:
    return hashlib.sha256(repr(sorted(values.items())).encode()).hexdigest()[:16]
