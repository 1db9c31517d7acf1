"""Markdown for the pages of a results folder: contents, tables and provenance."""

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import pandas as pd
from IPython.display import Markdown

from la.code import is_todays, scoring_code
from la.experiment.methods import KNOWN
from la.experiment.setup.measurements import Measurement, Result
from la.files import write_whole
from la.report.pages.navigation import ORDER
from la.report.scores.tables import prompts_of
from la.report.verdicts.finding import Finding
from la.wording import counted, numbered, plural

NOT_POSSIBLE = "there are too few data"  # classes, or images of them, for any episode of a page


def contents(
    folder: Path,
    measurements: Mapping[str, list[Measurement]],
    results: Iterable[Result],
) -> pd.DataFrame:
    """A row per notebook: a link to its rendered copy, and how many of its results exist.

    In reading order; a page that computes what it shows has a row once it is there.
    """
    computed = {r.measurement for r in results}
    rows = {}
    for name in ORDER:
        path = folder / f"{name}.ipynb"
        if name == "summary" or (name not in measurements and not path.exists()):
            continue
        link = f"[{_title(path)}]({path.name})" if path.exists() else "not run yet"
        planned = measurements.get(name, [])
        n_computed = sum(m in computed for m in planned)
        count = f"{n_computed} of {len(planned)}" if planned else NOT_POSSIBLE
        if name not in measurements:
            count = "computed by the page itself"
        rows[name] = (link, count)
    return pd.DataFrame.from_dict(rows, orient="index", columns=["notebook", "results"])


def _title(notebook: Path) -> str:
    """The heading of a notebook's first cell."""
    source = json.loads(notebook.read_text(encoding="utf-8"))["cells"][0]["source"]
    return "".join(source).splitlines()[0].lstrip("# ")


def opening(
    finding: Finding,
    headline: str,
    results: Sequence[Result],
    asked: Sequence[Measurement] = (),
) -> str:
    """The Markdown at the top of a page: what was found, then how the numbers were made."""
    return f"{finding.markdown}\n\n{basis(headline, results, asked)}"


def basis(
    headline: str,
    results: Sequence[Result],
    asked: Sequence[Measurement] = (),
) -> str:
    """How the numbers of a page were made, in two lines of Markdown.

    Profile, device and data; folds, episode lists and trainings; and what `±` covers. A third line
    says which of the measurements `asked` for a small data set does not allow.
    """
    if not results:
        return f"{headline}\n\nNothing has been computed yet."
    measured = [r.measurement for r in results]
    folds = numbered("fold", {m.fold for m in measured})
    n_lists = _lists_of_settings(measured)
    episodes = _several(sorted({m.episodes for m in measured}), "episode")
    text = f"{folds[0].upper()}{folds[1:]}, {_several(n_lists, 'episode list')}"
    text += f" of {episodes} for each setting"
    models: dict[tuple[str, int], set[str]] = {}
    for r in results:
        if r.checkpoint_sha256:
            key = (r.measurement.method, r.measurement.fold)
            models.setdefault(key, set()).add(r.checkpoint_sha256)
    n_trainings = sorted({len(hashes) for hashes in models.values()})
    if n_trainings:
        text += f", {_several(n_trainings, 'training')} of each trained row"
    interval = _interval(n_lists, n_trainings[-1] if n_trainings else 0)
    return f"{headline}\n\n{text}. {interval}{_not_possible(measured, asked)}"


def _not_possible(measured: Sequence[Measurement], asked: Sequence[Measurement]) -> str:
    """A paragraph about settings and folds that were asked for and not measured, or ""."""
    scored = {(m.setting, m.fold) for m in measured}
    settings = {m.setting for m in measured}
    folds = {m.fold for m in measured}
    missing: list[str] = []
    for m in asked:
        if m.setting not in settings:
            missing.append(m.setting)
        elif m.fold not in folds:
            missing.append(f"fold {m.fold}")
        elif (m.setting, m.fold) not in scored:
            missing.append(f"{m.setting} of fold {m.fold}")
    if not missing:
        return ""
    names = ", ".join(sorted(set(missing)))
    shown = ", ".join(dict.fromkeys(m.setting for m in measured))
    return (
        f"\n\nThe data have too few classes, or too few images of them, for {names}; what they "
        f"allow is shown instead: {shown}."
    )


def _lists_of_settings(measured: Sequence[Measurement]) -> list[int]:
    """How many episode lists a setting has, sorted; several numbers where settings differ."""
    lists: dict[tuple[object, ...], set[int]] = {}
    for m in measured:
        lists.setdefault((m.setting, m.kinds), set()).add(m.seed)
    return sorted({len(seeds) for seeds in lists.values()})


def _interval(n_lists: Sequence[int], n_trainings: int) -> str:
    """What ± covers, given that list i is scored with training i."""
    if max(n_lists) == 1:
        return "With one list there is no ±."
    over = f"± is half of the 95 % t-interval over these {_several(n_lists, 'list')}"
    if n_trainings == 0:
        return f"{over}."
    if n_trainings == 1:
        return f"{over}; the trained rows have one training, whose spread it does not include."
    return f"{over}; in trained rows each list has a training of its own, so ± covers both."


def _several(counts: Sequence[int], noun: str) -> str:
    """One number, two as `3 or 5`, more as `3 to 5`, with their noun."""
    text = " or ".join(map(str, counts))
    if len(counts) > 2:
        text = f"{min(counts)} to {max(counts)}"
    return f"{text} {noun if max(counts) == 1 else plural(noun)}"


def provenance(results: Sequence[Result]) -> pd.DataFrame:
    """What a reader needs to compute the numbers again, one fact per line.

    Where results differ in a fact, for example in the commit, all its values are listed.
    """
    lists = {_list_of(r.measurement): r.episodes_sha256 for r in results}
    models = {_model_of(r.measurement): r.checkpoint_sha256 for r in results}
    facts = {
        "data": _all_of(r.data for r in results),
        "episodes of a list": _all_of(r.measurement.episodes for r in results),
        "seeds": _all_of(r.measurement.seed for r in results),
        "prompts": _all_of(prompts_of(r.measurement) for r in results),
        "protocols": _all_of(r.measurement.protocol for r in results),
        "episode lists (SHA-256 of all)": _sha256(lists),
        "checkpoints (SHA-256 of all)": _sha256(models),
        "scoring code (digest)": _all_of(r.code for r in results),
        "minutes of evaluation": str(round(sum(r.seconds for r in results) / 60, 1)),
    }
    outdated = sum(not _is_todays(r) for r in results)
    if outdated:
        facts["computed by other code than today's"] = (
            f"{outdated} of {counted(len(results), 'result')}; --recompute, or RECOMPUTE=1 for "
            "make, computes them again"
        )
    for name in dict.fromkeys(key for r in results for key in r.provenance):
        facts[name] = _all_of(r.provenance.get(name, "unknown") for r in results)
    return pd.DataFrame({"": facts.values()}, index=list(facts))


def _is_todays(result: Result) -> bool:
    """Whether code that is equal to today's computed a result; a reader's own method has none."""
    name = result.measurement.method
    return name not in KNOWN or is_todays(result.code, scoring_code(KNOWN[name].module))


def _list_of(m: Measurement) -> tuple[object, ...]:
    """Everything that an episode list depends on."""
    return m.setting, m.fold, m.seed, m.episodes, m.kinds, m.protocol, m.classes


def _model_of(m: Measurement) -> tuple[object, ...]:
    return m.method, m.fold, m.seed


def _all_of(values: Iterable[object]) -> str:
    """The different values, sorted, joined by commas."""
    return ", ".join(sorted({str(value) for value in values}))


def markdown(frame: pd.DataFrame) -> str:
    """The frame as a Markdown table; headers of two rows are joined, NaN is empty."""
    plain = frame.astype(object).where(frame.notna(), "").astype(str)
    names = []
    for name in frame.columns:
        parts = name if isinstance(name, tuple) else (name,)
        names.append(" ".join(map(str, parts)).strip())
    plain.columns = pd.Index(names)
    index_names = [name or "" for name in frame.index.names]
    table = plain.reset_index(names=index_names, allow_duplicates=True)
    return f"{table.to_markdown(index=False, disable_numparse=True)}\n"


def table(frame: pd.DataFrame) -> Markdown:
    """The frame as a Markdown table for a notebook: its bold numbers and links show anywhere."""
    return Markdown(markdown(frame))


def write_page(
    folder: Path,
    name: str,
    headline: str,
    sections: dict[str, pd.DataFrame | str],
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


def _sha256(values: Mapping[tuple[object, ...], str]) -> str:
    """The first digits of a digest of all values with their keys, in any order."""
    lines = sorted(f"{key} {value}" for key, value in values.items())
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()[:16]
