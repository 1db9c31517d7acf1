"""The front page: claims with verdicts, from results made by hand."""

from dataclasses import replace

import pandas as pd
import pytest
from hand_made import with_iou

from la.report.claims import claims, overview
from la.report.finding import CLAIMS

RESULTS = [with_iou(50), with_iou(40, method="prototype")]
PLANNED = [r.measurement for r in RESULTS]


def of_page(table: pd.DataFrame, page: str) -> pd.Series:
    """The first claim that a notebook checks."""
    return table[table["notebook"].str.contains(page)].iloc[0]


def test_every_claim_has_a_row_with_its_section(tmp_path):
    table = claims(tmp_path, {"table1": PLANNED, "table2": [], "figure3": PLANNED}, RESULTS)
    assert list(table.index) == [claim.text for claim in CLAIMS]
    row = of_page(table, "table1")
    assert row["verdict"] == "confirmed" and row["section"] == "4.3, Table 1"
    assert "50.0 %" in row["found here"]
    assert row["95 % interval"].startswith("+10.0 ± 0.0")
    assert (table["verdict"].drop(table.index[0]) == "not run").all()


def test_a_table_that_lacks_results_is_not_judged(tmp_path):
    planned = {"table1": [*PLANNED, with_iou(50, seed=1).measurement]}
    row = of_page(claims(tmp_path, planned, RESULTS), "table1")
    assert row["verdict"] == "not run"
    assert row["found here"] == "2 of 3 results have been computed."


def test_a_claim_links_to_its_page_once_it_is_there(tmp_path):
    assert of_page(claims(tmp_path, {}, []), "table1")["notebook"] == "table1"
    (tmp_path / "table1.ipynb").touch()
    assert of_page(claims(tmp_path, {}, []), "table1")["notebook"] == "[table1](table1.ipynb)"


def test_times_are_read_from_where_the_notebook_wrote_them(tmp_path):
    frame = pd.DataFrame(
        [("LA", 1, 1, 2.0), ("LA", 20, 1, 3.0), ("Affinity", 1, 1, 1.0), ("Affinity", 20, 1, 8.0)],
        columns=["method", "N", "K", "milliseconds"],
    )
    (claim,) = (claim.text for claim in CLAIMS if "cost" in claim.text)
    assert claims(tmp_path, {}, []).loc[claim, "verdict"] == "not run"
    frame.to_csv(tmp_path / "curves.csv", index=False)
    row = claims(tmp_path, {}, []).loc[claim]
    assert row["verdict"] == "confirmed" and "Affinity 8.0 times" in row["found here"]


@pytest.mark.parametrize("verdicts", [["confirmed", "not run"], ["not run", "not run"]])
def test_the_overview_counts_verdicts(verdicts):
    finding = overview(pd.DataFrame({"verdict": verdicts}), [])
    texts = {f"{verdicts.count(verdict)} {verdict}" for verdict in verdicts}
    assert finding.sentence.startswith("Of 2 claims of the paper: ")
    assert all(text in finding.sentence for text in texts)


def test_the_overview_names_first_where_la_is_not_ahead_and_looks_at_tables_alone():
    column = [with_iou(30, shots=5), with_iou(40, shots=5, method="threshold_prototype")]
    elsewhere = [replace(r, measurement=replace(r.measurement, classes="seen")) for r in column]
    table = pd.DataFrame({"verdict": ["confirmed"]})
    assert overview(table, elsewhere).sentence == "Of 1 claims of the paper: 1 confirmed."
    finding = overview(table, [*elsewhere, *column, with_iou(90, shots=5, method="affinity")])
    assert finding.sentence == (
        "LA is below the threshold prototype in 1-way 5-shot (30.0 against 40.0 %). "
        "Of 1 claims of the paper: 1 confirmed."
    )
