"""The plan of a run: what is left, what would stop it first, and what `auto` stands for."""

import math
import time
from collections import namedtuple
from dataclasses import replace

import pytest
import torch
from hand_made import result

from la.data import download, transfer
from la.data.embedded.synthetic import write
from la.experiment.job import Job
from la.experiment.needs import needs_of
from la.experiment.planning import fetching, ways
from la.experiment.planning import plan as planning
from la.experiment.planning.pace import Pace, measure
from la.experiment.planning.plan import auto_profile, plan, prepare
from la.experiment.planning.rates import Rates, measure_rates
from la.experiment.planning.typical import random_batch
from la.experiment.planning.ways import COCO_IMAGES, Speed
from la.experiment.setup.measurements import Measurement, Store
from la.experiment.setup.rounding import SHORT_DISK, feature_bytes, settle_if_short
from la.experiment.setup.workbench import Workbench
from la.profiles import profile
from la.report.pages.notebooks import plan_of

QUICK = profile("quick")
MEASUREMENTS = [Measurement("la", 0, 1, 1, 0, 1000)]
SMALL = replace(QUICK, train=replace(QUICK.train, steps=10))
PACE = Pace(image=2.0, step=5.0, query=0.7, example=0.3, prepared=0.03, start=11.0)
Disk = namedtuple("Disk", "total used free")


@pytest.fixture(scope="session")
def folder(tmp_path_factory):
    """A COCO-format folder of a few images."""
    return write(tmp_path_factory.mktemp("data") / "set", n_train=30, n_val=120, progress=False)


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    """An empty machine: no COCO, no weights, no GPU, a large disk."""
    monkeypatch.setenv("LA_COCO", str(tmp_path / "coco"))
    monkeypatch.setenv("LA_WEIGHTS", str(tmp_path / "weights"))
    monkeypatch.delenv("LA_CPU", raising=False)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(transfer.shutil, "disk_usage", lambda _: Disk(0, 0, 10**15))
    return tmp_path


def _small_coco(monkeypatch, root) -> None:
    """A whole COCO, of one image a split."""
    for name, remote in download.FILES.items():
        if remote.files:
            n_files = 2 if name == "annotations" else 1
            monkeypatch.setitem(download.FILES, name, replace(remote, files=n_files))
    for name in (
        "annotations/instances_train2014.json", "annotations/instances_val2014.json",
        "train2014/1.jpg", "val2014/2.jpg",
    ):  # fmt: skip
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(b"{}")


def _paper(home, **changes) -> Workbench:
    config = profile("paper-sam")
    train = replace(config.train, **{"steps": 100} | changes)
    return Workbench(replace(config, train=train), home=home)


def _left(found: planning.Plan) -> dict[str, str]:
    return {stage.name: stage.left for stage in found.stages}


def test_a_paper_run_on_an_empty_machine_lists_all_and_stops_at_coco_first(here):
    others = [replace(MEASUREMENTS[0], method="floor"), replace(MEASUREMENTS[0], n_ways=2)]
    found = plan(_paper(here), MEASUREMENTS + others)
    assert _left(found) == {
        "fetch": "coco, sam", "index": "annotation files", "features": "123287 images",
        "train": "100 steps of 1 model", "evaluate": "3480 episodes",
        "render": "notebooks",
    }  # fmt: skip
    size = {stage.name: stage.gigabytes for stage in found.stages}
    archives = 252_872_794 + 13_510_573_713 + 6_645_013_297
    assert size["fetch"] == pytest.approx((2 * archives + 375_042_383) / 1e9)
    assert size["features"] == pytest.approx(123_287 * 768 * 64 * 64 * 2 / 1e9)
    assert found.to_fetch == {"coco": here / "coco", "sam": here / "weights"}
    first, second, third = found.problems
    assert isinstance(first, FileNotFoundError) and isinstance(second, FileNotFoundError)
    assert "lacks annotations, train2014, val2014; python -m la fetch coco" in str(first)
    assert "python -m la fetch sam" in str(second)
    assert (
        "needs a GPU and none is here; use --profile quick (PROFILE=quick for make), or set LA"
        in str(third)
    )
    assert f"Would stop it first: {first}" in str(found)


def speed_of(gpus: int = 1, **rates: float) -> Speed:
    """Of a machine with round numbers, whose memory holds no features."""
    usual = {"disk": 1e9, "read": 0.01, "decoded": 0.02, "memory": 0.0, "workers": 8} | rates
    return Speed(PACE, Rates(**usual), gpus)


def test_hours_are_the_pace_times_what_is_left(here):
    measurements = [Measurement("la", fold, 1, 1, 0, 500) for fold in range(4)]
    found = plan(_paper(here, micro_batches=3), measurements, speed_of())
    hours = {stage.name: stage.hours for stage in found.stages}
    assert hours["features"] == pytest.approx(123_287 * 2.0 / 3600)
    paper = profile("paper-sam")
    episode = 0.7 + 0.3 + 2 * 0.01  # query and example, each read
    validated = paper.evaluation.validation_episodes  # at the one state saved
    a_model = 11.0 + 100 * 3 * 5.0 + validated * episode
    assert hours["train"] == pytest.approx(4 * a_model / 3600)
    scored = 500 + paper.evaluation.seen_episodes  # of a fold, those of the fit too
    assert hours["evaluate"] == pytest.approx(4 * scored * episode / 3600)
    wider = [Measurement("floor", 0, 2, 5, 0, 500)]
    (evaluate,) = (s for s in plan(_paper(here), wider, speed_of()).stages if s.name == "evaluate")
    assert evaluate.hours == pytest.approx(500 * (0.7 + 0.01 + 10 * (0.3 + 0.01)) / 3600)
    assert math.isnan(hours["fetch"])
    assert all(math.isnan(s.hours) for s in plan(_paper(here), measurements).stages)


def test_training_takes_as_long_as_its_slowest_part(here):
    config = profile("paper-sam")
    images = sum(b * (1 + n * k) for b, n, k in config.episodes.shapes) / 6
    n_bytes = images * 768 * 64 * 64 * 2
    assert n_bytes == pytest.approx(140e6, rel=0.1)  # a batch of SAM's features

    def parts(features="float16", gpus=1, **rates):
        return ways.batch_seconds(config, speed_of(gpus, **rates), features, COCO_IMAGES)

    assert parts() == pytest.approx(
        {"GPU": 5.0, "loading": images * 0.04 / 8, "disk": n_bytes / 1e9}
    )
    assert parts(gpus=4, workers=64)["GPU"] == pytest.approx(5 / 4)
    assert parts(gpus=4, workers=64)["loading"] == pytest.approx(images * 0.04 / 32)
    assert parts("int8")["disk"] == pytest.approx(n_bytes / 2e9, rel=2e-3)
    assert parts("none")["GPU"] == pytest.approx(5.0 + images * 2.0)
    assert parts("none")["disk"] == parts(memory=1e15)["disk"] == 0
    half_in_memory = COCO_IMAGES * 768 * 64 * 64
    assert parts(memory=half_in_memory)["disk"] == pytest.approx(n_bytes / 2e9)
    assert parts(disk=math.nan)["disk"] == 0
    said = str(plan(_paper(here), MEASUREMENTS, speed_of(disk=1e7)))
    assert f"reads {100 * 4 * n_bytes / 1e9:.2g} GB" in said
    assert "the disk reads at 0.01 GB/s. Training waits for the disk" in said


def test_the_ways_of_a_machine_are_those_whose_features_fit(here):
    bench = _paper(here)
    found = ways.ways(bench, MEASUREMENTS, speed_of(), free=500e9)
    assert {way.features for way in found} == {"int8", "none"}  # float16 takes 776 GB
    assert [way.hours for way in found] == sorted(way.hours for way in found)
    (only,) = ways.ways(bench, MEASUREMENTS, speed_of(), free=1e9)
    assert only.features == "none" and only.gigabytes == 0 and only.binds == "GPU"
    slow_disk = ways.ways(bench, MEASUREMENTS, speed_of(disk=1e6), free=1e12)
    assert slow_disk[0].features == "none" and slow_disk[-1].binds == "disk"
    published = Workbench(profile("published-mae"), home=here)
    lists = [Measurement("published", 0, 1, 1, 0, 100)]
    (way,) = ways.ways(published, lists, speed_of(), free=0)
    n_episodes = 100 + published.config.evaluation.seen_episodes
    encoding = 2 * (2.0 + 0.02)  # query and example
    assert way.hours == pytest.approx(n_episodes * (0.7 + 0.3 + encoding) / 3600)


def test_the_rates_of_this_machine_are_measured_and_leave_nothing_behind(tmp_path):
    found = measure_rates(QUICK, tmp_path / "cache", "int8")
    assert 1e6 < found.disk < 1e11
    assert 0 < found.read < 0.1 and 0 < found.decoded < 1
    assert not list(tmp_path.iterdir())


def _free(monkeypatch, n_bytes: float) -> None:
    """Pretend that so many bytes of every disk are free."""
    monkeypatch.setattr(transfer.shutil, "disk_usage", lambda _: Disk(0, 0, int(n_bytes)))


def test_a_full_disk_is_said_with_what_all_stages_need_together(here, monkeypatch):
    _free(monkeypatch, 700e9)
    monkeypatch.setenv("LA_CPU", "1")
    monkeypatch.setenv("LA_FEATURES", "float16")
    found = plan(_paper(here), MEASUREMENTS)
    needed = sum(stage.gigabytes for stage in found.stages)
    assert 700 < needed < 850 and not found.features_fit
    assert f"needs {needed:.1f} GB and has 700.0 GB free; make room" in str(found.problems[-1])
    assert "LA_FEATURES=int8 halves the size of features" in str(found.problems[-1])
    monkeypatch.setenv("LA_FEATURES", "int8")
    halved = plan(_paper(here), MEASUREMENTS)
    assert "make room" not in str(halved.problems[-1:])
    sizes = [p.stages[2].gigabytes for p in (found, halved)]
    assert sizes[1] / sizes[0] == pytest.approx(0.5, rel=1e-3)


def test_features_become_int8_by_themselves_where_float16_does_not_fit(here, monkeypatch):
    monkeypatch.setenv("LA_CPU", "1")
    roomy = plan(_paper(here), MEASUREMENTS)
    assert roomy.numbers == "float16" and SHORT_DISK not in str(roomy)
    _free(monkeypatch, 700e9)
    short = plan(_paper(here), MEASUREMENTS)
    assert short.numbers == "int8" and short.features_fit
    assert str(short).count(SHORT_DISK) == 1
    assert short.stages[2].gigabytes < 0.51 * roomy.stages[2].gigabytes
    assert "make room" not in str(short.problems[-1:])
    _free(monkeypatch, 100e9)
    hopeless = plan(_paper(here), MEASUREMENTS)
    assert "LA_FEATURES=none stores no features" in str(hopeless.problems[-1])
    _free(monkeypatch, 0)
    published = Workbench(profile("published-mae"), home=here)  # whose models read images
    found = plan(published, [replace(MEASUREMENTS[0], method="floor")])
    assert found.numbers == "float16" and SHORT_DISK not in str(found)


def test_a_cache_that_began_in_int8_stays_so_on_a_disk_with_room(here, folder, monkeypatch):
    bench, floor = Workbench(SMALL, folder, home=here), [Measurement("floor", 0, 1, 1, 0, 3)]
    usual = plan(bench, floor)
    assert usual.numbers == "float16"
    _free(monkeypatch, sum(stage.gigabytes for stage in usual.stages) * 1e9 - 1)
    prepare(bench, floor)
    _free(monkeypatch, 10**15)
    later = Workbench(SMALL, folder, home=here)
    assert later.numbers == "int8" and later.cache.source.endswith(" in int8")
    assert plan(later, floor).numbers == "int8"
    later.features(later.data.test, later.data.test.image_ids[:2].tolist())
    assert len(list((here / "cache").rglob("*.i8"))) == 2
    assert not list((here / "cache").rglob("*.f16"))
    monkeypatch.setenv("LA_FEATURES", "float16")
    assert later.numbers == "float16"


def test_a_short_disk_changes_no_format_of_what_exists(here, folder, monkeypatch):
    bench = Workbench(SMALL, folder, home=here)
    measurements = [Measurement("floor", 0, n_ways, 1, 0, 3) for n_ways in (1, 2)]
    made = replace(result(), measurement=measurements[0])
    results = Store(bench.results / "measurements")
    results.add("t", {Job(bench, measurements[0]).key: made})
    _free(monkeypatch, 0)
    found = plan(bench, measurements)  # a result of float16 is there
    assert found.numbers == "float16" and "make room" in str(found.problems[-1])
    results.path("t").unlink()
    assert plan(bench, measurements).numbers == "int8"
    _free(monkeypatch, 10**15)
    bench.features(bench.data.test, bench.data.test.image_ids[:1].tolist())
    _free(monkeypatch, 0)
    found = plan(bench, measurements)  # features in float16 are there
    assert found.numbers == "float16" and "make room" in str(found.problems[-1])
    settle_if_short(bench, 100)
    assert bench.numbers == "float16"


def test_the_command_that_encodes_settles_too(here, folder, monkeypatch, caplog):
    bench = Workbench(SMALL, folder, home=here)
    needed = 100 * feature_bytes(SMALL, "float16")
    _free(monkeypatch, needed)
    settle_if_short(bench, 100)
    assert bench.numbers == "float16" and not caplog.records
    _free(monkeypatch, needed - 1)
    settle_if_short(bench, 100)
    assert bench.numbers == "int8" and caplog.messages == [SHORT_DISK]
    assert Workbench(QUICK, home=here).cache.is_fixed  # whose stored results are of float16


def test_what_is_missing_is_fetched_only_if_nothing_else_hinders(here, monkeypatch):
    fetched = []
    monkeypatch.setattr(fetching, "fetch", lambda what, root: fetched.append((what, root)))
    with pytest.raises(ValueError, match="needs a GPU"):
        prepare(_paper(here), MEASUREMENTS)
    with pytest.raises(ValueError, match="has no number of steps; set train.steps"):
        monkeypatch.setenv("LA_CPU", "1")
        prepare(_paper(here, steps=0), MEASUREMENTS)
    assert fetched == []
    with pytest.raises(FileNotFoundError, match="COCO is not complete"):  # nothing came
        prepare(_paper(here), MEASUREMENTS)
    assert fetched == [("coco", here / "coco"), ("sam", here / "weights")]


def test_own_data_need_no_coco_but_the_backbone_still(here, folder):
    found = plan(replace(_paper(here), source=folder), MEASUREMENTS)
    assert found.to_fetch == {"sam": here / "weights"}


def test_what_is_done_is_not_planned_again(here, folder):
    bench = Workbench(SMALL, folder, home=here)
    measurements = [Measurement(name, 0, 1, 1, 0, 3) for name in ("la", "floor")]
    before = _left(plan(bench, measurements))
    assert before["train"] == "10 steps of 1 model" and before["fetch"] == ""
    assert before["evaluate"] == "246 episodes"  # with those on which LA's bias is chosen
    bench.features(bench.data.train)
    model = Job(bench, measurements[0]).run.model
    model.parent.mkdir(parents=True)
    for step in (4, 7):
        (model.parent / f"state-{step:08d}-0123abcd.safetensors").write_bytes(b"")
    assert _left(plan(bench, measurements))["train"] == "3 steps of 1 model"
    model.write_bytes(b"")
    for measurement in measurements:
        made = replace(result(), measurement=measurement)
        Store(bench.results / "measurements").add("t", {Job(bench, measurement).key: made})
    found = plan(bench, measurements)
    after = _left(found)
    assert after["features"] == after["train"] == after["evaluate"] == ""
    assert found.problems == () and str(found).endswith("Nothing is missing.")
    prepare(bench, measurements)


def test_features_are_planned_of_the_images_that_the_run_encodes(here, folder, monkeypatch):
    small = replace(SMALL.evaluation, seen_episodes=2, validation_episodes=3, episodes=5)
    config = replace(SMALL, train=replace(SMALL.train, steps=1), evaluation=small)
    bench = Workbench(config, folder, home=here)
    measurements = [Measurement("la", 0, 1, 1, 0, 3)]
    planned = _left(plan(bench, measurements))["features"]
    every_image = len(bench.data.train.image_ids) + len(bench.data.test.image_ids)
    Job(bench, measurements[0]).measure()
    made = len(list((here / "cache" / "features").rglob("*.f16")))
    assert planned == f"{made} images" and made < every_image
    monkeypatch.setenv("LA_FEATURES", "none")
    assert _left(plan(bench, measurements))["features"] == ""


def test_the_published_models_need_no_backbone_no_features_and_no_training(here, monkeypatch):
    monkeypatch.setenv("LA_CPU", "1")
    _small_coco(monkeypatch, here / "coco")
    bench = Workbench(replace(profile("paper-mae"), profile="published-mae"), home=here)
    floor = [replace(MEASUREMENTS[0], method="floor")]
    found = plan(bench, floor)
    assert found.to_fetch == {"published": here / "weights"}
    assert _left(found)["features"] == _left(found)["train"] == ""
    assert "no " in str(found.problems[0]) and "published/fold0/config.json; python" in str(
        found.problems[0]
    )


def test_auto_is_the_paper_only_with_a_gpu_and_coco(here, monkeypatch):
    assert auto_profile(here) == ("quick", "PROFILE=auto is quick: no GPU is here.")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    name, reason = auto_profile(here)
    assert name == "quick"
    assert "a GPU is here, but" in reason and "PROFILE=paper-sam fetches what is missing" in reason
    _small_coco(monkeypatch, here / "coco")
    name, reason = auto_profile(here)
    assert name == "paper-sam" and str(here / "coco") in reason


@pytest.mark.slow
def test_the_pace_of_quick_without_data_is_of_the_right_size(here):
    started = time.process_time()
    pace = measure(Workbench(replace(QUICK, data="coco"), home=here))
    spent = time.process_time() - started
    assert 0 < pace.image < spent
    # Every shape is run twice, and the smallest one once more.
    assert 0 < 2 * len(QUICK.episodes.shapes) * pace.step < spent
    assert 0 < pace.query + pace.example < pace.step
    assert 0 < pace.start < spent
    assert pace.prepared == 0  # without data


@pytest.mark.slow
def test_the_hours_of_a_short_run_are_those_that_it_takes(here, folder):
    """Planned with the rates of this machine, beside the CPU time of the run, within 30 %."""
    data = write(here / "set", n_train=60, n_val=120, progress=False)
    # Few episodes of calibration, which count 49 biases instead of the two that are timed.
    usual = replace(QUICK.evaluation, seen_episodes=20, validation_episodes=20)
    config = replace(QUICK, train=replace(QUICK.train, steps=30), evaluation=usual)
    bench = Workbench(config, data, home=here)
    measurements = [Measurement("la", 0, n_ways, 1, 0, 200) for n_ways in (1, 4)]
    bench.features(bench.data.train)
    bench.features(bench.data.test)
    planned = plan(bench, measurements, ways.measure_speed(bench))
    hours = {stage.name: stage.hours for stage in planned.stages}
    narrow, wide = (Job(bench, measurement) for measurement in measurements)
    taken = []
    for work in (narrow.segmenter, narrow.measure, wide.measure):
        started = time.process_time()
        work()
        taken.append((time.process_time() - started) / 3600)
    assert hours["train"] == pytest.approx(taken[0], rel=0.3)
    assert hours["evaluate"] == pytest.approx(taken[1] + taken[2], rel=0.3)


def test_a_random_batch_has_the_sizes_of_the_profile():
    batch = random_batch(QUICK, 2, 3, 2)
    assert batch.source.query.shape == (2, 128, 12, 12)
    assert batch.source.support.shape == (12, 128, 12, 12)
    assert batch.prompts.example_row.tolist() == [1, 2, 3] * 4
    assert batch.support_episode.tolist() == [0] * 6 + [1] * 6
    assert batch.n_rows == 4 and batch.target.shape == (2, 48, 48)


def test_each_training_of_a_table_is_planned_once_and_table_4_has_its_own_fold_alone():
    _, table4 = plan_of("table4", "quick", {})
    _, table2 = plan_of("table2", "quick", {})
    bench = Workbench(QUICK)
    trainings = [needs_of(bench, table, here=False).trainings for table in (table4, table2)]
    assert len(trainings[0]) == 4 * 5  # variants, trainings
    assert len(trainings[1]) == 4 * 3  # folds, trainings
