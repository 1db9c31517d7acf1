"""The numbers in docs/own_data.md are those of the results pages that it links."""

import re
from pathlib import Path

import pandas as pd
import pytest

from la.report.scores.statistics import t_interval

ROOT = Path(__file__).resolve().parent.parent
TEXT = (ROOT / "docs" / "own_data.md").read_text(encoding="utf-8")
ROW = re.compile(
    r"^\| `(?P<profile>quick|photos)` \|(?: (?P<method>[^|]+) \|)? (?P<k>\d) \| "
    r"(?P<way>[\d.]+) \| (?P<other>[\d.]+) \| (?P<gain>[+-][\d.]+ ± [\d.]+) \|$",
    re.M,
)
WAYS = {"choosing": ("chosen", "random"), "adapting": ("adapted", "unchanged")}


@pytest.mark.parametrize("page, n_rows", [("choosing", 12), ("adapting", 6)])
def test_every_row_of_a_table_is_the_mean_of_the_stored_classes(page, n_rows):
    way, other = WAYS[page]
    is_choosing = page == "choosing"  # whose rows name a method
    rows = [row for row in ROW.finditer(TEXT) if bool(row["method"]) == is_choosing]
    assert len(rows) == n_rows
    for row in rows:
        classes = pd.read_csv(ROOT / "results" / row["profile"] / f"{page}.csv")
        method = row["method"] or "LA"
        shown = classes[(classes["method"] == method) & (classes["k_shots"] == int(row["k"]))]
        gain = t_interval((shown[way] - shown[other]).tolist())
        assert row["way"] == f"{shown[way].mean():.1f}", row.group()
        assert row["other"] == f"{shown[other].mean():.1f}", row.group()
        assert row["gain"] == gain.points, row.group()
