"""Links from a number to its origin: source line, stored counts, episode lists."""

import inspect
import json
import shlex
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import pandas as pd

from la.code import PACKAGE
from la.config import ModelConfig
from la.experiment.methods import KNOWN, label
from la.experiment.setup import held_out
from la.experiment.setup.measurements import Measurement, Result
from la.experiment.setup.workbench import Workbench
from la.files import write_whole
from la.model.label_anything import LabelAnything
from la.report.scores.tables import prompts_of
from la.types import PromptKind


def sources(bench: Workbench, table: str, results: Sequence[Result]) -> pd.DataFrame:
    """A row per number with links: notebook, code, the lines of its counts, and episode lists.

    A number is the score of a method in one setting with one kind of prompts. The lists are
    written to `<table>_lists.csv` in the results of the profile.

    Args:
        table: the name of the notebook, and of the file of its results in `measurements/`.
    """
    folder = bench.results
    lists = f"{table}_lists.csv"
    of_table = episode_lists(bench, results)
    write_whole(folder / lists, of_table.to_csv(index=False))
    list_rows = of_table.reset_index(drop=True).groupby(["prompts", "setting"]).indices
    stored = f"measurements/{table}.jsonl"
    lines = _lines(folder / stored)
    rows = {}
    for r in results:
        m = r.measurement
        column = (prompts_of(m), m.setting)
        counts = lines.get((m.method, *column), [])
        # The header is the first line of the file.
        listed = [int(number) + 2 for number in list_rows[column]]
        rows[label(m.method), *column] = {
            "notebook": f"[{table}](../../notebooks/{table}.ipynb)",
            "computed by": source_link(folder, m.method),
            "pixel counts": _line_links(stored, counts) if counts else "not stored",
            "episode lists": _line_links(lists, listed),
        }
    frame = pd.DataFrame.from_dict(rows, orient="index")
    frame.index = pd.MultiIndex.from_tuples(list(rows), names=[None, "prompts", "setting"])
    has_one_kind = frame.index.get_level_values("prompts").nunique() == 1
    return frame.droplevel("prompts") if has_one_kind else frame


def tables_of(
    folder: Path,
    planned: Mapping[str, Sequence[Measurement]],
    columns: Iterable[tuple[str, str]],
) -> list[str]:
    """The first table that has each pair of prompts and setting, as a link to its page.

    Args:
        folder: a profile's results.
        planned: the measurements of each table, by its name.
    """
    tables: dict[tuple[str, str], str] = {}
    for name, measurements in planned.items():
        for m in measurements:
            tables.setdefault((prompts_of(m), m.setting), name)
    links = []
    for column in columns:
        name = tables[column]
        page = f"{name}.ipynb"
        links.append(f"[{name}]({page})" if (folder / page).exists() else name)
    return links


def episode_lists(bench: Workbench, results: Iterable[Result]) -> pd.DataFrame:
    """A row per list of episodes: what was drawn, its digest, and the command that prints it.

    A command names the folder of the user's own data without the folders above it.
    """
    where = f" --profile {bench.config.profile}"
    if bench.source is not None:
        where += f" --data {shlex.quote(bench.data.name)}"
    if bench.unseen:
        where += f" --unseen {shlex.quote(held_out.as_option(bench.unseen))}"
    rows = []
    for r in results:
        m = r.measurement
        kinds = "+".join(kind.value for kind in m.kinds)
        command = f"python -m la episodes{where} --fold {m.fold} --ways {m.n_ways}"
        command += f" --shots {m.k_shots} --seed {m.seed} --episodes {m.episodes} --prompts {kinds}"
        rows.append(
            {
                "setting": m.setting,
                "prompts": prompts_of(m),
                "protocol": m.protocol,
                "classes": m.classes,
                "fold": m.fold,
                "seed": m.seed,
                "episodes": m.episodes,
                "sha256": r.episodes_sha256,
                "command": command,
            }
        )
    return pd.DataFrame(rows).drop_duplicates()


def source_link(folder: Path, name: str) -> str:
    """A Markdown link to the line of the class that computes a method.

    The link is relative; outside of a checkout, where it would be broken, the place is plain text.
    """
    kind = _class_of(name)
    if kind is None:
        return "the notebook"
    path = Path(inspect.getfile(kind)).relative_to(PACKAGE.parent).as_posix()
    line = inspect.getsourcelines(kind)[1]
    place = f"{path}, line {line}"
    home = folder.parent.parent
    return f"[{place}](../../{path}#L{line})" if (home / path).exists() else place


def _class_of(name: str) -> type | None:
    """The class of a method's segmenter; None for a user's own method."""
    if name not in KNOWN:
        return None
    method = KNOWN[name]
    if method.network is not None:
        return method.network
    return LabelAnything if method.build is None else type(method.build(ModelConfig()))


def _lines(path: Path) -> dict[tuple[str, str, str], list[int]]:
    """By method, prompts and setting: the numbers of the lines in a file of results."""
    numbers: dict[tuple[str, str, str], list[int]] = {}
    if path.exists():
        for number, text in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
            plain = json.loads(text)["measurement"]
            kinds = tuple(PromptKind(kind) for kind in plain["kinds"])
            m = Measurement(**(plain | {"kinds": kinds}))
            numbers.setdefault((m.method, prompts_of(m), m.setting), []).append(number)
    return numbers


def _line_links(file: str, lines: Sequence[int]) -> str:
    """Links to lines of a file: `[line 3](file#L3)`, or one for each run of consecutive lines."""
    runs: list[list[int]] = []
    for line in sorted(lines):
        if runs and line == runs[-1][1] + 1:
            runs[-1][1] = line
        else:
            runs.append([line, line])
    links = []
    for low, high in runs:
        name = f"line {low}" if low == high else f"lines {low} to {high}"
        place = f"L{low}" if low == high else f"L{low}-L{high}"
        links.append(f"[{name}]({file}#{place})")
    return ", ".join(links)
