"""The way from a number to its code, its counts and its episode list."""

import json
import re
import shlex
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest
from hand_made import result, with_iou

from la.__main__ import main
from la.experiment.job import Job
from la.experiment.methods import KNOWN, label
from la.experiment.setup.measurements import Measurement
from la.experiment.setup.workbench import Workbench
from la.profiles import profile
from la.report.scores.sources import episode_lists, source_link, sources, tables_of
from la.report.scores.tables import prompts_of
from la.types import PromptKind

ROOT = Path(__file__).resolve().parents[2]
RESULTS = ROOT / "results" / "quick"


@pytest.fixture
def bench(tmp_path):
    return Workbench(profile("quick"), home=tmp_path)


@pytest.mark.parametrize("name", KNOWN)
def test_the_linked_line_defines_the_class_of_the_method(name):
    target, line = re.search(r"\]\((.+)#L(\d+)\)", source_link(RESULTS, name)).groups()
    text = (RESULTS / target).read_text().splitlines()[int(line) - 1]
    assert text.startswith(("class ", "@dataclass"))


def test_outside_of_a_checkout_the_place_is_told_without_a_link(tmp_path):
    place = source_link(tmp_path / "results" / "quick", "la")
    assert place.startswith("la/model/label_anything.py, line ")
    assert source_link(RESULTS, "Mine") == "the notebook"


def test_each_method_leads_to_its_lines_in_the_file_of_the_table(bench):
    results = [with_iou(40), with_iou(40, seed=1), with_iou(30, method="affinity")]
    other = with_iou(30, method="prototype")
    results.append(with_iou(40, seed=2))
    (bench.results / "measurements").mkdir(parents=True)
    ordered = [results[2], results[0], results[1], other, results[3]]
    lines = [json.dumps(r.to_json()) for r in ordered]
    (bench.results / "measurements" / "table2.jsonl").write_text("\n".join(lines))
    table = sources(bench, "table2", [*results, with_iou(20, method="ridge")])
    counts = table["pixel counts"]
    assert counts["LA", "1-way 1-shot"] == (
        "[lines 2 to 3](measurements/table2.jsonl#L2-L3), [line 5](measurements/table2.jsonl#L5)"
    )
    assert counts["Affinity", "1-way 1-shot"] == "[line 1](measurements/table2.jsonl#L1)"
    assert counts["Ridge classifier", "1-way 1-shot"] == "not stored"
    assert set(table["episode lists"]) == {"[lines 2 to 4](table2_lists.csv#L2-L4)"}
    lists = (bench.results / "table2_lists.csv").read_text().splitlines()
    assert all(line.startswith("1-way 1-shot,masks") for line in lists[1:4]) and len(lists) == 4
    assert set(table["notebook"]) == {"[table2](../../notebooks/table2.ipynb)"}


def test_a_number_of_other_prompts_has_a_row_of_its_own(bench):
    boxes = with_iou(30, kinds=(PromptKind.BOX,))
    table = sources(bench, "table5", [with_iou(40), boxes])
    assert list(table.index) == [
        ("LA", "masks", "1-way 1-shot"),
        ("LA", "boxes", "1-way 1-shot"),
    ]
    assert list(table["episode lists"]) == [
        "[line 2](table5_lists.csv#L2)",
        "[line 3](table5_lists.csv#L3)",
    ]


def test_methods_share_a_list_and_other_prompts_are_another_list(bench):
    boxes = replace(result(kinds=(PromptKind.BOX, PromptKind.POINT)), episodes_sha256="b" * 64)
    lists = episode_lists(bench, [result(), result("affinity"), boxes])
    assert list(lists["sha256"]) == ["e" * 64, "b" * 64]
    assert lists["command"].iloc[1] == (
        "python -m la episodes --profile quick --fold 0 --ways 1 --shots 1 --seed 0 --episodes 1 "
        "--prompts box+point"
    )


def test_the_command_of_a_list_prints_that_list(few, tmp_path, capsys, monkeypatch):
    folder = few(4, 120)
    bench = Workbench(
        profile("smoke"), folder, tmp_path, unseen=("airplane, red waves", "blob 37, mint dots")
    )
    measurement = Measurement("floor", 0, 2, 1, 3, 5)
    (command,) = episode_lists(bench, [Job(bench, measurement).measure()])["command"]
    monkeypatch.chdir(folder.parent)
    assert main(shlex.split(command.removeprefix("python -m la "))) == 0
    expected = [episode.to_json() for episode in bench.episodes(measurement)]
    assert capsys.readouterr().out.splitlines() == expected


def test_a_setting_belongs_to_the_first_table_that_has_it(tmp_path):
    (tmp_path / "table1.ipynb").touch()
    boxes = result(kinds=(PromptKind.BOX,)).measurement
    planned = {"table1": [result().measurement], "table5": [result().measurement, boxes]}
    columns = [("boxes", "1-way 1-shot"), ("masks", "1-way 1-shot")]
    assert tables_of(tmp_path, planned, columns) == ["table5", "[table1](table1.ipynb)"]


@pytest.mark.parametrize("table", ["table1", "table2", "table3", "table5"])
def test_a_stored_number_is_a_hundred_times_the_mean_of_miou_star_over_its_lines(table):
    """As the page says below the heading of the links."""
    of_number: dict[tuple[str, ...], list[float]] = {}
    stored = (RESULTS / "measurements" / f"{table}.jsonl").read_text(encoding="utf-8")
    for line in stored.splitlines():
        plain = json.loads(line)
        m = Measurement(**plain["measurement"])
        m = replace(m, kinds=tuple(PromptKind(kind) for kind in m.kinds))
        key = (label(m.method), prompts_of(m), m.setting)
        of_number.setdefault(key, []).append(100 * plain["miou_star"])
    means = pd.read_csv(RESULTS / f"{table}.csv").query("fold == 'mean'")
    assert len(means) > 5
    for row in means.itertuples():
        lines = of_number[row.method, row.prompts, row.setting]
        assert row.value == pytest.approx(sum(lines) / len(lines)), row
