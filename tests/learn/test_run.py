"""A run that diverges, is validated, or stops while a validation is due."""

import json
from dataclasses import replace

import pytest
import torch
from safetensors.torch import load_file
from training_run import (
    CONFIG,
    TinyModel,
    history_of,
    noise,
    noise_batch,
    state,
)

from la.learn.run import Diverged
from la.learn.training import Stopped, fit
from la.types import Episode, map_tensors


def poisoned(at: int):
    """Batches whose number `at` holds a NaN in its features."""

    def batches(numbers):
        for number in numbers:
            batch = noise_batch(number)
            if number == at:
                source = map_tensors(batch.source, lambda t: t * torch.nan)
                batch = replace(batch, source=source)
            yield batch

    return batches


@pytest.mark.parametrize("step", [0, 7, 12, 23])
def test_a_diverging_run_keeps_the_last_good_state_and_names_the_batches(tmp_path, step):
    numbers = [2 * step, 2 * step + 1]
    asked = []

    def episodes(number):
        asked.append(number)
        return [Episode(number, (1,), (2,), (), 3)]

    with pytest.raises(Diverged, match=rf"step {step}: loss nan.*\[{numbers[0]}, {numbers[1]}\]"):
        fit(TinyModel(), poisoned(numbers[1]), CONFIG, tmp_path, episodes=episodes)
    good = step // 5 * 5
    saved = sorted(tmp_path.glob("state-*"))
    assert bool(saved) == bool(good)
    for path in saved:
        assert int(path.name.split("-")[1]) <= good
        assert all(tensor.isfinite().all() for tensor in load_file(path).values())
    note = json.loads((tmp_path / "diverged.json").read_text())
    assert note["step"] == str(step) and note["batches"] == numbers == asked
    assert [e[0]["query_id"] for e in note["episodes"]] == numbers


def test_a_diverged_run_goes_on_once_its_batches_are_mended(tmp_path, undisturbed):
    with pytest.raises(Diverged):
        fit(TinyModel(), poisoned(30), CONFIG, tmp_path)
    fit(TinyModel(), noise, CONFIG, tmp_path)
    assert state(tmp_path) == state(undisturbed)


def test_a_gradient_that_is_not_finite_is_divergence_too(tmp_path):
    class Kinked(TinyModel):
        def forward(self, batch):
            return super().forward(batch) + torch.sqrt(self.background.sum() * 0)

    with pytest.raises(Diverged, match=r"step 0: loss \d.*gradient norm nan"):
        fit(Kinked(), noise, CONFIG, tmp_path)
    assert not list(tmp_path.glob("state-*"))


def test_divergence_is_noticed_before_the_next_state(tmp_path):
    seen = []
    config = replace(CONFIG, steps=300, checkpoint_every=300)
    with pytest.raises(Diverged):
        fit(TinyModel(), poisoned(10), config, tmp_path, report=seen.append)
    assert sum(seen) == 50


def test_the_weights_with_the_best_score_are_kept(tmp_path):
    scores = iter([0.2, 0.9, 0.4, 0.8, 0.1])
    kept = []

    def validate(model):
        assert not model.training and not torch.is_grad_enabled()
        kept.append({k: v.clone() for k, v in model.state_dict().items()})
        return next(scores)

    with pytest.raises(Stopped):
        fit(TinyModel(), noise, CONFIG, tmp_path, validate=validate, stop_after=10)
    history = fit(TinyModel(), noise, CONFIG, tmp_path, validate=validate)
    best = load_file(tmp_path / "best.safetensors")
    assert all(torch.equal(best[key], kept[1][key]) for key in kept[1])
    assert [r["validation"] for r in history if "validation" in r] == [0.2, 0.9, 0.4, 0.8, 0.1]


def test_validating_changes_nothing_of_the_training(tmp_path, undisturbed):
    fit(TinyModel(), noise, CONFIG, tmp_path, validate=lambda model: 0.5)
    assert state(tmp_path) == state(undisturbed)


def test_a_stop_saves_at_once_and_leaves_the_validation_to_the_next_call(tmp_path):
    """Stopped at 10, a multiple of checkpoint_every, and at 12, which is none."""

    def score(model):
        asked.append(1)
        return float(model.background.sum())

    asked = []
    expected = fit(TinyModel(), noise, CONFIG, tmp_path / "whole", validate=score)
    assert len(asked) == 5
    for stop_after, n_validations in ((10, 1), (2, 1)):
        asked.clear()
        with pytest.raises(Stopped):
            fit(TinyModel(), noise, CONFIG, tmp_path / "stopped", validate=score,
                stop_after=stop_after)  # fmt: skip
        assert len(asked) == n_validations  # at 5; then at 10 before going on
    history = fit(TinyModel(), noise, CONFIG, tmp_path / "stopped", validate=score)
    assert history == expected == history_of(tmp_path / "stopped")
    best = [(tmp_path / name / "best.safetensors").read_bytes() for name in ("whole", "stopped")]
    assert best[0] == best[1]


def test_a_kill_during_the_validation_loses_no_step(tmp_path):
    def killed(model):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fit(TinyModel(), noise, CONFIG, tmp_path, validate=killed)
    assert len(history_of(tmp_path)) == 5 and "validation" not in history_of(tmp_path)[4]
    reported = []
    history = fit(
        TinyModel(), noise, CONFIG, tmp_path, report=reported.append, validate=lambda model: 0.5
    )
    assert reported[0] == 5
    assert [r["step"] for r in history if "validation" in r] == [4, 9, 14, 19, 23]
