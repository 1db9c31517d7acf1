"""Profiles by name, and with another number of training steps."""

from dataclasses import dataclass, replace

import pytest

from la.config import digest, settings
from la.experiment.setup.workbench import Workbench
from la.model.backbones import backbone_spec
from la.profiles import PROFILES, profile


def test_every_profile_is_found_by_its_name():
    assert {name: profile(name).profile for name in PROFILES} == {name: name for name in PROFILES}


def test_a_profile_with_other_steps_differs_in_nothing_else():
    usual, short = profile("quick"), profile("quick@300")
    assert short.train.steps == 300 and short.train.warmup_steps == 30
    train = replace(short.train, steps=usual.train.steps, warmup_steps=usual.train.warmup_steps)
    assert replace(short, profile="quick", train=train) == usual


@pytest.mark.parametrize("backbone", ["sam", "mae"])
def test_the_short_profiles_train_a_twentieth(backbone):
    full, short = profile(f"paper-{backbone}"), profile(f"paper-{backbone}-short")
    assert short.train.steps * 20 == full.train.steps
    assert short.model == full.model and short.episodes == full.episodes


@pytest.mark.parametrize("backbone", ["sam", "mae"])
def test_the_official_profiles_take_the_steps_of_the_run_files(backbone):
    official = profile(f"paper-{backbone}-official")
    sizes = [n_episodes for n_episodes, _, _ in official.episodes.shapes]
    episodes_a_step = 4 * sum(sizes) / len(sizes)  # on four GPUs
    assert official.train.steps == round(50 * 82_783 / episodes_a_step) == 206_958
    assert official.train.micro_batches == 1  # the GPUs draw the same episodes
    assert official.train.warmup_steps == 250
    assert official.model.token_pool_std == 0.02
    assert official.episodes.keep_ways


@pytest.mark.parametrize("name", PROFILES)
def test_the_profiles_of_the_embedded_data_have_an_encoder_for_drawings(name):
    """`la data` goes by the data, because the encoders take long to import."""
    config = profile(name)
    encoder = backbone_spec(config.model.backbone)
    assert (config.data == "embedded") == encoder.drawings_only


def test_a_short_look_has_results_of_its_own(tmp_path):
    benches = [Workbench(profile(name), None, tmp_path) for name in ("quick", "quick@300")]
    assert benches[0].results != benches[1].results


@dataclass(frozen=True)
class Before:
    shape: str
    width: int = 3
    inner: tuple[int, ...] = ()


@dataclass(frozen=True)
class After(Before):
    depth: int = 2


def test_a_new_field_with_its_default_changes_no_digest_and_any_other_value_does():
    assert digest(Before("a", 4)) == digest(After("a", 4))
    assert digest(After("a", 4, depth=3)) != digest(After("a", 4))
    assert len({digest(Before("a")), digest(Before("b")), digest(Before("a", inner=(1,)))}) == 3


def test_a_default_that_is_made_by_a_factory_counts_as_a_default():
    usual = profile("paper-sam")
    changed = replace(usual, episodes=replace(usual.episodes, max_points=3))
    assert "episodes" not in settings(usual)
    assert settings(changed)["episodes"] == {"max_points": 3}
