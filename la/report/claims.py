"""The paper's claims, each with what was found here and a verdict."""

from collections.abc import Iterable, Mapping, Sequence

import pandas as pd

from la.experiment.measurements import Measurement, Result
from la.report import findings
from la.report.analysis import trainings
from la.report.comparison import compare
from la.report.findings import Finding
from la.report.prompts_used import prompts_matter, prompts_used


def claims(planned: Mapping[str, Sequence[Measurement]], results: Iterable[Result]) -> pd.DataFrame:
    """A row per claim: its evidence and verdict, with the notebook that shows more.

    A table of which results are missing is "not run": part of it could tell another story.

    Args:
        planned: the measurements of each table, by its name.
    """
    stored = {r.measurement: r for r in results}
    rows = []
    for name, measurements in planned.items():
        found = [stored[m] for m in measurements if m in stored]
        finding = _finding(name, found) if found else None
        if finding is None:
            continue
        evidence, verdict = finding.sentence, finding.verdict
        if len(found) < len(measurements):
            evidence = f"{len(found)} of {len(measurements)} results have been computed."
            verdict = "not run"
        rows.append((finding.claim, evidence, verdict, name))
    columns = ["the paper's claim", "found here", "verdict", "notebook"]
    return pd.DataFrame(rows, columns=columns).set_index(columns[0])


def _finding(name: str, results: Sequence[Result]) -> Finding | None:
    if name == "table1":
        return findings.one_class(results, compare(results))
    if name == "table2":
        return findings.several_classes(results, compare(results))
    if name == "table3":
        return findings.with_more_classes(results)
    if name == "table4":
        return findings.worth_of_parts(trainings(results))
    if name == "table5":
        return findings.kinds_of_prompts(results)
    if name == "prompts_used":
        return prompts_matter(prompts_used(results))
    return None
