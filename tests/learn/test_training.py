import json
import logging
import math
import multiprocessing
import os
import random
import signal
import socket
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
    noise,
    noise_batch,
    state,
    train_alone,
    train_beside,
)

from la.config import ModelConfig
from la.files import PREFIX
from la.learn.losses import class_weights, focal_loss
from la.learn.run import Diverged
from la.learn.steps import batch_loss, learning_rate
from la.learn.training import REQUEUE, Stopped, fit
from la.types import IGNORE, Episode, map_tensors

PROCESSES = multiprocessing.get_context("forkserver")
PROCESSES.set_forkserver_preload(["la.learn.training"])


@pytest.fixture(autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory) -> Path:
    """The folder of a run that nothing stopped."""
    torch.set_num_threads(1)
    folder = tmp_path_factory.mktemp("run") / "undisturbed"
    fit(TinyModel(), noise, CONFIG, folder)
    return folder


def history_of(folder: Path) -> list[dict]:
    return [json.loads(line) for line in (folder / "history.jsonl").read_text().splitlines()]


# ---- what a step does


def test_the_rate_warms_up_and_falls_to_zero_along_a_cosine():
    config = replace(CONFIG, steps=104, warmup_steps=4, lr=2.0)
    assert [learning_rate(s, config) for s in range(5)] == [0.5, 1, 1.5, 2, 2]
    assert learning_rate(54, config) == pytest.approx(1.0)
    assert learning_rate(103, config) == pytest.approx(1 + math.cos(math.pi * 0.99))
    constant = replace(config, schedule="constant")
    assert [learning_rate(s, constant) for s in (4, 54, 103)] == [2, 2, 2]
    assert learning_rate(0, replace(config, warmup_steps=0)) == 2


def test_the_loss_is_equation_6_on_the_grid_of_the_target():
    batch, model = noise_batch(0), TinyModel()
    total = 0.0
    logits = model(batch)
    weights = class_weights(batch.target, 3, CONFIG.class_weight)
    for b, rows in enumerate((3, 2)):  # each episode with its own rows alone
        scores = nn.functional.interpolate(logits[b : b + 1, :rows], size=(8, 8), mode="bilinear")
        total += focal_loss(scores, batch.target[b : b + 1], weights[b : b + 1, :rows]) / 2
    assert batch_loss(model, batch, CONFIG).item() == pytest.approx(total.item(), rel=1e-5)


def test_the_official_loss_is_taken_on_original_pixels_and_divided_by_all_of_them():
    """An 8 px input frame; queries of 4 x 8 and 8 x 6 original pixels, padded to 8 x 8."""
    target = torch.full((2, 8, 8), IGNORE)
    target[0, :4] = torch.tensor([0, 0, 1, 1, 2, 2, 2, 0])
    target[1, :, :6] = torch.tensor([0, 1, 1, 0, 0, 1])[:, None].repeat(1, 8).T
    target[0, 0, 0] = IGNORE
    sizes = torch.tensor([[4, 8], [8, 6]])
    batch = replace(noise_batch(0), target=target, query_size=sizes)
    model = TinyModel()
    model.config = ModelConfig(image_size=8, resize="pad")

    logits = model(batch).detach()
    counts = torch.bincount(target[target != IGNORE], minlength=3) / target.numel()
    weights = 1 / torch.log(1.1 + counts)
    total = 0.0
    for b, n_rows in enumerate((3, 2)):
        frame = nn.functional.interpolate(logits[b : b + 1, :n_rows], size=(8, 8), mode="bilinear")
        height, width = sizes[b].tolist()
        for y in range(height):
            for x in range(width):
                n = int(target[b, y, x])
                if n != IGNORE:  # pad: the frame's scale is 1, so its upper left is the image
                    ce = -frame[0, :, y, x].log_softmax(0)[n]
                    total += float(weights[n] * (1 - torch.exp(-ce)) ** CONFIG.gamma * ce)
    config = replace(CONFIG, target_side=None, class_weight="log")
    assert batch_loss(model, batch, config).item() == pytest.approx(total / (2 * 8 * 8), rel=1e-5)


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


# ---- stopping and going on


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
    with pytest.raises(ValueError, match="is the state of another model .* another folder"):
        fit(Wider(), noise, CONFIG, tmp_path)


def wait_for_state(folder: Path, step: int) -> None:
    end = time.monotonic() + 120
    while not list(folder.glob(f"state-{step:08d}-*")):
        assert time.monotonic() < end
        time.sleep(0.01)


def test_sigterm_saves_and_asks_to_be_run_again(tmp_path, undisturbed):
    process = PROCESSES.Process(target=train_alone, args=(tmp_path, CONFIG, 0.05))
    process.start()
    wait_for_state(tmp_path, 5)
    os.kill(process.pid, signal.SIGTERM)
    process.join()
    assert process.exitcode == REQUEUE
    assert 5 < len(history_of(tmp_path)) < 24
    fit(TinyModel(), noise, CONFIG, tmp_path)
    assert state(tmp_path) == state(undisturbed)


def test_kills_at_random_moments_change_nothing(tmp_path, undisturbed):
    rng = random.Random(0)
    config = replace(CONFIG, checkpoint_every=1)
    kills = 0
    while kills < 8:
        process = PROCESSES.Process(target=train_alone, args=(tmp_path, config, 0.005))
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
    orphan = PROCESSES.Process(target=train_alone, args=(tmp_path, CONFIG, 0.02))
    orphan.start()
    wait_for_state(tmp_path, 5)
    reported = []
    history = fit(TinyModel(), noise, CONFIG, tmp_path, report=reported.append)
    orphan.join()
    assert orphan.exitcode == 0 and reported == [24]
    assert history == history_of(undisturbed) and state(tmp_path) == state(undisturbed)


# ---- several processes


def test_two_processes_take_the_steps_of_one(tmp_path, undisturbed):
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    folder = tmp_path / "two"
    both = [
        PROCESSES.Process(target=train_beside, args=(rank, 2, port, folder, CONFIG))
        for rank in range(2)
    ]
    for process in both:
        process.start()
    for process in both:
        process.join(300)
    assert [process.exitcode for process in both] == [0, 0]
    one, two = history_of(undisturbed), history_of(folder)
    assert len(two) == 24
    for a, b in zip(one, two, strict=True):
        assert b["loss"] == pytest.approx(a["loss"], abs=1e-5)
        assert b["norm"] == pytest.approx(a["norm"], abs=1e-4)
    given = [json.loads((tmp_path / f"numbers-{rank}.json").read_text()) for rank in range(2)]
    assert not set(given[0]) & set(given[1])
    assert sorted(given[0] + given[1]) == list(range(48))
    ours, expected = (load_file(max(f.glob("state-*"))) for f in (folder, undisturbed))
    for key in expected:
        assert torch.allclose(ours[key], expected[key], atol=1e-4), key


def test_batches_that_cannot_be_shared_out_are_refused(tmp_path, monkeypatch):
    class Two:
        num_processes, is_main_process, log_with = 2, True, []

    monkeypatch.setattr("la.learn.training.Accelerator", lambda **options: Two())
    with pytest.raises(ValueError, match="micro_batches=3 cannot be shared by 2 processes"):
        fit(TinyModel(), noise, replace(CONFIG, micro_batches=3), tmp_path)


# ---- what goes wrong


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


def test_out_of_memory_says_which_shape_and_what_to_change(tmp_path):
    class Full(TinyModel):
        def forward(self, batch):
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB.")

    with pytest.raises(
        torch.OutOfMemoryError,
        match=r"\(B, N, K\) = \(2, 2, 1\) with 3 support images and 3 examples; use .*bfloat16.*"
        "smaller B in EpisodeConfig.shapes",
    ):
        fit(Full(), noise, CONFIG, tmp_path)


# ---- the best state


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
