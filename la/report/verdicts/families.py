"""Methods with prototypes against methods with affinities, over N: the paper's argument for LA.

A prototype method compares the query with one or a few vectors per class; an affinity method
compares each query cell with every support cell.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Literal

import pandas as pd

from la.experiment.methods import label
from la.experiment.setup.measurements import Result
from la.report.scores.comparison import compare
from la.report.scores.tables import mean_scores
from la.report.verdicts.finding import (
    FAMILIES,
    MEMORY_OF_CLASSES,
    MEMORY_OF_EXAMPLES,
    TIME_OF_CLASSES,
    TIME_OF_EXAMPLES,
    Claim,
    Finding,
)
from la.wording import counted

Over = Literal["N", "K"]
Quantity = Literal["time", "memory"]
PROTOTYPES = (
    "la",
    "threshold_prototype",
    "prototype",
    "part_prototypes",
    "panet",
    "ppnet",
    "ppnet_u",
    "denet",
    "mfnet",
)
AFFINITIES = ("affinity", "dcama", "dcama_one_class", "emat")
NOISE = 1.25  # factors of time differ by up to this between two runs; memory has no noise
# The claim about the growth of a quantity over N or K.
COSTS: dict[tuple[Over, Quantity], Claim] = {
    ("N", "time"): TIME_OF_CLASSES,
    ("N", "memory"): MEMORY_OF_CLASSES,
    ("K", "time"): TIME_OF_EXAMPLES,
    ("K", "memory"): MEMORY_OF_EXAMPLES,
}


def by_family(results: Iterable[Result]) -> pd.DataFrame:
    """The best method of each family at each N with one shot.

    Index N; columns `best prototype method`, `prototypes, mIoU*` in percent, and the same of
    affinities. N at which a family has no score are left out.
    """
    one_shot = [r for r in results if r.measurement.k_shots == 1]
    means = mean_scores(one_shot) if one_shot else pd.DataFrame()
    rows = {}
    for n_ways, at_n in means.groupby("N") if len(means) else ():
        values = at_n.set_index("method")["value"]
        best_prototype = _best(values, PROTOTYPES)
        best_affinity = _best(values, AFFINITIES)
        if best_prototype and best_affinity:
            rows[n_ways] = {
                "best prototype method": best_prototype,
                "prototypes, mIoU*": values[best_prototype],
                "best affinity method": best_affinity,
                "affinities, mIoU*": values[best_affinity],
            }
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis("N")


def prototypes_against_affinities(results: Sequence[Result]) -> Finding:
    """Whether the best prototype method is ahead of the best affinity method at several N.

    Confirmed if it is ahead at every N > 1 beyond the interval over episodes.
    """
    table = by_family(results)
    several = table[table.index > 1]
    if several.empty:
        sentence = "No prototype and affinity methods have been scored on several classes."
        return Finding(sentence, FAMILIES, "not run")
    names = {label(name): name for name in (*PROTOTYPES, *AFFINITIES)}
    texts = []
    leads = []
    for n_ways in several.index.tolist():
        row = several.loc[n_ways]
        ours, theirs = names[row["best prototype method"]], names[row["best affinity method"]]
        at_n = []
        for r in results:
            m = r.measurement
            if (m.n_ways, m.k_shots) == (n_ways, 1) and m.method in (ours, theirs):
                at_n.append(r)
        (comparison,) = compare(at_n, ours)
        leads.append(comparison.difference)
        texts.append(f"{comparison.difference.points} with {counted(n_ways, 'class')}")
    last = several.iloc[-1]
    most = counted(several.index[-1], "class")
    prototype, affinity = last["best prototype method"], last["best affinity method"]
    sentence = (
        f"At {most} the best prototype method ({prototype}) scores "
        f"{last['prototypes, mIoU*']:.1f} % and the best affinity method ({affinity}) "
        f"{last['affinities, mIoU*']:.1f} %."
    )
    interval = f"lead in points: {', '.join(texts)}"
    if any(lead.value < 0 and lead.resolved for lead in leads):
        return Finding(sentence, FAMILIES, "not confirmed", interval)
    if all(lead.value > 0 and lead.resolved for lead in leads):
        return Finding(sentence, FAMILIES, "confirmed", interval)
    return Finding(sentence, FAMILIES, "unresolved", interval)


def by_quantity(curves: pd.DataFrame, over: str, names: Mapping[str, str]) -> pd.DataFrame:
    """Scores and costs as one table: rows (quantity, N or K), a column per method.

    Args:
        curves: columns method, N, K and those of `names`.
        over: "N" or "K".
        names: what the table calls each column, with its unit.
    """
    methods = curves["method"].unique()  # in their order on the page, LA first
    parts = {}
    for column, name in names.items():
        parts[name] = curves.pivot(index=over, columns="method", values=column)[methods]
    return pd.concat(parts, names=[None]).rename_axis(columns=None).round(1)


def growth(costs: pd.DataFrame, over: str) -> pd.DataFrame:
    """How costs grow from the smallest to the largest N or K.

    Args:
        costs: columns method, N, K, milliseconds, peak_mb.
        over: "N" with one example of each class, or "K" with one class.

    Returns:
        A row per method: factors of `time` and `memory`.
    """
    other = "K" if over == "N" else "N"
    shown = costs[costs[other] == 1]
    factors = {}
    for name, column in (("time", "milliseconds"), ("memory", "peak_mb")):
        wide = shown.pivot_table(column, over, "method", sort=False).sort_index()
        factors[name] = wide.iloc[-1] / wide.iloc[0]
    return pd.DataFrame(factors).rename_axis(None)


def cost_growth(costs: pd.DataFrame, over: Over, quantity: Quantity) -> Finding:
    """How the time or the memory of a query grows with N or K: affinity methods against LA.

    Confirmed if it grows faster for each affinity method than for LA, not confirmed if slower for
    one. Factors of time that differ by less than `NOISE` leave it unresolved.

    Args:
        costs: as for `growth`.
    """
    claim = COSTS[over, quantity]
    shown = costs[costs["K" if over == "N" else "N"] == 1]
    most = shown[over].max()
    timed = set(shown["method"])
    affinities = [label(name) for name in AFFINITIES if label(name) in timed]
    if "LA" not in timed or not affinities or most < 2:
        return Finding(f"Times have not been measured over several {over}.", claim, "not run")
    factors = growth(costs, over)[quantity]
    grown = [f"{factors[name]:.1f} for {name}" for name in ("LA", *affinities)]
    span = counted(most, "class") if over == "N" else f"{counted(most, 'example')} of a class"
    measured = "time" if quantity == "time" else "peak memory"
    sentence = (
        f"From 1 to {span} the {measured} of a query grows by a factor of {', '.join(grown)}."
    )
    ratios = factors[affinities] / factors["LA"]
    noise = NOISE if quantity == "time" else 1
    if (ratios > noise).all():
        return Finding(sentence, claim, "confirmed")
    is_slower = bool((ratios < 1 / noise).any())
    return Finding(sentence, claim, "not confirmed" if is_slower else "unresolved")


def _best(values: pd.Series, names: Iterable[str]) -> str:
    """The label of the best of these methods; "" where none has a score."""
    shown = [label(name) for name in names if label(name) in values.index]
    return max(shown, key=lambda name: values[name]) if shown else ""
