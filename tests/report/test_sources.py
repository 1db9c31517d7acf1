"""The way from a number to its code, its counts and its episode list."""

import json
import re
from dataclasses import replace
from pathlib import Path

import pytest
from hand_made import result, with_iou

from la.experiment.methods import KNOWN
from la.report.sources import episode_lists, source_link, sources
from la.types import PromptKind

ROOT = Path(__file__).resolve().parents[2]
RESULTS = ROOT / "results" / "quick"


@pytest.mark.parametrize("name", KNOWN)
def test_the_linked_line_defines_the_class_of_the_method(name):
    target, line = re.search(r"\]\((.+)#L(\d+)\)", source_link(RESULTS, name)).groups()
    text = (RESULTS / target).read_text().splitlines()[int(line) - 1]
    assert text.startswith(("class ", "@dataclass"))


def test_outside_of_a_checkout_the_place_is_told_without_a_link(tmp_path):
    place = source_link(tmp_path / "results" / "quick", "la")
    assert place.startswith("la/model/label_anything.py, line ")
    assert source_link(RESULTS, "Mine") == "the notebook"


def test_each_method_leads_to_its_lines_in_the_file_of_the_table(tmp_path):
    results = [with_iou(40), with_iou(40, seed=1), with_iou(30, method="affinity")]
    (tmp_path / "measurements").mkdir()
    ordered = [results[2], results[0], results[1]]
    lines = [json.dumps(r.to_json()) for r in ordered]
    (tmp_path / "measurements" / "table2.jsonl").write_text("\n".join(lines))
    table = sources(tmp_path, "table2", [*results, with_iou(20, method="ridge")])
    assert table.loc["LA", "pixel counts"] == "[lines 2 to 3](measurements/table2.jsonl)"
    assert table.loc["Affinity", "pixel counts"] == "[lines 1 to 1](measurements/table2.jsonl)"
    assert table.loc["Ridge classifier", "pixel counts"] == "not stored"
    assert set(table["episode lists"]) == {"[table2_lists.csv](table2_lists.csv)"}
    assert (tmp_path / "table2_lists.csv").exists()


def test_methods_share_a_list_and_other_prompts_are_another_list():
    boxes = replace(result(kinds=(PromptKind.BOX, PromptKind.POINT)), episodes_sha256="b" * 64)
    lists = episode_lists([result(), result("affinity"), boxes])
    assert list(lists["sha256"]) == ["e" * 64, "b" * 64]
    assert lists["command"].iloc[1] == (
        "python -m la episodes --fold 0 --ways 1 --shots 1 --seed 0 --episodes 1 "
        "--prompts box+point"
    )
