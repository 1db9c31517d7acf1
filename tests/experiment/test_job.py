"""Jobs on a few embedded images: calibrated on seen classes, counted, judged again."""

from dataclasses import replace

import numpy as np
import pytest

import la
from la.comparators.prototypes import Prototype, ThresholdPrototype
from la.comparators.raster import Raster
from la.comparators.references import Floor
from la.config import PROTOCOLS
from la.experiment import methods
from la.experiment.job import Job, listed
from la.experiment.methods import METHODS, Method
from la.experiment.scoring import ExchangedSupports, choose
from la.experiment.setup.measurements import Measurement
from la.experiment.setup.workbench import Workbench
from la.learn.evaluation import miou
from la.types import PromptKind

MEASUREMENT = Measurement("prototype", 0, 2, 1, 0, 12)
THRESHOLD = replace(MEASUREMENT, method="threshold_prototype")


@pytest.fixture
def bench(few, home):
    """Of the smoke profile, whose lists of seen classes are short."""
    return Workbench(la.profile("smoke"), few(4, 120), home=home)


def test_another_data_set_setting_or_method_has_another_key(bench, few):
    elsewhere = replace(bench, source=few(4, 60))
    changes = [
        {"method": "affinity"},
        {"kinds": (PromptKind.BOX,)},
        {"protocol": "paper"},
        {"episodes": 13},
        {"fold": 1},
        {"supports": "exchanged"},
        {"classes": "seen"},
    ]
    keys = [Job(bench, MEASUREMENT).key, Job(elsewhere, MEASUREMENT).key]
    keys += [Job(bench, replace(MEASUREMENT, **change)).key for change in changes]
    assert len(set(keys)) == len(keys)
    assert Job(bench, MEASUREMENT).key == keys[0]


@pytest.mark.parametrize(
    "change",
    [
        {"model": {"mask_size": 24}},
        {"evaluation": {"seen_episodes": 9}},
        {"evaluation": {"folds": "blocks"}},
        {"episodes": {"max_points": 7}},
    ],
)
def test_a_configuration_that_changes_the_number_has_another_key(bench, change):
    ((part, fields),) = change.items()
    changed = replace(bench.config, **{part: replace(getattr(bench.config, part), **fields)})
    assert Job(replace(bench, config=changed), MEASUREMENT).key != Job(bench, MEASUREMENT).key


def test_other_candidates_or_another_rule_of_truth_have_another_key(bench, monkeypatch):
    before = Job(bench, MEASUREMENT).key
    wider = replace(METHODS["prototype"], biases=(0.0, 1.0))
    monkeypatch.setitem(methods.KNOWN, "prototype", wider)
    assert Job(bench, MEASUREMENT).key != before
    monkeypatch.undo()
    stricter = replace(PROTOCOLS["clean"], crowd="foreground")
    monkeypatch.setitem(PROTOCOLS, "clean", stricter)
    assert Job(bench, MEASUREMENT).key != before


def test_the_bias_is_the_best_of_its_candidates_on_the_fitting_list(bench):
    job = Job(bench, THRESHOLD)
    fit = job.fitted().fit
    fitting = listed(bench, job.fitting)
    biases = METHODS["threshold_prototype"].biases
    counts = fitting.count(ThresholdPrototype(Raster(96, 48), threshold=0.0), biases)
    scores = [miou(fitting.episodes, confusion) for confusion in counts]
    assert scores[biases.index(fit.bias)] == max(scores)
    assert fit.raw_bias == 0.5


def test_of_equally_good_biases_the_one_nearest_the_uncalibrated_is_chosen(bench):
    method = Method("all background", biases=(0.0, 0.25, 0.5, 2.0), raw_bias=0.4)
    fitting = listed(bench, Job(bench, MEASUREMENT).fitting)
    # no bias changes what is all background
    assert choose(method, Floor(), fitting).bias == 0.5


def test_every_setting_has_a_bias_of_its_own_and_training_free_methods_share_it_over_seeds(bench):
    keys = [
        Job(bench, replace(THRESHOLD, **change))._fit_key
        for change in ({}, {"seed": 2}, {"n_ways": 1}, {"k_shots": 5}, {"kinds": (PromptKind.BOX,)})
    ]
    assert keys[0] == keys[1]
    assert len(set(keys)) == 4


def test_trainings_have_biases_of_their_own(bench):
    jobs = [Job(bench, Measurement("la", 0, 1, 1, seed, 4)) for seed in (0, 1)]
    assert jobs[0].run.folder != jobs[1].run.folder
    assert [job.run.config.train.seed for job in jobs] == [0, 1]
    assert jobs[0]._fit_key != jobs[1]._fit_key


def test_a_hyper_parameter_is_chosen_together_with_the_bias(bench):
    fit = Job(bench, replace(MEASUREMENT, method="part_prototypes")).fitted().fit
    assert fit.option in METHODS["part_prototypes"].options


def test_the_fitting_list_asks_for_no_class_of_the_test(bench, monkeypatch):
    asked = []
    draw = Workbench.episodes

    def noted(self, measurement):
        episodes = draw(self, measurement)
        classes = {c for episode in episodes for c in episode.class_ids}
        asked.append((measurement.classes, classes))
        return episodes

    monkeypatch.setattr(Workbench, "episodes", noted)
    Job(bench, THRESHOLD).measure()
    unseen = set(bench.classes(0, seen=False))
    fitting = [classes for which, classes in asked if which == "seen"]
    testing = [classes for which, classes in asked if which == "unseen"]
    assert fitting and all(classes and not classes & unseen for classes in fitting)
    assert testing and all(classes <= unseen for classes in testing)


def test_both_counts_are_of_one_pass_with_and_without_the_fitted_bias(bench):
    result = Job(bench, THRESHOLD).measure()
    assert result.confusion.sum() == result.raw_confusion.sum() > 0
    job = Job(bench, THRESHOLD)
    alone = job.count(job.segmenter())
    np.testing.assert_array_equal(alone.confusion, result.raw_confusion)


def test_exchanged_supports_keep_query_and_target_and_prompt_other_classes(bench):
    episodes = bench.episodes(MEASUREMENT)
    loader = bench.loader(bench.data.test, 0)
    exchanged = ExchangedSupports(loader, episodes)
    own, other = loader(episodes[:3]), exchanged(episodes[:3])
    assert own.target.equal(other.target) and own.source.query.equal(other.source.query)
    assert not own.source.support.equal(other.source.support)
    for i, episode in enumerate(episodes):
        partner = exchanged.partner[episode]
        assert not set(partner.class_ids) & set(episode.class_ids)
        assert partner == next(
            e
            for e in [*episodes[i + 1 :], *episodes[:i]]
            if not set(e.class_ids) & set(episode.class_ids)
        )


def test_a_method_that_reads_its_supports_loses_when_they_are_exchanged(bench):
    own = Job(bench, replace(THRESHOLD, n_ways=1, episodes=40)).measure()
    other = Job(bench, replace(own.measurement, supports="exchanged")).measure()
    assert other.fit == own.fit  # nothing is chosen on exchanged supports
    assert other.scores.miou_star < 0.5 * own.scores.miou_star


def test_predictions_judged_again_stay_the_same_and_their_truth_changes(bench):
    (made,) = la.compute(bench, "some", [MEASUREMENT])
    (clean,) = la.rejudged(bench, [made], "clean")
    assert np.array_equal(clean.confusion, made.confusion)
    (paper,) = la.rejudged(bench, [made], "paper")  # objects below 2,048 px become background
    assert paper.measurement == replace(MEASUREMENT, protocol="paper")
    assert np.array_equal(paper.confusion.sum(1), made.confusion.sum(1))  # what is painted
    true, kept = made.confusion.sum(2), paper.confusion.sum(2)
    assert (kept[:, 1:] <= true[:, 1:]).all() and kept[:, 1:].sum() < true[:, 1:].sum()


def test_a_readers_segmenter_is_scored_on_the_same_episodes_and_not_stored(bench):
    raster = Raster(96, 48)
    (made,) = la.compute(bench, "some", [MEASUREMENT])
    own, other = (
        la.score(bench, "mine", segmenter, [MEASUREMENT])[0]
        for segmenter in (Prototype(raster), ThresholdPrototype(raster, 0.3))
    )
    assert own.measurement.method == "mine" and own.episodes_sha256 == made.episodes_sha256
    assert np.array_equal(own.confusion, made.raw_confusion)
    assert not np.array_equal(other.confusion, made.raw_confusion)
    (stored,) = (bench.results / "measurements").iterdir()
    assert len(stored.read_text().splitlines()) == 1


def test_only_the_images_of_the_list_are_encoded(bench, tmp_path):
    bench = replace(bench, home=tmp_path / "without_features")
    measurement = replace(MEASUREMENT, episodes=3, method="floor")
    Job(bench, measurement).measure()
    needed = bench.images_of(bench.episodes(measurement))
    missing = bench.store(bench.data.test).missing(bench.data.test.image_ids)
    assert missing == sorted(set(bench.data.test.image_ids.tolist()) - needed) != []


def test_int8_features_have_models_and_results_of_their_own(bench, monkeypatch):
    measurement = Measurement("la", 0, 1, 1, 0, 4)
    exact = Job(bench, measurement)
    assert exact.run is not None
    monkeypatch.setenv("LA_FEATURES", "int8")
    rounded = Job(bench, measurement)
    assert rounded.run is not None and rounded.run.folder != exact.run.folder
    assert rounded.identity != exact.identity
    assert bench.store(bench.data.test).store.folder.name.endswith("-int8")
