"""Links from a number to its origin: source line, stored counts, episode lists."""

import inspect
import json
from collections.abc import Iterable, Sequence
from pathlib import Path

import pandas as pd

from la.config import ModelConfig
from la.experiment.code import PACKAGE
from la.experiment.measurements import Result
from la.experiment.methods import KNOWN, label
from la.files import write_whole
from la.model.label_anything import LabelAnything
from la.report.tables import prompts_of


def sources(folder: Path, table: str, results: Sequence[Result]) -> pd.DataFrame:
    """A row per method with links: its code, the lines of its stored counts, the episode lists.

    The lists are written to `<table>_lists.csv` in `folder`.

    Args:
        folder: a profile's results.
        table: the name of the file of the results in `measurements/`, without its suffix.
    """
    lists = f"{table}_lists.csv"
    write_whole(folder / lists, episode_lists(results).to_csv(index=False))
    stored = f"measurements/{table}.jsonl"
    lines = _lines(folder / stored)
    rows = {}
    for name in dict.fromkeys(r.measurement.method for r in results):
        counts = f"lines {lines[name]}" if name in lines else "not stored"
        rows[label(name)] = {
            "computed by": source_link(folder, name),
            "pixel counts": f"[{counts}]({stored})" if name in lines else counts,
            "episode lists": f"[{lists}]({lists})",
        }
    return pd.DataFrame.from_dict(rows, orient="index")


def episode_lists(results: Iterable[Result]) -> pd.DataFrame:
    """A row per list of episodes: what was drawn, its digest, and the command that prints it."""
    rows = []
    for r in results:
        m = r.measurement
        kinds = "+".join(kind.value for kind in m.kinds)
        command = f"python -m la episodes --fold {m.fold} --ways {m.n_ways} --shots {m.k_shots}"
        command += f" --seed {m.seed} --episodes {m.episodes} --prompts {kinds}"
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


def _lines(path: Path) -> dict[str, str]:
    """By method: the numbers of the first and the last of its lines in a file of results."""
    numbers: dict[str, list[int]] = {}
    if path.exists():
        for number, text in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
            numbers.setdefault(json.loads(text)["measurement"]["method"], []).append(number)
    spans = {}
    for name, of_method in numbers.items():
        spans[name] = f"{of_method[0]} to {of_method[-1]}"
    return spans
