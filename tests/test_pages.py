"""Pages of a results folder: the front page's table, Markdown, links, and provenance."""

import json

import pandas as pd
import pytest
from hand_made import result, with_iou

from la import pages
from la.types import PromptKind


def test_markdown_joins_headers_and_leaves_what_is_unknown_empty():
    columns = pd.MultiIndex.from_tuples([("1-way", "mean"), ("1-way", "+-")])
    frame = pd.DataFrame([[1.5, float("nan")]], ["LA+"], columns)
    lines = pages.markdown(frame).splitlines()
    assert lines == ["|  | 1-way mean | 1-way +- |", "| --- | --- | --- |", "| LA+ | 1.5 |  |"]


def test_a_page_holds_headline_tables_and_text(tmp_path):
    frame = pd.DataFrame({"points": [1.0]}, pd.Index(["LA"], name="method"))
    path = pages.write_page(tmp_path, "table1", "A line.", {"Ours": frame, "Links": "- one\n"})
    text = path.read_text()
    assert text.startswith("# Table1\n\nA line.\n")
    assert "## Ours\n\n| method | points |" in text and "## Links\n\n- one\n" in text


def test_the_front_page_is_titled_by_its_profile(tmp_path):
    path = pages.write_page(tmp_path / "quick", "README", "A line.", {})
    assert path.read_text().startswith("# Results: quick\n")


def test_links_name_notebooks_that_were_executed_and_no_failed_ones(tmp_path):
    for name in ("table1", "table2.failed"):
        cells = [{"source": [f"# About {name}\n", "text"]}]
        (tmp_path / f"{name}.ipynb").write_text(json.dumps({"cells": cells}))
    assert pages.links(tmp_path) == "- [About table1](table1.ipynb)\n"


def test_the_summary_puts_the_papers_numbers_beside_ours_under_their_own_header():
    boxes = (PromptKind.BOX,)
    results = [
        with_iou(20, kinds=boxes), with_iou(40), with_iou(50, protocol="paper"),
        with_iou(30, method="la"), with_iou(10, method="floor"),
    ]  # fmt: skip
    table = pages.summary(results)
    assert list(table.index) == [("masks", "1-way 1-shot"), ("boxes", "1-way 1-shot")]
    assert table["ours"].columns.tolist() == ["LA+", "LA, the paper's model"]
    assert table["ours", "LA+"].tolist() == ["40.0", "20.0"]
    paper = table["the paper (COCO-20i)"]
    assert paper["LA (SAM)"].tolist() == ["43.1", "38.3"]
    assert paper["LA (MAE)"].tolist() == ["39.7", ""]


def test_a_summary_of_nothing_says_what_to_do():
    with pytest.raises(ValueError, match="make reproduce"):
        pages.summary([])


def test_results_of_a_table_are_told_from_others():
    of_table4 = with_iou(30, method="la complete seed 1")
    assert pages.only([with_iou(20), of_table4], "table4") == [of_table4]
    assert pages.only([with_iou(20, protocol="hsnet")], "table1") == []


def test_coverage_counts_the_cells_that_are_there():
    wanted = {"folds": [0], "seeds": [0], "episodes": 1}
    text = pages.coverage([with_iou(20)], "quick", **wanted)
    assert "- figure3: 0 of 1 cells\n" in text and "- train: 1 of 2 cells\n" in text
    assert len(pages.all_cells("quick", **wanted)) == len(set(pages.all_cells("quick", **wanted)))


def test_provenance_changes_with_any_episode_list():
    facts = pages.provenance([result(seed=0), result(seed=1)])[""]
    assert facts["seeds"] == [0, 1] and facts["commit"] == "abc"
    assert facts["minutes of evaluation"] == 0.2
    other = pages.provenance([result(seed=0)])[""]
    name = "episode lists (SHA-256 of all)"
    assert facts[name] != other[name]
