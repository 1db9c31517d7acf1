"""A trained comparator as a row: trained, saved under its name, loaded and scored."""

import pytest
import torch

import la
from la.comparators.dcama import DCAMA
from la.comparators.one_class import OneClassAtATime
from la.comparators.panet import PANet
from la.config import ModelConfig
from la.errors import UserError
from la.experiment.job import Job
from la.experiment.methods import METHODS, RIVALS
from la.experiment.setup.measurements import Measurement
from la.experiment.setup.workbench import Workbench
from la.learn.weights import checkpoints
from la.report.scores.tables import measurements


@pytest.fixture
def bench(short, few, home):
    return Workbench(short, few(120, 60), home=home)


def test_a_comparator_trains_is_saved_and_scores(bench):
    job = Job(bench, Measurement("panet", 0, 1, 1, 0, 4))
    result = job.measure()
    assert isinstance(job.segmenter().segmenter, PANet)
    assert result.checkpoint_sha256 and job.is_current(result)
    with pytest.raises(UserError, match="weights of the comparator PANet"):
        la.load(job.run.model)
    with pytest.raises(UserError, match="leave out init"):
        job.run.train(init="quick")


def test_time_and_memory_are_measured_without_training(bench):
    rows = [Measurement(name, 0, 2, 1, 0, 4) for name in ("la", "panet", "prototype")]
    table = la.costs(bench, rows, n_queries=2)
    assert table["method"].tolist() == [
        METHODS["la"].label,
        RIVALS["panet"].label,
        METHODS["prototype"].label,
    ]
    assert (table[["milliseconds", "peak_mb"]] > 0).all(axis=None)
    assert not any(Job(bench, row).run.model.exists() for row in rows[:2])


def test_rows_of_one_network_share_a_training_and_differ_in_their_rule(bench):
    jobs = [
        Job(bench, Measurement(name, 0, 2, 1, 0, 4))
        for name in ("dcama", "dcama_one_class", "dcama_mispaired")
    ]
    assert len({job.run.folder for job in jobs}) == 1
    assert len({job.key for job in jobs}) == 3
    plain, rule, fault = (job.method.wrap(DCAMA(ModelConfig())) for job in jobs)
    assert isinstance(plain, DCAMA)
    assert isinstance(rule, OneClassAtATime) and not rule.mispaired
    assert fault.mispaired


def test_a_file_is_loaded_as_what_it_was_saved_as(tmp_path):
    config = la.profile("quick").model
    model = PANet(config)
    checkpoints.save(model, tmp_path / "panet.safetensors", trained_on="noise", bias=0.5)
    loaded, card = checkpoints.load_comparator(PANet, tmp_path / "panet.safetensors")
    for name, weight in model.state_dict().items():
        assert torch.equal(loaded.state_dict()[name], weight)
    assert (card.trained_on, card.bias) == ("noise", 0.5)
    with pytest.raises(UserError, match="weights of PANet, not of DCAMA"):
        checkpoints.load_comparator(DCAMA, tmp_path / "panet.safetensors")


def test_all_rows_are_those_of_the_table_and_the_rivals():
    rows = {m.method for m in measurements("table1", "quick", folds=[0], methods=["all"])}
    assert rows == {*METHODS, *RIVALS}
    assert not METHODS.keys() & RIVALS.keys()


def test_rivals_are_trained_on_the_episodes_and_steps_of_la():
    quick = la.profile("quick")
    for rival in RIVALS.values():
        if rival.configure is not None:
            config = rival.configure(quick)
            assert config.episodes == quick.episodes
            assert config.train.steps == quick.train.steps
            assert config.train.attention_loss == 0
        assert rival.raw_bias in rival.biases
