"""The front page: claims with verdicts, from results made by hand."""

from dataclasses import replace

import pandas as pd
import pytest
from hand_made import scored, with_iou

from la.experiment.methods import RIVALS
from la.experiment.setup.workbench import Workbench
from la.profiles import profile
from la.report.pages.claims import asked, claims, of_tables, overview, shown, with_all_rivals
from la.report.pages.markdown import contents
from la.report.scores.comparison import among, compare
from la.report.scores.tables import TABLES, WITH_RIVALS
from la.report.verdicts.finding import CLAIMS
from tests.conftest import write_coco

RESULTS = [with_iou(50), with_iou(40, method="prototype")]
COMPARED = compare(RESULTS)
PLANNED = [r.measurement for r in RESULTS]


def of_page(table: pd.DataFrame, page: str) -> pd.Series:
    """The first claim that a notebook checks."""
    return table[table["where"].str.contains(page)].iloc[0]


def test_each_notebook_is_asked_for_its_own_folds_and_seeds():
    planned = asked(Workbench(profile("quick")), seeds=None, episodes=7)
    assert list(planned) == list(TABLES)
    folds = {name: {m.fold for m in of_table} for name, of_table in planned.items()}
    assert folds["table1"] == {0, 1, 2, 3} and folds["table4"] == folds["figure3"] == {0}
    assert {m.seed for m in planned["table1"]} == {0, 1, 2}
    assert {m.seed for m in planned["figure3"]} == {0}
    assert {m.episodes for of_table in planned.values() for m in of_table} == {7}


def test_of_small_data_only_what_they_allow_is_asked_for(tmp_path):
    write_coco(tmp_path / "set", n_images=12, class_ids=[2, 3, 5])
    bench = Workbench(profile("smoke"), tmp_path / "set", tmp_path)
    assert {(m.fold, m.n_ways) for m in asked(bench)["table2"]} == {(0, 2), (0, 3)}
    write_coco(tmp_path / "one", n_images=2, class_ids=[2])
    none = asked(Workbench(profile("smoke"), tmp_path / "one", tmp_path))
    assert not any(none.values())
    table = contents(tmp_path, none, [])
    assert set(table["results"]) == {"there are too few data"}


def test_the_trained_comparators_are_asked_for_where_a_table_has_them():
    with_rivals = set()
    for name, of_table in asked(Workbench(profile("quick"))).items():
        if RIVALS.keys() & {m.method for m in of_table}:
            with_rivals.add(name)
    assert with_rivals == set(WITH_RIVALS)


def test_the_trained_comparators_are_judged_once_all_of_them_are_computed():
    la, panet, dcama = (with_iou(20, method=name) for name in ("la", "panet", "dcama"))
    planned = {"table1": [r.measurement for r in (la, panet, dcama)]}
    assert with_all_rivals(planned, [panet, dcama]) == planned
    assert with_all_rivals(planned, [la, panet]) == {"table1": [la.measurement]}


def test_every_claim_has_a_row_with_its_section(tmp_path):
    table = claims(
        tmp_path, {"table1": PLANNED, "table2": [], "figure3": PLANNED}, RESULTS, COMPARED
    )
    assert list(table.index) == [claim.text for claim in CLAIMS]
    row = of_page(table, "table1")
    assert row["verdict"] == "confirmed" and row["where"] == "table1; section 4.3, Table 1"
    assert "50.0 %" in row["found here"]
    assert "in points: +10.0 ± 0.0 in 1-way 1-shot" in row["95 % interval"]
    assert (table["verdict"].drop(table.index[0]) == "not run").all()


def test_a_table_that_lacks_results_is_not_judged(tmp_path):
    planned = {"table1": [*PLANNED, with_iou(50, seed=1).measurement]}
    row = of_page(claims(tmp_path, planned, RESULTS, COMPARED), "table1")
    assert row["verdict"] == "not run"
    assert row["found here"] == "2 of 3 results computed so far."


def test_a_claim_links_to_its_page_once_it_is_there(tmp_path):
    row = of_page(claims(tmp_path, {}, [], []), "table1")
    assert row["where"].startswith("table1; section")
    (tmp_path / "table1.ipynb").touch()
    row = of_page(claims(tmp_path, {}, [], []), "table1")
    assert row["where"].startswith("[table1](table1.ipynb); section")


def test_what_is_shown_of_a_claim_keeps_its_interval_and_its_place(tmp_path):
    table = claims(tmp_path, {"table1": PLANNED}, RESULTS, COMPARED)
    brief = shown(table)
    assert len(brief) == len(CLAIMS) and list(brief.columns) == ["verdict", "found here"]
    first = brief.iloc[0]
    assert brief.index[0].endswith("one class. (table1; section 4.3, Table 1)")
    assert "50.0 %" in first["found here"]
    assert "*95 % interval: lead over the best" in first["found here"]
    assert "interval" not in brief.iloc[1]["found here"]  # it has not been run


def test_times_are_read_from_where_the_notebook_wrote_them(tmp_path):
    frame = pd.DataFrame(
        [("LA", 1, 1, 2.0, 1.0), ("LA", 20, 1, 3.0, 2.0)]
        + [("Affinity", 1, 1, 1.0, 1.0), ("Affinity", 20, 1, 8.0, 9.0)],
        columns=["method", "N", "K", "milliseconds", "peak_mb"],
    )
    (claim,) = (claim.text for claim in CLAIMS if "time" in claim.text and "with N" in claim.text)
    assert claims(tmp_path, {}, [], []).loc[claim, "verdict"] == "not run"
    frame.to_csv(tmp_path / "curves.csv", index=False)
    row = claims(tmp_path, {}, [], []).loc[claim]
    assert row["verdict"] == "confirmed" and "8.0 for Affinity" in row["found here"]


@pytest.mark.parametrize("verdicts", [["confirmed", "not run"], ["not run", "not run"]])
def test_the_overview_counts_verdicts(verdicts):
    finding = overview(pd.DataFrame({"verdict": verdicts}), [])
    texts = {f"{verdicts.count(verdict)} {verdict}" for verdict in verdicts}
    assert finding.sentence.startswith("Of 2 claims of the paper: ")
    assert all(text in finding.sentence for text in texts)


def test_the_overview_counts_the_settings_in_which_la_is_below_and_names_them():
    table = pd.DataFrame({"verdict": ["confirmed"]})
    best = "the best training-free comparator (Prototype, threshold)"
    results = []
    for shots, ours in ((1, 50), (2, 40), (5, 30), (10, 20)):
        results += [with_iou(ours, shots=shots), with_iou(90, shots=shots, method="dcama")]
        results.append(with_iou(40, shots=shots, method="threshold_prototype"))
    finding = overview(table, compare(results, "la"))
    assert finding.sentence == (
        f"LA is below {best} in 2 of 4 settings, by up to 20.0 points: 1-way 10-shot and 1-way "
        "5-shot with masks. It is ahead in 1, and 1 is unresolved. "
        "Of 1 claim of the paper: 1 confirmed."
    )
    above = overview(table, compare(results[:3], "la"))
    assert above.sentence.startswith(
        f"Of 1 setting LA is below {best} in none; it is ahead in 1. Of 1 claim "
    )


def test_tables_compare_unseen_classes_and_own_supports_in_the_order_of_n_and_k():
    listed = [scored("la", 3, 30), with_iou(30, shots=5), with_iou(30)]
    hidden = [with_iou(50, method="la w/o token pool")]
    for field, value in (("classes", "seen"), ("supports", "exchanged"), ("protocol", "paper")):
        hidden.append(replace(listed[2], measurement=replace(PLANNED[0], **{field: value})))
    assert of_tables([*listed, *hidden]) == [listed[2], listed[1], listed[0]]


def test_comparisons_among_the_measurements_of_a_table_are_those_of_its_columns():
    results = [with_iou(50, shots=5), with_iou(40, shots=5, method="prototype"), *RESULTS]
    compared = compare(results, "la")
    (chosen,) = among(compared, PLANNED)
    assert (chosen.other, chosen.setting) == ("prototype", "1-way 1-shot")
    assert chosen.difference.value == COMPARED[0].difference.value
    assert among(compared, []) == []


@pytest.mark.parametrize(("second", "left"), [(50, "1 lead and 0 losses"), (41, "0 leads and")])
def test_the_overview_says_what_the_interval_over_folds_leaves(second, left):
    """A lead of ten points in both folds, or of ten points in one and one in the other."""
    results = []
    for fold, ours in enumerate((50, second)):
        results.append(with_iou(ours, fold=fold))
        results.append(with_iou(40, fold=fold, method="threshold_prototype"))
    sentence = overview(pd.DataFrame({"verdict": []}), compare(results, "la")).sentence
    assert left in sentence
    assert "by those over folds, and so for other classes" in sentence
