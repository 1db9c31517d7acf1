"""Training runs on all classes and images, and on augmented views."""

import shutil
from dataclasses import replace

import pytest
import torch

import la
from la.experiment import runs
from la.experiment.methods import method
from la.experiment.runs import Run
from la.experiment.setup.workbench import Workbench
from la.types import IGNORE


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    """Of these tests alone, so that each view is drawn and encoded once."""
    return tmp_path_factory.mktemp("cache")


@pytest.fixture
def bench(short, few, tmp_path, cache):
    """With two views of each of 40 training images."""
    (tmp_path / "cache").symlink_to(cache)
    return Workbench(replace(short, views=2), few(40, 40), home=tmp_path)


def test_a_run_without_fold_trains_on_all_classes_and_on_views(bench, tmp_path):
    run = Run.of(bench, method("la"), None, 0)
    model = la.load(run.train())
    assert model.card.trained_on.endswith("all classes")
    assert set(bench.classes(None, seen=True)) == set(bench.data.train.category_ids.tolist())
    assert bench.classes(None, seen=False) == ()
    assert len(list((tmp_path / "cache" / "views").glob("*/*.jpg"))) == 3 * 40


@pytest.mark.parametrize("n_threads", [1, 2])
def test_a_model_is_trained_on_one_thread_whoever_asks_for_it(bench, monkeypatch, n_threads):
    taken = []
    monkeypatch.setattr(runs, "fit", lambda *a, **options: taken.append(torch.get_num_threads()))
    before = torch.get_num_threads()
    torch.set_num_threads(n_threads)
    try:
        Run.of(bench, method("la"), 0, 0).train()
        assert taken == [1] and torch.get_num_threads() == n_threads
    finally:
        torch.set_num_threads(before)


def test_views_make_another_run(bench):
    without = replace(bench, config=replace(bench.config, views=0))
    runs = [Run.of(b, method("la"), fold, 0) for b in (bench, without) for fold in (0, 1, None)]
    assert len({run.folder for run in runs}) == len(runs)


def test_pixels_of_held_out_classes_are_left_out_of_the_loss_where_the_profile_says_so(bench):
    ignoring = replace(bench.config, train=replace(bench.config.train, unseen="ignore"))
    runs = [Run.of(b, method("la"), 0, 0) for b in (bench, replace(bench, config=ignoring))]
    usual, ignored = (run._batches() for run in runs)
    n_ignored = 0
    for number in range(8):
        before, after = usual[number].target, ignored[number].target
        changed = before != after
        assert (before[changed] == 0).all() and (after[changed] == IGNORE).all()
        n_ignored += int(changed.sum())
    assert n_ignored > 0


def test_channel_dropout_makes_another_model(bench):
    dropping = replace(bench.config, train=replace(bench.config.train, channel_dropout=0.5))
    runs = [Run.of(b, method("la"), 0, 0) for b in (bench, replace(bench, config=dropping))]
    losses = []
    for run in runs:
        run.train()
        losses.append((run.folder / "history.jsonl").read_text())
    assert losses[0] != losses[1]


def test_a_run_on_everything_keeps_no_image_for_the_test(bench, tmp_path):
    one_file = shutil.copytree(bench.source, tmp_path / "one file")
    for other in (one_file / "annotations").glob("instances_val*.json"):
        other.unlink()
    data = Workbench(bench.config, one_file, home=tmp_path / "other").data
    assert sorted([*data.train.image_ids, *data.test.image_ids]) == [*data.whole.image_ids]
