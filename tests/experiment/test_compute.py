"""A table's results: computed once, shared between tables, and marked when other code made them."""

import logging
from dataclasses import replace

import pytest

import la
from la import code
from la.config import PROTOCOLS
from la.experiment import job, scoring
from la.experiment.runs import Run
from la.experiment.setup.measurements import Measurement
from la.experiment.setup.workbench import Workbench
from la.experiment.validation import validation

MEASUREMENT = Measurement("threshold_prototype", 0, 1, 1, 0, 8)


@pytest.fixture
def bench(short, few, home):
    return Workbench(short, few(120, 120), home=home)


def other_code(monkeypatch):
    monkeypatch.setattr(job, "scoring_code", lambda module: "newer")


def test_a_stored_result_is_not_computed_again_and_stands_in_both_tables(bench, monkeypatch):
    (made,) = la.compute(bench, "one", [MEASUREMENT])
    monkeypatch.setattr(scoring, "count", None)
    (read,) = la.compute(bench, "two", [MEASUREMENT])
    assert read.scores.miou_star == made.scores.miou_star
    folder = bench.results / "measurements"
    assert (folder / "one.jsonl").read_bytes() == (folder / "two.jsonl").read_bytes()


def test_a_part_of_a_table_leaves_the_rest_of_its_file(bench):
    other = replace(MEASUREMENT, seed=1)
    la.compute(bench, "one", [MEASUREMENT, other])
    la.compute(bench, "one", [MEASUREMENT])
    assert len(la.stored(bench, [MEASUREMENT, other])) == 2


def test_a_table_touches_its_own_file_alone(bench):
    la.compute(bench, "one", [MEASUREMENT])
    before = (bench.results / "measurements" / "one.jsonl").stat().st_mtime_ns
    la.compute(bench, "two", [replace(MEASUREMENT, seed=1)])
    assert (bench.results / "measurements" / "one.jsonl").stat().st_mtime_ns == before


def test_results_of_other_code_are_named_in_one_line_and_recomputed_on_demand(
    bench, monkeypatch, caplog
):
    la.compute(bench, "one", [MEASUREMENT])
    other_code(monkeypatch)
    with caplog.at_level(logging.WARNING):
        (kept,) = la.compute(bench, "one", [MEASUREMENT])
    lines = [r.message for r in caplog.records if "other code" in r.message]
    assert len(lines) == 1 and "RECOMPUTE=1" in lines[0]
    assert kept.code != "newer"
    (again,) = la.compute(bench, "one", [MEASUREMENT], recompute=True)
    assert again.code == "newer"
    assert len((bench.results / "measurements" / "one.jsonl").read_text().splitlines()) == 1


@pytest.mark.slow
@pytest.mark.parametrize("newer_scoring", [True, False])
def test_a_model_of_other_code_is_kept_aside_and_trained_again_on_demand(
    newer_scoring, bench, monkeypatch
):
    measurement = replace(MEASUREMENT, method="la")
    la.compute(bench, "one", [measurement])
    folder = job.Job(bench, measurement).run.folder
    (folder / "code.txt").write_text("older\n")
    if newer_scoring:  # else the result is of today's code, and only its model is not
        other_code(monkeypatch)
    la.compute(bench, "one", [measurement], recompute=True)
    assert (folder.with_name(f"{folder.name}.by-older") / "model.safetensors").exists()
    assert (folder / "code.txt").read_text().strip() == code.training_code()


@pytest.mark.parametrize("protocol", ["clean", "paper"])
def test_validation_during_training_follows_the_protocol_of_the_profile(
    bench, protocol, monkeypatch
):
    """Episodes must be drawn by its rules, and targets painted by them."""
    # Objects of 96-pixel drawings are small: kept here, so that episodes can be drawn.
    monkeypatch.setitem(PROTOCOLS, "paper", replace(PROTOCOLS["paper"], small_instances="keep"))
    evaluation = replace(bench.config.evaluation, protocol=protocol)
    bench = replace(bench, config=replace(bench.config, evaluation=evaluation))
    asked = []
    rules = Workbench.rules

    def spy(self, name):
        asked.append(name)
        return rules(self, name)

    monkeypatch.setattr(Workbench, "rules", spy)
    run = Run.of(bench, la.experiment.methods.method("la"), 0, 0)
    validate = validation(bench, 0)
    assert set(asked) == {protocol} and len(asked) >= 2
    assert 0 <= validate(run.fresh_model()) <= 1


@pytest.mark.slow
def test_fine_tuning_two_models_of_one_file_name_gives_two_models(bench, tmp_path):
    method = la.experiment.methods.method("la")
    first = Run.of(bench, method, 0, 0).train()
    second = Run.of(bench, method, 0, 1).train()
    tuned = [Run.of(bench, method, 1, 0).train(init=str(path)) for path in (first, second)]
    assert first.name == second.name and tuned[0] != tuned[1]


def test_the_code_digest_ignores_words_and_notices_statements(tmp_path, monkeypatch):
    monkeypatch.setattr(code, "PACKAGE", tmp_path)
    path = tmp_path / "a.py"
    path.write_text('"""One."""\n\n\ndef f(x):\n    """Two."""\n    return x + 1\n')
    plain = code.code_digest([path])
    path.write_text('"""Other."""\n\n\ndef f(x: int) -> int:\n    # why\n    return x + 1\n')
    assert code.code_digest([path]) == plain
    path.write_text('"""One."""\n\n\ndef f(x):\n    return x + 2\n')
    assert code.code_digest([path]) != plain


def test_the_code_digest_is_the_same_under_every_version_of_python(tmp_path, monkeypatch):
    monkeypatch.setattr(code, "PACKAGE", tmp_path)
    path = tmp_path / "a.py"
    path.write_text(
        "class A:\n    x = None\n\n    def f(self, *, y=()):\n"
        '        return [z async for z in y if f"{z!r:>{self.x}} and" "more"]\n'
    )
    assert code.code_digest([path]) == "7b0ac7a524c9"  # as Python 3.11, 3.12 and 3.13 compute it


def names(module: str) -> set[str]:
    """The files that the digest of a method's code is made of."""
    paths: list = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(code, "code_digest", lambda files: paths.extend(files) or "")
        code.scoring_code.__wrapped__(module)
    return {path.relative_to(code.PACKAGE).as_posix() for path in paths}


def test_the_scoring_code_of_a_trained_method_holds_what_trains_and_counts_it():
    needed = {"learn/metrics.py", "data/sampling/loader.py", "model/label_anything.py", "rng.py"}
    files = names("")
    assert needed <= files and "experiment/scoring.py" in files
    assert "learn/weights/checkpoints.py" not in files
    assert not any(name.startswith("comparators/") for name in files)


def test_the_scoring_code_of_a_training_free_method_holds_its_own_modules_alone():
    files = names("la.comparators.ridge")
    needed = {"comparators/ridge.py", "comparators/tokens.py", "comparators/raster.py"}
    assert needed <= files and "learn/metrics.py" in files
    assert not files & {"comparators/affinity.py", "model/label_anything.py", "learn/steps.py"}


def test_code_that_was_verified_to_give_equal_numbers_is_todays(bench, monkeypatch, tmp_path):
    monkeypatch.setattr(code, "EQUAL", tmp_path / "equal.txt")
    code.EQUAL.write_text("")
    code._equal_to.cache_clear()
    assert code.is_todays("now", "now") and not code.is_todays("first", "now")
    code.accept("first", "second", "table2")
    code.accept("second", "now", "table2, fold 0")
    assert code.is_todays("first", "now") and not code.is_todays("other", "now")
    code.accept("first", "sibling", "table5")  # equal to what is equal to today's
    assert code.is_todays("sibling", "now")
    code._equal_to.cache_clear()
