"""The paper's claims, each with what was found here and a verdict."""

from collections.abc import Mapping, Sequence

import pandas as pd

from la.experiment.measurements import Result
from la.report import findings
from la.report.analysis import trainings
from la.report.comparison import compare
from la.report.findings import Finding
from la.report.prompts_used import prompts_matter, prompts_used


def claims(stored: Mapping[str, Sequence[Result]]) -> pd.DataFrame:
    """A row per claim: its evidence and verdict, with the notebook that shows more.

    Args:
        stored: the stored results of each table, by its name; a table without any is "not run".
    """
    rows = []
    for name, results in stored.items():
        finding = _finding(name, results) if results else None
        if finding is not None:
            rows.append((finding.claim, finding.sentence, finding.verdict, name))
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
