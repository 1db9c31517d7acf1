"""One file of results per table: sorted, shared, merged, and damage is named."""

import json
import multiprocessing
import os
from dataclasses import replace

import pytest
from hand_made import result

from la.errors import UserError
from la.experiment.setup.measurements import Store


def add_many(folder, seeds):
    for seed in seeds:
        one = result(seed=seed)
        Store(folder).add("table1", {one.measurement.key("x"): one})


def test_lines_are_sorted_whatever_the_order_of_adding(tmp_path):
    first, second = Store(tmp_path / "a"), Store(tmp_path / "b")
    results = {
        r.measurement.key("x"): r for r in (result(seed=s, fold=f) for s in (1, 0) for f in (1, 0))
    }
    first.add("t", results)
    for key in sorted(results):
        second.add("t", {key: results[key]})
    assert first.path("t").read_bytes() == second.path("t").read_bytes()
    lines = [json.loads(line)["measurement"] for line in first.path("t").read_text().splitlines()]
    assert [(m["fold"], m["seed"]) for m in lines] == [(0, 0), (0, 1), (1, 0), (1, 1)]


def test_a_result_with_other_supports_is_sorted_beside_a_stored_one(tmp_path):
    store = Store(tmp_path)
    store.add("t", {"a": result()})
    store.add("t", {"b": result(supports="exchanged")})
    lines = map(json.loads, store.path("t").read_text().splitlines())
    assert [line["measurement"]["supports"] for line in lines] == ["exchanged", "own"]


def test_a_result_of_another_table_is_found_and_an_unknown_one_is_not(tmp_path):
    store, one = Store(tmp_path), result()
    store.add("table2", {"k": one})
    found = store.find(["k", "other"], "table1")
    assert list(found) == ["k"] and found["k"].measurement == one.measurement
    assert not store.path("table1").exists()


def test_a_result_of_todays_code_is_preferred_to_an_older_one_of_the_table(tmp_path):
    store = Store(tmp_path)
    store.add("table1", {"k": replace(result(), code="older")})
    store.add("table2", {"k": replace(result(), code="newer")})
    assert store.find(["k"], "table1")["k"].code == "older"
    found = store.find(["k"], "table1", {"k": "newer"})
    assert found["k"].code == "newer"
    assert store.find(["k"], "table1", {"k": "newest"})["k"].code == "older"
    store.complete("table1", found)
    assert store.find(["k"], "table1")["k"].code == "newer"


def test_two_processes_that_add_at_once_lose_nothing(tmp_path):
    context = multiprocessing.get_context("fork" if os.name == "posix" else "spawn")
    workers = [
        context.Process(target=add_many, args=(tmp_path, range(start, 20, 2))) for start in (0, 1)
    ]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert len(Store(tmp_path).path("table1").read_text().splitlines()) == 20


def test_a_line_that_measures_the_same_under_another_key_is_dropped_and_no_other(tmp_path):
    store = Store(tmp_path)
    store.add("t", {"old": result(), "new": result(), "other": result(seed=1)})
    store.complete("t", {"new": result()})
    assert sorted(store.find(["old", "new", "other"])) == ["new", "other"]


def test_a_complete_file_is_not_written_again_and_an_incomplete_one_gets_what_it_lacks(tmp_path):
    store, one, other = Store(tmp_path), result(), result(seed=1)
    store.add("t", {"one": one})
    before = store.path("t").stat().st_mtime_ns
    store.complete("t", {"one": replace(one, seconds=one.seconds + 1)})
    assert store.path("t").stat().st_mtime_ns == before
    store.complete("t", {"one": one, "other": other})
    assert sorted(store.find(["one", "other"], "t")) == ["one", "other"]


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (lambda text: text[: len(text) // 2], "line 1, is not a result .* delete the line"),
        (lambda text: text.replace('"fit"', '"fits"'), "damaged result, k .* delete its line"),
        (lambda text: "{}\n", "line 1, is not a result"),
    ],
)
def test_a_damaged_line_is_named_with_what_to_do(tmp_path, damage, words):
    store = Store(tmp_path)
    store.add("t", {"k": result()})
    store.path("t").write_text(damage(store.path("t").read_text()))
    with pytest.raises(UserError, match=words):
        store.find(["k"])
