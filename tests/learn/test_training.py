"""Training: resumed to the bit, stopped, killed, and shared by processes."""

import logging
import math
import os
import random
import signal
import time
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from accelerate.tracking import GeneralTracker
from safetensors.torch import load_file
from torch import nn
from training_run import (
    CONFIG,
    TinyModel,
    history_of,
    noise,
    noise_batch,
    state,
    train_alone,
)

from la.files import PREFIX
from la.learn.steps import batch_loss, learning_rate
from la.learn.training import REQUEUE, Stopped, fit
from tests.forks import FORK


def test_training_writes_one_record_a_step_and_keeps_two_states(undisturbed):
    history = history_of(undisturbed)
    assert [r["step"] for r in history] == list(range(24))
    assert all(set(r) == {"step", "loss", "norm", "lr"} for r in history)
    assert history[7]["lr"] == learning_rate(7, CONFIG)
    steps = [int(p.name.split("-")[1]) for p in sorted(undisturbed.glob("state-*"))]
    assert steps == [20, 24]


def test_training_lowers_the_loss(tmp_path):
    config = replace(CONFIG, steps=60, schedule="constant")
    history = fit(TinyModel(), lambda numbers: (noise_batch(0) for _ in numbers), config, tmp_path)
    assert history[-1]["loss"] < 0.7 * history[0]["loss"]


def test_micro_batches_are_the_mean_of_their_gradients(tmp_path):
    model, plain = TinyModel(), TinyModel()
    fit(model, noise, replace(CONFIG, steps=1), tmp_path)
    optimizer = torch.optim.AdamW(
        plain.parameters(), lr=learning_rate(0, CONFIG), weight_decay=CONFIG.weight_decay
    )
    loss = (
        batch_loss(plain, noise_batch(0), CONFIG) + batch_loss(plain, noise_batch(1), CONFIG)
    ) / 2
    loss.backward()
    optimizer.step()
    for ours, expected in zip(model.parameters(), plain.parameters(), strict=True):
        assert torch.allclose(ours, expected, rtol=1e-5, atol=1e-7)
    assert history_of(tmp_path)[0]["loss"] == pytest.approx(loss.item(), rel=1e-5)


def test_the_gradient_is_clipped(tmp_path):
    sizes = []
    for clip in (None, 1e-3):
        model = TinyModel()
        before = [p.detach().clone() for p in model.parameters()]
        config = replace(CONFIG, steps=1, clip=clip, weight_decay=0.0)
        history = fit(model, noise, config, tmp_path / str(clip))
        assert history[0]["norm"] > 1e-2
        state_of = load_file(max((tmp_path / str(clip)).glob("state-*")))
        sizes.append(math.sqrt(sum(
            (v**2).sum().item() for k, v in state_of.items() if k.startswith("exp_avg/")
        )))  # fmt: skip
        assert any((a != b).any() for a, b in zip(before, model.parameters(), strict=True))
    assert sizes[1] == pytest.approx(1e-4, rel=1e-2) and sizes[0] > 1e-3


def test_bfloat16_trains_and_leaves_the_weights_in_float32(tmp_path):
    model, plain = TinyModel(), TinyModel()
    seen = []
    model.mix.register_forward_hook(lambda *args: seen.append(args[2].dtype))
    half = fit(model, noise, replace(CONFIG, steps=1, precision="bfloat16"), tmp_path / "half")
    full = fit(plain, noise, replace(CONFIG, steps=1), tmp_path / "full")
    assert set(seen) == {torch.bfloat16}
    assert {p.dtype for p in model.parameters()} == {torch.float32}
    assert half[0]["loss"] == pytest.approx(full[0]["loss"], rel=0.05)
    assert half[0]["loss"] != full[0]["loss"]
    seen.clear()
    model(noise_batch(0))
    assert set(seen) == {torch.float32}  # nothing of the run stays behind


def test_frozen_and_unused_parameters_stay_as_they_are(tmp_path):
    model = TinyModel()
    model.background.requires_grad_(False)
    before = model.background.clone(), model.pointed.clone()
    numbers = [1, 2, 4, 5]  # no batch with points
    for stop_after in (1, None):
        config = replace(CONFIG, steps=2)
        try:
            fit(model, lambda ask: map(noise_batch, [numbers[n] for n in ask]), config, tmp_path,
                stop_after=stop_after)  # fmt: skip
        except Stopped:
            model = TinyModel()
            model.background.requires_grad_(False)
    assert torch.equal(model.background, before[0]) and torch.equal(model.pointed, before[1])


class Recorder(GeneralTracker):
    """A tracker that keeps what it is sent."""

    name, requires_logging_directory, tracker = "recorder", False, None

    def __init__(self):
        super().__init__()
        self.sent, self.finished = [], 0

    def log(self, values, step, **options):
        self.sent.append((step, values))

    def finish(self):
        self.finished += 1


def test_a_tracker_is_sent_the_history_and_closed_however_the_run_ends(tmp_path):
    first, second = Recorder(), Recorder()
    with pytest.raises(Stopped):
        fit(TinyModel(), noise, CONFIG, tmp_path, tracker=first, stop_after=7)
    fit(TinyModel(), noise, CONFIG, tmp_path, tracker=second, validate=lambda model: 0.5)
    assert first.finished == second.finished == 1
    assert [values for _, values in first.sent + second.sent] == history_of(tmp_path)
    assert [step for step, _ in first.sent + second.sent] == list(range(24))
    assert second.sent[-1][1]["validation"] == 0.5


def test_a_tracker_that_is_not_installed_is_named_before_the_run(tmp_path, monkeypatch):
    monkeypatch.setattr("accelerate.tracking._available_trackers", [])
    with pytest.raises(ValueError, match="tensorboard is not installed; pip install tensorboard"):
        fit(TinyModel(), noise, CONFIG, tmp_path, tracker="tensorboard")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("stops", [[1], [5], [7, 3, 1], [23]], ids=str)
def test_a_stopped_run_ends_at_the_bits_of_an_undisturbed_one(tmp_path, undisturbed, stops):
    done = 0
    for stop_after in stops:
        done += stop_after
        with pytest.raises(Stopped, match=f"saved at step {done} of 24; run again to resume"):
            fit(TinyModel(), noise, CONFIG, tmp_path, stop_after=stop_after)
    history = fit(TinyModel(), noise, CONFIG, tmp_path)
    assert state(tmp_path) == state(undisturbed)
    assert history == history_of(undisturbed) == history_of(tmp_path)


def test_a_finished_run_is_loaded_and_not_repeated(undisturbed):
    model = TinyModel()
    reported = []
    history = fit(model, lambda numbers: iter(numbers), CONFIG, undisturbed, report=reported.append)
    tensors = load_file(max(undisturbed.glob("state-*")))
    assert all(torch.equal(v, tensors[f"model/{k}"]) for k, v in model.state_dict().items())
    assert len(history) == 24 and reported == [24]


def test_stopping_at_the_last_step_is_finishing(tmp_path):
    assert len(fit(TinyModel(), noise, CONFIG, tmp_path, stop_after=24)) == 24


def test_progress_counts_every_step_once(tmp_path):
    reported = []
    with pytest.raises(Stopped):
        fit(TinyModel(), noise, CONFIG, tmp_path, stop_after=6)
    fit(TinyModel(), noise, CONFIG, tmp_path, report=reported.append)
    assert reported == [6] + [1] * 18


@pytest.mark.parametrize("damage", ["cut", "flipped", "emptied"])
def test_a_damaged_state_is_named_and_the_one_before_it_serves(
    tmp_path, undisturbed, damage, caplog
):
    with pytest.raises(Stopped):
        fit(TinyModel(), noise, CONFIG, tmp_path, stop_after=12)
    newest = max(tmp_path.glob("state-*"))
    raw = bytearray(newest.read_bytes())
    if damage == "flipped":
        raw[-5] ^= 1
    newest.write_bytes({"cut": raw[: len(raw) // 2], "emptied": b""}.get(damage, raw))
    with caplog.at_level(logging.WARNING):
        history = fit(TinyModel(), noise, CONFIG, tmp_path)
    assert f"{newest} is damaged; taking the state before it" in caplog.text
    assert state(tmp_path) == state(undisturbed) and history == history_of(undisturbed)


def test_without_a_whole_state_training_begins_anew(tmp_path, undisturbed):
    with pytest.raises(Stopped):
        fit(TinyModel(), noise, CONFIG, tmp_path, stop_after=3)
    for path in tmp_path.glob("state-*"):
        path.write_bytes(b"x")
    fit(TinyModel(), noise, CONFIG, tmp_path)
    assert state(tmp_path) == state(undisturbed)


def test_the_state_of_another_model_is_refused(tmp_path):
    class Wider(TinyModel):
        def __init__(self):
            super().__init__()
            self.more = nn.Parameter(torch.ones(2))

    with pytest.raises(Stopped):
        fit(TinyModel(), noise, CONFIG, tmp_path, stop_after=3)
    with pytest.raises(
        ValueError, match="is the state of another model .*; delete .*, and the training"
    ):
        fit(Wider(), noise, CONFIG, tmp_path)


def wait_for_state(folder: Path, step: int) -> None:
    end = time.monotonic() + 120
    while not list(folder.glob(f"state-{step:08d}-*")):
        assert time.monotonic() < end
        time.sleep(0.01)


def test_sigterm_saves_and_asks_to_be_run_again(tmp_path, undisturbed):
    process = FORK.Process(target=train_alone, args=(tmp_path, CONFIG, 0.05))
    process.start()
    wait_for_state(tmp_path, 5)
    os.kill(process.pid, signal.SIGTERM)
    process.join()
    assert process.exitcode == REQUEUE
    assert 5 < len(history_of(tmp_path)) < 24
    fit(TinyModel(), noise, CONFIG, tmp_path)
    assert state(tmp_path) == state(undisturbed)


@pytest.mark.slow
def test_kills_at_random_moments_change_nothing(tmp_path, undisturbed):
    rng = random.Random(0)
    config = replace(CONFIG, checkpoint_every=1)
    kills = 0
    while kills < 8:
        process = FORK.Process(target=train_alone, args=(tmp_path, config, 0.005))
        process.start()
        newest = len(list(tmp_path.glob("state-*"))) and max(tmp_path.glob("state-*")).name
        end = time.monotonic() + 120
        while process.is_alive() and time.monotonic() < end:
            states = sorted(p.name for p in tmp_path.glob("state-*"))
            if states and states[-1] != newest:
                break
            time.sleep(0.002)
        time.sleep(rng.random() * 0.03)
        process.kill()
        process.join()
        kills += 1
    fit(TinyModel(), noise, config, tmp_path)
    assert state(tmp_path) == state(undisturbed)
    assert history_of(tmp_path) == history_of(undisturbed)
    assert not list(tmp_path.glob(PREFIX + "*"))


def test_a_second_process_in_the_folder_waits_and_takes_over(tmp_path, undisturbed):
    orphan = FORK.Process(target=train_alone, args=(tmp_path, CONFIG, 0.02))
    orphan.start()
    wait_for_state(tmp_path, 5)
    reported = []
    history = fit(TinyModel(), noise, CONFIG, tmp_path, report=reported.append)
    orphan.join()
    assert orphan.exitcode == 0 and reported == [24]
    assert history == history_of(undisturbed) and state(tmp_path) == state(undisturbed)


def test_batches_that_cannot_be_shared_out_are_refused(tmp_path, monkeypatch):
    class Two:
        num_processes, is_main_process, log_with = 2, True, []

    monkeypatch.setattr("la.learn.training.Accelerator", lambda **options: Two())
    with pytest.raises(
        ValueError, match="2 processes cannot share 3 batches a step equally; start .* divide 3"
    ):
        fit(TinyModel(), noise, replace(CONFIG, micro_batches=3), tmp_path)
