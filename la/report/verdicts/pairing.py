"""What a fault in pairing masks with images costs DCAMA, beside its fall in the paper's Table 3.

In the public code of the paper's comparison, each pass over one class reads the first supports
of the episode, whatever they show. `dcama_mispaired` reproduces that fault.
"""

from collections.abc import Iterable

import pandas as pd

from la.experiment.methods import label
from la.experiment.setup.measurements import Result
from la.report.scores.paper import published
from la.report.scores.tables import mean_scores
from la.report.verdicts.finding import Finding
from la.wording import counted

ONE_PASS = "dcama"
RULE = "dcama_one_class"
FAULT = "dcama_mispaired"
PAPERS = "the paper's DCAMA (COCO-20i)"
SHARE = "share of the fall (%)"


def pairing(results: Iterable[Result]) -> pd.DataFrame:
    """A row for each N with one shot: DCAMA in three ways, and what the fault explains.

    Columns hold mIoU* in percent: one pass over all classes, one class at a time, and the same
    with masks over the wrong images. `share of the fall (%)` is
    (one class at a time - mispaired) / (one pass at one class - mispaired), in percent: the
    part of the fall from one class to N that correct pairing undoes. It is NaN where the score
    does not fall. The last column is the paper's number. The table is empty without all three
    rows.
    """
    names = {name: label(name) for name in (ONE_PASS, RULE, FAULT)}
    rows = [r for r in results if r.measurement.method in names and r.measurement.k_shots == 1]
    if {r.measurement.method for r in rows} != set(names):
        return pd.DataFrame()
    means = mean_scores(rows)
    table = means.pivot_table("value", "N", "method", sort=False).sort_index()
    table = table[list(names.values())].dropna()
    if 1 not in table.index:
        return pd.DataFrame()
    one_way = float(table[names[ONE_PASS]].iloc[0])
    fall = one_way - table[names[FAULT]]
    undone = table[names[RULE]] - table[names[FAULT]]
    table[SHARE] = 100 * undone / fall.where(fall > 0)
    table[PAPERS] = _published().reindex(table.index)
    return table.rename_axis(columns=None)


def explained_by_pairing(table: pd.DataFrame) -> Finding:
    """How much of DCAMA's fall at the largest N the fault explains, from `pairing`."""
    if table.empty or len(table) < 2:
        rows = f"{ONE_PASS},{RULE},{FAULT}"
        return Finding(
            "How much of DCAMA's fall a fault in pairing masks with images could explain has not "
            f"been computed here; METHODS=la,{rows} computes it."
        )
    few, many = table.iloc[0], table.iloc[-1]
    n_ways = table.index[-1]
    right, wrong = many[label(RULE)], many[label(FAULT)]
    sentence = (
        f"At {counted(n_ways, 'class')} DCAMA, run once per class, scores {right:.1f} %, and "
        f"{wrong:.1f} % if the masks lie over the first images of the episode"
    )
    share = many[SHARE]
    if pd.notna(share):
        sentence += (
            f": of the fall from {few[label(ONE_PASS)]:.1f} % at one class to {wrong:.1f} % that "
            f"fault explains {share:.0f} %"
        )
    if pd.notna(many[PAPERS]):
        sentence += f". The paper prints {few[PAPERS]:.1f} % and {many[PAPERS]:.1f} %"
    return Finding(f"{sentence}.")


def _published() -> pd.Series:
    """The paper's DCAMA by N, in percent: its Table 3, one shot."""
    table = published()
    rows = table[(table["table"] == 3) & (table["row"] == "DCAMA")]
    n_ways = rows["setting"].str.split("-").str[0].astype(int)
    return pd.Series(rows["value"].to_numpy(), n_ways.to_numpy())
