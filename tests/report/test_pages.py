"""Pages of a results folder: what is there, Markdown, and provenance."""

import json

import pandas as pd
from hand_made import result, with_iou

from la.report import pages
from la.report.tables import TABLES


def test_markdown_joins_headers_and_leaves_what_is_unknown_empty():
    columns = pd.MultiIndex.from_tuples([("1-way", "mean"), ("1-way", "+-")])
    frame = pd.DataFrame([[1.5, float("nan")]], ["LA"], columns)
    lines = pages.markdown(frame).splitlines()
    assert lines == ["|  | 1-way mean | 1-way +- |", "| --- | --- | --- |", "| LA | 1.5 |  |"]


def test_a_page_holds_headline_tables_and_text(tmp_path):
    frame = pd.DataFrame({"points": [1.0]}, pd.Index(["LA"], name="method"))
    path = pages.write_page(
        tmp_path, "table1", "A line.", {"Ours": frame, "Links": "- one\n", "Later": frame[:0]}
    )
    text = path.read_text()
    assert text.endswith("\n\n## Later\n\nNot run yet.\n")
    assert text.startswith("# Table1\n\nA line.\n")
    assert "\n\n## Ours\n\n| method | points |" in text and "\n\n## Links\n\n- one\n" in text


def test_the_front_page_is_titled_by_its_profile(tmp_path):
    path = pages.write_page(tmp_path / "quick", "README", "A line.", {})
    assert path.read_text().startswith("# Results: quick\n")


def test_each_notebook_is_asked_for_its_own_folds_and_seeds():
    asked = pages.asked("quick", seeds=None, episodes=7)
    assert list(asked) == list(TABLES)
    folds = {name: {cell.fold for cell in cells} for name, cells in asked.items()}
    assert folds["table1"] == {0, 1, 2, 3} and folds["table4"] == folds["figure3"] == {0}
    assert {cell.seed for cell in asked["table1"]} == {0, 1, 2}
    assert {cell.seed for cell in asked["figure3"]} == {0}
    assert {cell.episodes for cells in asked.values() for cell in cells} == {7}


def test_contents_link_what_was_run_and_count_the_cells_that_are_there(tmp_path):
    for name in ("table1", "table2.failed"):
        cells = [{"source": [f"# About {name}\n", "text"]}]
        (tmp_path / f"{name}.ipynb").write_text(json.dumps({"cells": cells}))
    one, two = with_iou(20), with_iou(20, method="affinity")
    asked = {"table1": [one.measurement, two.measurement], "table2": [two.measurement]}
    table = pages.contents(tmp_path, asked, [one])
    assert table.loc["table1"].tolist() == ["[About table1](table1.ipynb)", "1 of 2"]
    assert table.loc["table2"].tolist() == ["not run yet", "0 of 1"]


def test_provenance_changes_with_any_episode_list():
    facts = pages.provenance([result(seed=0), result(seed=1)])[""]
    assert facts["seeds"] == "0, 1" and facts["commit"] == "abc"
    assert facts["minutes of evaluation"] == 0.2
    other = pages.provenance([result(seed=0)])[""]
    name = "episode lists (SHA-256 of all)"
    assert facts[name] != other[name]
