"""The paper's numbers as printed, and one page that shows them separately from ours."""

from collections.abc import Iterable
from pathlib import Path

import pandas as pd

from la.errors import UserError
from la.experiment.setup.measurements import Measurement, Result
from la.report.scores.tables import as_printed, mean_texts

PUBLISHED_TABLES = Path(__file__).with_name("published.csv")
_SUMMARISED = ("la", "threshold_prototype")
_PROMPTS = {  # of the rows of the paper's tables that are a mean of LA, in our words
    "LA (SAM)": "masks",
    "LA (MAE)": "masks",
    "Only masks": "masks",
    "Boxes and points": "boxes and points",
    "Only boxes": "boxes",
    "Only points": "points",
}


def published() -> pd.DataFrame:
    """Every number of the paper's Tables 1-5 as printed, one a line, in the paper's order.

    Columns: table (1-5), row (the system or configuration as printed, without its citation
    number), setting (such as "1-way 5-shot"), fold ("0" to "3", or "mean"), value (mIoU in
    percent), note (where the paper contradicts itself, else ""). Tables 3 and 5 are means
    over folds, Table 4 is fold 0; both 4 and 5 are LA (SAM). Other systems were scored under
    protocols of their own.
    """
    return pd.read_csv(PUBLISHED_TABLES, dtype={"fold": str}, keep_default_na=False)


def beside(name: str) -> pd.DataFrame:
    """The paper's own table in the layout of ours, to be shown separately."""
    number = int(name[-1])
    table = published()
    printed = as_printed(table[table["table"] == number], ["row"])
    return printed.rename_axis(None)


def summary(results: Iterable[Result]) -> pd.DataFrame:
    """Every setting once: ours with intervals; beside it, under its own header, the paper's.

    Only protocol `clean` on unseen classes, with the query's own supports. Of a setting that
    several of the paper's tables print, the number of the first of them is taken.

    Raises:
        UserError: there is no result to show.
    """
    shown = [r for r in results if _is_summarised(r.measurement)]
    if not shown:
        raise UserError("nothing has been computed yet; `make reproduce` computes all tables")
    shown.sort(key=_place)
    ours = mean_texts(shown, ["prompts", "setting"], "method")
    paper = published()
    paper = paper[paper["fold"] == "mean"]
    paper = paper.assign(prompts=paper["row"].map(_PROMPTS)).dropna()
    paper["system"] = paper["row"].where(paper["row"] == "LA (MAE)", "LA (SAM)")
    wide = paper.pivot_table(
        values="value",
        index=["prompts", "setting"],
        columns="system",
        aggfunc="first",
        sort=False,
    )
    theirs = wide.reindex(index=ours.index, columns=["LA (SAM)", "LA (MAE)"])
    both = {"ours": ours, "the paper (COCO-20i)": theirs}
    frame = pd.concat(both, axis=1).fillna("")
    frame.index.names = [None, None]
    frame.columns.names = [None, None]
    return frame


def _is_summarised(m: Measurement) -> bool:
    as_in_tables = m.protocol == "clean" and m.supports == "own" and m.classes == "unseen"
    return as_in_tables and m.method in _SUMMARISED


def _place(result: Result) -> tuple[int, int, int]:
    m = result.measurement
    return m.n_ways, m.k_shots, _SUMMARISED.index(m.method)
