"""A profile's results folder as Markdown pages: what is there, in tables, and where it is from."""

import hashlib
import json
from collections.abc import Iterable, Sequence
from pathlib import Path

import pandas as pd

from la.experiment.code import scoring_code
from la.experiment.measurements import Measurement, Result
from la.files import write_whole
from la.report.notebooks import plan_of
from la.report.tables import TABLES


def asked(profile: str, **wanted) -> dict[str, list[Measurement]]:
    """The cells of each table's notebook; what is None is as the notebook has it."""
    given = {name: value for name, value in wanted.items() if value is not None}
    return {name: plan_of(name, profile, given)[1] for name in TABLES}


def contents(
    folder: Path, cells: dict[str, list[Measurement]], results: Iterable[Result]
) -> pd.DataFrame:
    """The notebooks of a results folder: a link to each that was run, and its cells that exist."""
    there, rows = {r.measurement for r in results}, {}
    for name, wanted in cells.items():
        path = folder / f"{name}.ipynb"
        first = path.exists() and json.loads(path.read_text())["cells"][0]["source"]
        title = "".join(first).splitlines()[0].lstrip("# ") if first else ""
        count = f"{sum(cell in there for cell in wanted)} of {len(wanted)}"
        rows[name] = f"[{title}]({path.name})" if first else "not run yet", count
    return pd.DataFrame.from_dict(rows, orient="index", columns=["notebook", "cells"])


def provenance(results: Sequence[Result]) -> pd.DataFrame:
    """What a reader needs to make the numbers again, one line a fact.

    A fact in which the results differ lists every value that stands behind the page.
    """
    lists = {_list_of(r.measurement): r.episodes_sha256 for r in results}
    models = {}
    for r in results:
        m = r.measurement
        models[m.method, m.fold, m.seed] = r.checkpoint_sha256
    outdated = sum(r.code != scoring_code() for r in results)
    facts: dict[str, object] = {
        "data": _all(r.data for r in results),
        "episodes of a list": _all(r.measurement.episodes for r in results),
        "seeds": _all(r.measurement.seed for r in results),
        "protocol": _all(r.measurement.protocol for r in results),
        "episode lists (SHA-256 of all)": _sha256(lists),
        "checkpoints (SHA-256 of all)": _sha256(models),
        "minutes of evaluation": round(sum(r.seconds for r in results) / 60, 1),
        "scoring code": _all(r.code for r in results),
    }
    if outdated:
        facts["made by other code than today's"] = (
            f"{outdated} of {len(results)} results; RECOMPUTE=1 computes them again"
        )
    for name in results[0].provenance:
        facts[name] = _all(r.provenance.get(name, "unknown") for r in results)
    return pd.DataFrame({"": facts.values()}, index=list(facts))


def _list_of(m: Measurement) -> tuple[object, ...]:
    """What names an episode list."""
    return m.setting, m.kinds, m.protocol, m.classes, m.fold, m.seed, m.episodes


def _all(values: Iterable[object]) -> str:
    """Every different value, in order."""
    return ", ".join(str(value) for value in sorted(set(values), key=str))


def markdown(frame: pd.DataFrame) -> str:
    """The frame as a Markdown table; headers of two rows are joined, NaN is empty."""
    frame = frame.astype(object).where(frame.notna(), "")
    keys = [key if isinstance(key, tuple) else (key,) for key in frame.index]
    names = [c if isinstance(c, tuple) else (c,) for c in frame.columns]
    rows = [
        [*(name or "" for name in frame.index.names), *(" ".join(n).strip() for n in names)],
        ["---"] * (frame.index.nlevels + len(names)),
        *([*key, *values] for key, values in zip(keys, frame.to_numpy(), strict=True)),
    ]
    return "".join("| " + " | ".join(map(str, row)) + " |\n" for row in rows)


def write_page(
    folder: Path, name: str, headline: str, sections: dict[str, pd.DataFrame | str]
) -> Path:
    """`<name>.md` in a results folder: a headline, then each section's table or text."""
    title = f"Results: {folder.name}" if name == "README" else name.capitalize()
    text = f"# {title}\n\n{headline}\n"
    for heading, content in sections.items():
        if not isinstance(content, str):
            content = markdown(content) if len(content) else "Not run yet.\n"
        text += f"\n## {heading}\n\n{content}"
    path = folder / f"{name}.md"
    write_whole(path, text)
    return path


def _sha256(values: dict) -> str:
    return hashlib.sha256(repr(sorted(values.items())).encode()).hexdigest()[:16]
