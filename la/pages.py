"""All tables of a profile together, and tables as Markdown pages in its results folder."""

import hashlib
import json
from collections.abc import Iterable, Sequence
from pathlib import Path

import pandas as pd

from la.data.atomic import atomic_write
from la.results import Cell, CellResult
from la.tables import TABLES, cells, plus_minus, prompts_of, published, scores

_PAPER_PROMPTS = {  # our words for prompts: the paper's rows of Table 5
    "masks": "Only masks",
    "boxes and points": "Boxes and points",
    "boxes": "Only boxes",
    "points": "Only points",
}


def all_cells(profile: str, **wanted) -> list[Cell]:
    """The cells of all tables, each once; `wanted` as for `tables.cells`."""
    return list(dict.fromkeys(c for name in TABLES for c in cells(name, profile, **wanted)))


def only(results: Iterable[CellResult], *names: str) -> list[CellResult]:
    """The results that belong to these tables."""
    few = {"folds": [0], "seeds": [0], "episodes": 1}
    kept = {_what(cell) for name in names for cell in cells(name, "quick", **few)}
    return [r for r in results if _what(r.cell) in kept]


def coverage(results: Iterable[CellResult], profile: str, **wanted) -> str:
    """How much of each table has been computed, as a Markdown list."""
    there = {r.cell for r in results}
    lines = []
    for name in TABLES:
        asked = cells(name, profile, **wanted)
        lines.append(f"- {name}: {sum(c in there for c in asked)} of {len(asked)} cells\n")
    return "".join(lines)


def summary(results: Iterable[CellResult]) -> pd.DataFrame:
    """Every setting once: ours with intervals; beside it, under its own header, the paper's.

    Only protocol `clean`; a setting printed in several of the paper's tables takes the first.

    Raises:
        ValueError: there is no result to show.
    """
    chosen = ("la+", "la", "threshold_prototype")
    wanted = [r for r in results if r.cell.protocol == "clean" and r.cell.method in chosen]
    if not wanted:
        raise ValueError("nothing has been computed yet; `make reproduce` computes all tables")
    prompts = [*_PAPER_PROMPTS]
    wanted.sort(
        key=lambda r: (
            prompts.index(prompts_of(r.cell)), r.cell.n_ways, r.cell.k_shots,
            chosen.index(r.cell.method),
        )
    )  # fmt: skip
    tidy = scores(wanted)
    tidy = tidy[tidy["fold"] == "mean"]
    lines: dict[tuple[str, str], dict[tuple[str, str], str]] = {}
    for line in tidy.itertuples():
        text = plus_minus(line.value, line.half_width)
        lines.setdefault((line.prompts, line.setting), {})["ours", line.method] = text
    paper = published().query("fold == 'mean'")
    for (prompts, setting), line in lines.items():
        for system in ("LA (SAM)", "LA (MAE)"):
            rows = {"masks": [system]}.get(prompts, [])
            rows += [_PAPER_PROMPTS[prompts]] if system == "LA (SAM)" else []
            hits = paper[(paper["setting"] == setting) & paper["row"].isin(rows)]["value"]
            line["the paper (COCO-20i)", system] = str(hits.iloc[0]) if len(hits) else ""
    frame = pd.DataFrame.from_dict(lines, orient="index").fillna("")
    frame.columns = pd.MultiIndex.from_tuples(frame.columns)
    return frame


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
    title = f"Results: {folder.name}" if name == "README" else name.capitalize()
    parts = [f"# {title}\n\n{headline}\n"]
    for heading, content in sections.items():
        parts.append(
            f"## {heading}\n\n{content if isinstance(content, str) else markdown(content)}"
        )
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


def _what(cell: Cell) -> tuple:
    return cell.method, cell.n_ways, cell.k_shots, cell.kinds, cell.protocol
