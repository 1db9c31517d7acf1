"""The page of claims, from results made by hand."""

from hand_made import with_iou

from la.report.claims import claims


def test_each_table_with_results_has_its_claim_and_verdict():
    results = [with_iou(50), with_iou(40, method="prototype")]
    planned = [r.measurement for r in results]
    table = claims({"table1": planned, "table2": [], "figure3": planned}, results)
    assert table["notebook"].tolist() == ["table1"]
    assert table["verdict"].tolist() == ["confirmed"]
    assert "50.0 %" in table["found here"].iloc[0] and "Table 1" in table.index[0]


def test_a_table_that_lacks_results_is_not_judged():
    results = [with_iou(50), with_iou(40, method="prototype")]
    planned = [*(r.measurement for r in results), with_iou(50, seed=1).measurement]
    table = claims({"table1": planned}, results)
    assert table["verdict"].tolist() == ["not run"]
    assert table["found here"].tolist() == ["2 of 3 results have been computed."]
