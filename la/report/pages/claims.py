"""The front page: the paper's claims, each with what was found here and a verdict."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import pandas as pd

from la.errors import UserError
from la.experiment.methods import METHODS, RIVALS
from la.experiment.setup.drawable import drawable
from la.experiment.setup.measurements import Measurement, Result
from la.experiment.setup.workbench import Workbench
from la.report.scores.comparison import Comparison, among
from la.report.scores.tables import TABLES, WITH_RIVALS
from la.report.verdicts import behind, findings
from la.report.verdicts.ablations import trainings, worth_of_parts
from la.report.verdicts.families import COSTS, cost_growth, prototypes_against_affinities
from la.report.verdicts.finding import (
    CLAIMS,
    FAMILIES,
    MORE_CLASSES,
    ONE_CLASS,
    ONE_TRAINING,
    PARTS,
    PROMPTS,
    PROMPTS_USED,
    SEVERAL_CLASSES,
    Claim,
    Finding,
)
from la.report.verdicts.prompts_used import prompts_matter, prompts_used
from la.wording import counted

CLAIM = "the paper's claim"  # the header of the rows


def asked(
    bench: Workbench,
    *,
    folds: Sequence[int] | None = None,
    seeds: Sequence[int] | None = None,
    episodes: int | None = None,
) -> dict[str, list[Measurement]]:
    """The measurements of each table's notebook; None keeps the notebook's own value.

    The trained comparators are included, see `with_all_rivals`. On the user's own data only the
    measurements that the data allow are returned.
    """
    from la.report.pages.notebooks import (
        plan_of,  # imports papermill, which takes longer than torch
    )

    parameters = {"folds": folds, "seeds": seeds, "episodes": episodes}
    chosen: dict[str, object] = {}
    for name, value in parameters.items():
        if value is not None:
            chosen[name] = value
    planned = {}
    for name in TABLES:
        rows = {"methods": ["all"]} if name in WITH_RIVALS else {}
        _, of_table = plan_of(name, bench.config.profile, chosen | rows)
        if bench.source is not None:
            try:
                of_table = drawable(bench, of_table)
            except UserError:  # the notebook itself says why
                of_table = []
        planned[name] = of_table
    return planned


def with_all_rivals(
    planned: Mapping[str, list[Measurement]], results: Iterable[Result]
) -> dict[str, list[Measurement]]:
    """The measurements of each table: with its trained comparators, if all of them are computed.

    A table of which a part of the trained rows is missing is judged without them.
    """
    computed = {r.measurement for r in results}
    kept = {}
    for name, of_table in planned.items():
        usual = [m for m in of_table if m.method not in RIVALS]
        rivals = [m for m in of_table if m.method in RIVALS]
        kept[name] = of_table if computed.issuperset(rivals) else usual
    return kept


def claims(
    folder: Path,
    planned: Mapping[str, Sequence[Measurement]],
    results: Iterable[Result],
    comparisons: Sequence[Comparison],
) -> pd.DataFrame:
    """A row per claim: verdict, evidence, its interval, section, and a link to the notebook.

    A claim whose table lacks results is "not run": the missing part could change the verdict.

    Args:
        folder: the profile's results, where rendered notebooks and the times of `curves` are.
        planned: the measurements of each table, by its name.
        comparisons: LA minus each other method, from the results of `of_tables`.
    """
    stored = {r.measurement: r for r in results}
    rows = []
    for claim in CLAIMS:
        of_page = planned.get(claim.page, ())
        available = [stored[m] for m in of_page if m in stored]
        if claim in COSTS.values():
            finding = _costs(claim, folder / "curves.csv")
        elif available and len(available) == len(of_page):
            finding = _finding(claim, available, among(comparisons, of_page))
        elif not of_page:
            finding = Finding("The data have too few classes or images for it.", claim, "not run")
        else:
            of_all = counted(len(of_page), "result")
            count = f"{len(available)} of {of_all} computed so far."
            finding = Finding(count, claim, "not run")
        page = f"{claim.page}.ipynb"
        link = f"[{claim.page}]({page})" if (folder / page).exists() else claim.page
        row = {
            CLAIM: claim.text,
            "verdict": finding.verdict,
            "found here": finding.sentence,
            "95 % interval": finding.interval,
            "where": f"{link}; section {claim.section}",
        }
        rows.append(row)
    return pd.DataFrame(rows).set_index(CLAIM)


def shown(claims: pd.DataFrame) -> pd.DataFrame:
    """`claims` in three columns, which fit on a phone.

    The claim contains its link, and what was found contains its interval.
    """
    rows = {}
    for claim, row in claims.iterrows():
        found = row["found here"]
        if row["95 % interval"]:
            found += f" *95 % interval: {row['95 % interval']}.*"
        name = f"{claim} ({row['where']})"
        rows[name] = {"verdict": row["verdict"], "found here": found}
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis(CLAIM)


def of_tables(results: Iterable[Result]) -> list[Result]:
    """The results that Tables 1 to 3 and 5 compare, sorted by N and K.

    They are of unseen classes, of the protocol `clean`, and with the supports of each query.
    """
    compared = []
    for r in results:
        m = r.measurement
        is_row = m.method in METHODS or m.method in RIVALS or m.method == "published"
        as_in_tables = m.protocol == "clean" and m.supports == "own" and m.classes == "unseen"
        if is_row and as_in_tables:
            compared.append(r)
    return sorted(compared, key=lambda r: (r.measurement.n_ways, r.measurement.k_shots))


def overview(claims: pd.DataFrame, comparisons: Sequence[Comparison]) -> Finding:
    """Where LA is not ahead of the training-free methods, then how many claims have which verdict.

    Args:
        claims: `claims`.
        comparisons: LA minus each other method, from the results of `of_tables`.
    """
    counts = claims["verdict"].value_counts()
    verdicts = ("confirmed", "not confirmed", "unresolved", "not run")
    texts = [f"{counts[verdict]} {verdict}" for verdict in verdicts if verdict in counts]
    summary = f"Of {counted(len(claims), 'claim')} of the paper: {', '.join(texts)}."
    below = behind.settings_below(comparisons)
    return Finding(f"{below} {summary}" if below else summary)


def _finding(claim: Claim, results: Sequence[Result], comparisons: Sequence[Comparison]) -> Finding:
    if claim == ONE_CLASS:
        return findings.one_class(results, comparisons)
    if claim == SEVERAL_CLASSES:
        return findings.several_classes(results, comparisons)
    if claim == MORE_CLASSES:
        return findings.with_more_classes(results, comparisons)
    if claim == FAMILIES:
        return prototypes_against_affinities(results)
    if claim == PARTS:
        return worth_of_parts(trainings(results))
    if claim == PROMPTS:
        return findings.kinds_of_prompts(results, comparisons)
    if claim == ONE_TRAINING:
        return findings.one_training(results)
    assert claim == PROMPTS_USED
    return prompts_matter(prompts_used(results))


def _costs(claim: Claim, path: Path) -> Finding:
    """From the times that the notebook `curves` measured, which are not among the results."""
    if not path.exists():
        return Finding("Times have not been measured.", claim, "not run")
    costs = pd.read_csv(path)
    ((over, quantity),) = (key for key, of_costs in COSTS.items() if of_costs == claim)
    return cost_growth(costs, over, quantity)
