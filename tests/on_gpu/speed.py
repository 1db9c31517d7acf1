"""How fast training steps, encoders, scoring and clicks are at true sizes, and their memory."""

import math
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial

import numpy as np
import torch
from PIL import Image

import la
from la.config import Config
from la.experiment.methods import LOGITS
from la.experiment.planning.typical import Shape, images_of
from la.learn.evaluation import count
from la.learn.precision import tf32
from la.learn.run import Run
from la.model.label_anything import LabelAnything
from la.predict.predictor import Predictor
from la.rng import stream
from la.types import Batch, Episode, Point
from tests.bench.steps import operations
from tests.on_gpu.correctness import computed_in
from tests.on_gpu.place import (
    Figures,
    Place,
    batch_on,
    computing_on,
    median_ms,
    random_backbone,
    training_run,
)

PROFILES = ("paper-mae", "paper-sam", "dinov2", "paper-mae-official")


def steps(place: Place) -> Iterator[Figures]:
    """A training step of each (B, N, K), in bfloat16 and in float32 with TF32.

    The official profile trains in float32 without TF32, and is measured so, too.
    """
    for name in PROFILES:
        config = place.config(name)
        precisions = [("bfloat16", True), ("float32", True)]
        if config.train.precision == "float32":
            precisions.append(("float32", False))
        for precision, fast in precisions:
            with computing_on(place.device), tf32(fast):
                run = _run(place, config, precision)
                total = 0.0
                for shape in config.episodes.shapes:
                    figures = _step(place, run, batch_on(place.device, config, shape))
                    total += figures["ms"]
                    written = f"{precision}{' with TF32' if fast else ''}"
                    yield {
                        "profile": name, "precision": written, "shape": shape, **figures
                    }  # fmt: skip
                mean = round(total / len(config.episodes.shapes), 2)
                yield {"profile": name, "precision": written, "mean_ms": mean}
            del run


def _run(place: Place, config: Config, precision: str) -> Run:
    """A training run of the profile in a precision."""
    train = replace(config.train, precision=precision)
    return training_run(place, replace(config, train=train))


def _step(place: Place, run: Run, batch: Batch) -> Figures:
    """Time, operations and memory of a step with one batch; the time is NaN if it does not fit."""
    run.unread = []
    if place.device.type == "cuda":
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
    try:
        n_operations, _ = operations(lambda: run.take_step([batch]))
        ms, host_ms = median_ms(lambda: run.take_step([batch]), place.device)
    except torch.OutOfMemoryError:
        return {"ms": math.nan, **_peak(place)}
    return {
        **_kernels(place, run, batch),
        "ms": round(ms, 2),
        "host_ms": round(host_ms, 2),
        "tflop": round(n_operations / 1e12, 3),
        "tflop_per_s": round(n_operations / ms / 1e9, 1),
        **_peak(place),
    }


def _kernels(place: Place, run: Run, batch: Batch) -> Figures:
    """Milliseconds in which the GPU computes during a step, and the number of its kernels.

    Where they are far below the time of the step, the GPU waits for the host.
    """
    if place.device.type != "cuda":
        return {}
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CUDA]) as taken:
        run.take_step([batch])
        torch.cuda.synchronize()
    events = taken.key_averages()
    total = sum(event.self_device_time_total for event in events)
    return {"kernel_ms": round(total / 1000, 2), "kernels": sum(event.count for event in events)}


def _peak(place: Place) -> Figures:
    """Gigabytes that were in use at most since the statistics were reset."""
    if place.device.type != "cuda":
        return {}
    return {"peak_gb": round(torch.cuda.max_memory_allocated() / 1e9, 2)}


def encoders(place: Place) -> Iterator[Figures]:
    """Images a second of each backbone, by precision and batch size."""
    for name in ("photos", "dinov2", "paper-mae", "paper-sam"):
        model = place.config(name).model
        backbone = random_backbone(model, place.device)
        side = model.image_size
        for precision in ("bfloat16", "TF32"):
            rates = {}
            if place.device.type == "cuda":
                torch.cuda.reset_peak_memory_stats()
            for n_images in (1, 4, 8):
                images = torch.randn(n_images, 3, side, side, device=place.device)
                with torch.inference_mode(), computed_in(precision, place.device):
                    ms, _ = median_ms(partial(backbone, images), place.device, 2, 4)
                rates[n_images] = round(1000 * n_images / ms, 1)
            yield {
                "backbone": model.backbone, "precision": precision,
                "images_per_s": rates, **_peak(place),
            }  # fmt: skip


def evaluation(place: Place) -> Iterator[Figures]:
    """Episodes a second that are scored with all biases, features being at hand."""
    config = place.config("paper-mae")
    model = LabelAnything.from_config(config.model, torch.Generator().manual_seed(0))
    model = model.to(place.device).eval()
    for n_ways in (1, 5, 20):
        shape = (config.evaluation.batch_size, n_ways, 1)
        ms, _ = median_ms(_scoring(place, model, config, shape), place.device, 1, 3)
        rate = 1000 * shape[0] / ms
        yield {"n_ways": n_ways, "episodes_per_s": round(rate, 1),
               "images_per_s": round(rate * images_of((1, n_ways, 1)), 1)}  # fmt: skip


def _scoring(
    place: Place, model: LabelAnything, config: Config, shape: Shape
) -> Callable[[], object]:
    """Scores a batch of random episodes when called."""
    batch = batch_on(place.device, config, shape, target_side=config.model.image_size)
    classes = tuple(range(1, shape[1] + 1))
    episodes = [Episode(0, classes, classes, (), seed) for seed in range(shape[0])]
    return partial(
        count,
        model,
        episodes,
        lambda episodes: batch,
        model=config.model,
        batch_size=shape[0],
        device=place.device,
        biases=LOGITS,
    )


def clicks(place: Place) -> Iterator[Figures]:
    """Milliseconds to open a photograph and to answer a click, with the model `photos`."""
    pixels = stream(0, "photograph").integers(256, size=(6, 8, 3), dtype=np.uint8)
    photograph = Image.fromarray(pixels).resize((640, 480))
    for half in (False, True):
        predictor = Predictor(la.load("photos").to(place.device), bfloat16=half)
        encoded = predictor.encode(photograph)

        def click(predictor=predictor, encoded=encoded) -> None:
            support = predictor.support([(encoded, {"one": [Point(320, 200)]})])
            predictor.predict(encoded, support)

        opened = _median_seconds(partial(predictor.encode, photograph))
        answered = _median_seconds(click)
        yield {"bfloat16": half, "open_ms": round(1000 * opened, 1),
               "click_ms": round(1000 * answered, 1)}  # fmt: skip


def _median_seconds(work: Callable[[], object]) -> float:
    """Of a call whose result lies on the CPU, so that it waits for the device itself."""
    spent = []
    for _ in range(12):
        started = time.perf_counter()
        work()
        spent.append(time.perf_counter() - started)
    return float(np.median(spent[2:]))


def tried(place: Place) -> Iterator[Figures]:
    """What is not used on a GPU: a fused AdamW, channels-last convolutions, compiled code."""
    config = place.config("paper-mae")
    shape = config.episodes.shapes[-1]
    batch = batch_on(place.device, config, shape)
    with computing_on(place.device), tf32(True):
        run = _run(place, config, "bfloat16")
        yield {"tried": "nothing", "shape": shape, **_step(place, run, batch)}
        fused = torch.optim.AdamW(run.model.parameters(), lr=1e-5, fused=True)
        run.optimizer = run.accelerator.prepare_optimizer(fused, device_placement=False)
        yield {"tried": "fused AdamW", "shape": shape, **_step(place, run, batch)}
        run = _run(place, config, "bfloat16")
        run.model.to(memory_format=torch.channels_last)
        yield {"tried": "channels-last", "shape": shape, **_step(place, run, batch)}
        run = _run(place, config, "bfloat16")
        run.model.prompt_encoder.compile(dynamic=True)
        run.model.mask_decoder.compile(dynamic=True)
        for shape in config.episodes.shapes:
            batch = batch_on(place.device, config, shape)
            started = time.perf_counter()
            run.take_step([batch])
            run.take_step([batch])
            compiling = round(time.perf_counter() - started, 1)
            ms, _ = median_ms(lambda: run.take_step([batch]), place.device)  # noqa: B023
            yield {"tried": "compiled", "shape": shape, "ms": round(ms, 2),
                   "first_two_steps_s": compiling}  # fmt: skip
