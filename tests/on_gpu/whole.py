"""A profile of the paper at work: features, training with stop and resume, scores."""

import hashlib
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

import torch

from la.data.feature_cache.packing import chosen_numbers
from la.experiment.job import Job
from la.experiment.methods import METHODS
from la.experiment.runs import Run
from la.experiment.setup.measurements import Measurement
from la.experiment.setup.workbench import Workbench
from la.learn.training import Stopped
from la.model.backbones import BACKBONES
from la.model.backbones.spec import PublishedFile
from tests.on_gpu.photographs import write_photographs
from tests.on_gpu.place import SIDE, Figures, Place, computing_on
from tests.published_backbones import published_weights

IMAGES, STEPS, EPISODES = 12, 40, 4


def whole(place: Place) -> Iterator[Figures]:
    """paper-mae-short of 40 steps on 12 photographs, with random weights in the published file."""
    config = place.config("paper-mae-short")
    steps = 4 if place.reduced else STEPS
    config = replace(
        config,
        train=replace(config.train, steps=steps, warmup_steps=2),
        evaluation=replace(
            config.evaluation, episodes=EPISODES, seen_episodes=EPISODES, validation_episodes=2
        ),
    )
    annotations = write_photographs(place.folder / "twelve", IMAGES, (480, 640))
    home = place.folder / "whole"
    with published_file(place), computing_on(place.device):
        bench = Workbench(config, annotations.parents[1], home=home)
        timed = Clock()
        bench.features(bench.data.whole)
        yield timed.figures("features", IMAGES, "images")
        run = Run.of(bench, METHODS["la"], fold=0, seed=0)
        try:
            run.train(stop_after=steps // 2)
        except Stopped:
            yield timed.figures("training to the stop", steps // 2, "steps")
        run.train()
        yield timed.figures("training after it", steps - steps // 2, "steps")
        job = Job(bench, Measurement("la", 0, 1, 1, seed=0, episodes=EPISODES))
        result = job.count(job.fitted())
        yield timed.figures("fitting and scoring", 2 * EPISODES, "episodes")
    n_states = len(list(run.folder.glob("state-*.safetensors")))
    n_records = len((run.folder / "history.jsonl").read_text().splitlines())
    yield {"miou_star": round(result.scores.miou_star, 4), "states": n_states,
           "records": n_records, "numbers": chosen_numbers()}  # fmt: skip
    assert n_records == steps and run.model.exists()


class Clock:
    """The time of each stage."""

    def __init__(self) -> None:
        self.started = time.perf_counter()

    def figures(self, stage: str, number: int, unit: str) -> Figures:
        """Seconds since the last call, and the rate."""
        now = time.perf_counter()
        spent, self.started = now - self.started, now
        return {"stage": stage, "seconds": round(spent, 2),
                f"{unit}_per_s": round(number / spent, 2)}  # fmt: skip


@contextmanager
def published_file(place: Place) -> Iterator[None]:
    """In this block MAE's file lies in the folder of weights, with random numbers."""
    with torch.device(place.device):  # a GPU draws the numbers in no time
        content = published_weights("mae_vit_b", SIDE if place.reduced else None)
    folder = place.folder / "weights"
    folder.mkdir()
    spec = BACKBONES["mae_vit_b"]
    assert isinstance(spec.weights, PublishedFile)
    (folder / spec.weights.file_name).write_bytes(content)
    sha256 = hashlib.sha256(content).hexdigest()
    BACKBONES["mae_vit_b"] = replace(spec, weights=replace(spec.weights, sha256=sha256))
    before = os.environ.get("LA_WEIGHTS")
    os.environ["LA_WEIGHTS"] = str(folder)
    try:
        yield
    finally:
        BACKBONES["mae_vit_b"] = spec
        os.environ.pop("LA_WEIGHTS")
        if before is not None:
            os.environ["LA_WEIGHTS"] = before
