"""Pages of a results folder: what is there, Markdown, and provenance."""

import json
from dataclasses import replace

import pandas as pd
from hand_made import result, with_iou

from la.report.pages import markdown as pages
from la.report.verdicts.finding import ONE_CLASS, Finding
from la.types import PromptKind


def cells(line: str) -> list[str]:
    """The texts between the bars of a row of a Markdown table."""
    return [text.strip() for text in line.strip().strip("|").split("|")]


def test_markdown_joins_headers_and_leaves_what_is_unknown_empty():
    columns = pd.MultiIndex.from_tuples([("1-way", "mean"), ("1-way", "±")])
    frame = pd.DataFrame([[1.5, float("nan")]], ["LA"], columns)
    header, line, row = pages.markdown(frame).splitlines()
    assert cells(header) == ["", "1-way mean", "1-way ±"]
    assert set(line) <= set("|:-") and cells(row) == ["LA", "1.5", ""]


def test_markdown_shows_every_level_of_the_rows_and_numbers_as_they_are():
    index = pd.MultiIndex.from_tuples([("masks", "LA"), ("boxes", "LA")], names=["prompts", None])
    frame = pd.DataFrame({"x": [20.0, 1e-7], "": ["", "unresolved"]}, index)
    lines = pages.markdown(frame).splitlines()
    assert cells(lines[0]) == ["prompts", "", "x", ""]
    assert cells(lines[2]) == ["masks", "LA", "20.0", ""]
    assert cells(lines[3]) == ["boxes", "LA", "1e-07", "unresolved"]


def test_a_page_holds_headline_tables_and_text(tmp_path):
    frame = pd.DataFrame({"points": [1.0]}, pd.Index(["LA"], name="method"))
    path = pages.write_page(
        tmp_path, "table1", "A line.", {"Ours": frame, "Links": "- one\n", "Later": frame[:0]}
    )
    text = path.read_text()
    assert text.endswith("\n\n## Later\n\nNot run yet.\n")
    assert text.startswith("# Table1\n\nA line.\n")
    assert "\n\n## Ours\n\n| method   | points   |" in text and "\n\n## Links\n\n- one\n" in text


def test_the_front_page_is_titled_by_its_profile(tmp_path):
    path = pages.write_page(tmp_path / "quick", "README", "A line.", {})
    assert path.read_text().startswith("# Results: quick\n")


def test_contents_link_what_was_run_and_count_the_results_that_are_there(tmp_path):
    for name in ("table1", "table2.failed"):
        cells = [{"source": [f"# About {name}\n", "text"]}]
        (tmp_path / f"{name}.ipynb").write_text(json.dumps({"cells": cells}))
    one, two = with_iou(20), with_iou(20, method="affinity")
    asked = {"table1": [one.measurement, two.measurement], "table2": [two.measurement]}
    table = pages.contents(tmp_path, asked, [one])
    assert table.loc["table1"].tolist() == ["[About table1](table1.ipynb)", "1 of 2"]
    assert table.loc["table2"].tolist() == ["not run yet", "0 of 1"]
    assert list(table.index) == ["table1", "table2"]


def test_contents_have_the_pages_that_compute_what_they_show(tmp_path):
    for name in ("choosing", "model"):
        cells = [{"source": [f"# About {name}\n"]}]
        (tmp_path / f"{name}.ipynb").write_text(json.dumps({"cells": cells}))
    table = pages.contents(tmp_path, {"train": [with_iou(20).measurement]}, [])
    assert list(table.index) == ["train", "model", "choosing"]
    assert table.loc["model"].tolist() == [
        "[About model](model.ipynb)",
        "computed by the page itself",
    ]


def test_provenance_changes_with_any_episode_list():
    facts = pages.provenance([result(seed=0), result(seed=1)])[""]
    assert facts["seeds"] == "0, 1" and facts["commit"] == "abc"
    assert facts["minutes of evaluation"] == "0.2"
    other = pages.provenance([result(seed=0)])[""]
    name = "episode lists (SHA-256 of all)"
    assert facts[name] != other[name]


def test_lists_of_other_prompts_protocols_and_classes_are_told_apart():
    name = "episode lists (SHA-256 of all)"
    plain = result()
    digests = set()
    for other in (
        replace(result(kinds=(PromptKind.BOX,)), episodes_sha256="f" * 64),
        replace(result(protocol="paper"), episodes_sha256="f" * 64),
        replace(result(classes="seen"), episodes_sha256="f" * 64),
    ):
        digests.add(pages.provenance([plain, other])[""][name])
        digests.add(pages.provenance([other, plain])[""][name])
    assert len(digests) == 3  # in any order, and one for each kind of list


def test_provenance_lists_all_commits_devices_protocols_and_codes():
    here = replace(result(), provenance={"commit": "abc", "device": "x86_64"})
    there = replace(
        result(fold=1, protocol="paper"),
        provenance={"commit": "def", "device": "H100"},
        code="0ther",
    )
    facts = pages.provenance([here, there])[""]
    assert facts["commit"] == "abc, def" and facts["device"] == "H100, x86_64"
    assert facts["protocols"] == "clean, paper"
    assert facts["scoring code (digest)"] == "0ther, c0de"


def trained(seed, model, shots=1):
    return replace(result(seed=seed, shots=shots), checkpoint_sha256=model)


def test_the_basis_says_what_the_interval_holds():
    rival = result("affinity")
    one = pages.basis("Quick.", [trained(0, "a"), rival])
    assert "Fold 0, 1 episode list of 1 episode " in one and "there is no ±" in one
    several = pages.basis("Quick.", [trained(0, "a"), trained(1, "b"), rival])
    five_shots = [trained(seed, "c", shots=5) for seed in range(3)]
    mixed = pages.basis("Quick.", [trained(0, "a"), trained(1, "b"), *five_shots])
    assert "Fold 0, 2 or 3 episode lists" in mixed and "over these 2 or 3 lists" in mixed
    two_shots = [trained(seed, "d", shots=2) for seed in range(2)]
    many = pages.basis("Quick.", [trained(0, "a"), *two_shots, *five_shots])
    assert "1 to 3 episode lists" in many and "over these 1 to 3 lists" in many
    assert several.startswith("Quick.\n\nFold 0, 2 episode lists of 1 episode ")
    assert "2 trainings of each trained row" in several
    assert "these 2 lists" in several and "± covers both" in several
    shared = pages.basis("Quick.", [trained(0, "a"), trained(1, "a")])
    assert "1 training of each trained row" in shared and "does not include" in shared
    untrained = pages.basis("Quick.", [rival, result("affinity", seed=1)])
    assert "training" not in untrained and untrained.endswith("over these 2 lists.")


def test_a_page_without_results_says_so():
    assert pages.basis("Quick.", []) == "Quick.\n\nNothing has been computed yet."


def test_a_page_opens_with_its_finding():
    text = pages.opening(Finding("LA wins.", ONE_CLASS, "confirmed"), "Quick.", [result()])
    claim = f"The paper's claim (4.3, Table 1): {ONE_CLASS.text} *Here: confirmed*."
    assert text.startswith(f"**LA wins.**\n\n{claim}\n\n")
    assert "\n\nQuick.\n\nFold 0" in text


def test_the_basis_names_what_the_data_do_not_allow():
    measured = [result("la", fold=0)]
    possible = measured[0].measurement
    assert "too few classes" not in pages.basis("Quick.", measured, [possible])
    asked = [possible, replace(possible, n_ways=5), replace(possible, fold=1)]
    text = pages.basis("Quick.", measured, asked)
    assert text.endswith(
        "or too few images of them, for 5-way 1-shot, fold 1; what they allow is shown instead: "
        "1-way 1-shot."
    )
