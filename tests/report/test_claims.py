"""The page of claims, from results made by hand."""

from hand_made import with_iou

from la.report.claims import claims


def test_each_table_with_results_has_its_claim_and_verdict():
    better = [with_iou(50), with_iou(40, method="prototype")]
    table = claims({"table1": better, "table2": [], "figure3": better, "table3": better})
    assert table["notebook"].tolist() == ["table1", "table3"]
    assert table["verdict"].tolist() == ["confirmed", "not run"]
    assert "50.0 %" in table["found here"].iloc[0] and "Table 1" in table.index[0]
