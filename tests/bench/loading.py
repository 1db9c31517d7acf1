"""How many batches of SAM's size two worker processes and the reading threads prepare."""

import os
import resource
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import psutil
import torch

from la.config import PROTOCOLS, Config, ModelConfig
from la.data.coco.index import CocoIndex
from la.data.feature_cache.features import FeatureKey, FeatureStore
from la.data.feature_cache.image_features import ImageFeatures
from la.data.feature_cache.packing import Numbers
from la.data.sampling.batches import TrainingBatches, ids_alone
from la.data.sampling.episodes import EpisodeSampler
from la.data.sampling.folds import seen
from la.data.sampling.loader import BatchLoader
from la.profiles import profile
from tests.bench.records import Bar, Record, record
from tests.bench.sizes import Sizes

WORKERS = 2
SHAPE = (16, 1, 1)
BLOCK = 32  # images that are read at a time to verify them
REPEATS = 3
SETTLED = 8  # batches before those that are timed


def loading_records(sizes: Sizes, photographs: Path, folder: Path) -> Iterator[Record]:
    """Batches of paper-sam, (B, N, K) = (16, 1, 1), with features that lie in memory."""
    config = profile("paper-sam")
    index = CocoIndex.from_json(photographs)
    index = index.subset(index.image_ids[: sizes.photographs])
    store = write_random(index, config.model, folder / "sam")
    batches = batches_of(index, config, store)
    image_ids = index.image_ids.tolist()
    for start in range(0, len(image_ids), BLOCK):  # a training verifies each checksum once
        store.read(image_ids[start : start + BLOCK])
    rate(batches, SETTLED, WORKERS)  # memory for the batches that are held at once is allocated
    runs = [rate(batches, sizes.ready, WORKERS) for _ in range(REPEATS)]
    bar = Bar("ours", ">=", 25)
    a_second = [run[0] for run in runs]
    found = record(
        "batches of paper-sam, (16, 1, 1), ready",
        "batches/s",
        a_second,
        bar=bar,
        note=f"{WORKERS} worker processes on {os.cpu_count()} cores, wall time",
    )
    yield found
    n_bytes = 2 * SHAPE[0] * store.read(image_ids[:1]).nbytes  # of as many queries as supports
    yield _two_cores(runs, copying=copy_seconds(n_bytes), n_bytes=n_bytes)


def _two_cores(
    runs: Sequence[tuple[float, float, float]], *, copying: float, n_bytes: int
) -> Record:
    """The same by CPU time, which other programs do not take away, and what takes it.

    Args:
        runs: as `rate` returns them.
        copying: seconds of copying the `n_bytes` of a batch from memory to memory.
    """
    of_cores, got = [], []
    for a_second, reading, drawing in runs:
        of_cores.append(WORKERS / (reading + drawing))
        got.append(a_second * (reading + drawing))
    _, reading, drawing = sorted(runs)[len(runs) // 2]
    note = (
        f"a batch takes {1000 * reading:.0f} ms of the training process, which copies features "
        f"from the page cache ({1000 * copying:.0f} ms for a plain copy of their "
        f"{n_bytes / 1e6:.0f} MB), and {1000 * drawing:.0f} ms of the workers, which draw prompts "
        f"and targets; the line above got {min(got):.1f} to {max(got):.1f} cores"
    )
    work = f"batches of paper-sam, (16, 1, 1), by the CPU time of {WORKERS} cores"
    return record(work, "batches/s", of_cores, note=note)


def copy_seconds(n_bytes: int) -> float:
    """CPU time of copying so many bytes to memory that has been used before."""
    source, place = np.ones(n_bytes, np.uint8), np.ones(n_bytes, np.uint8)
    started = time.process_time()
    np.copyto(place, source)
    return time.process_time() - started


def write_random(
    index: CocoIndex, model: ModelConfig, folder: Path, numbers: Numbers = "float16"
) -> ImageFeatures:
    """A feature cache with the same random features for every image of the index."""
    cells = model.image_size // model.patch_size
    shape = (model.backbone_dim, cells, cells)
    features = torch.randn(1, *shape, generator=torch.Generator().manual_seed(0))
    key = FeatureKey(model.backbone, "0" * 64, model.image_size, model.resize, numbers)
    store = ImageFeatures(index, FeatureStore(folder, key))
    store.write(
        index.image_ids.tolist(),
        lambda image_id: torch.zeros(1),
        lambda images: features.expand(len(images), *shape),
        progress=False,
    )
    return store


def batches_of(index: CocoIndex, config: Config, store: ImageFeatures) -> TrainingBatches:
    """Training batches of fold 0 that all have `SHAPE`."""
    classes = seen(index.category_ids, 0, "interleaved")
    episodes = replace(config.episodes, shapes=(SHAPE,))
    loader = BatchLoader(
        index,
        config.model,
        episodes,
        PROTOCOLS["clean"],
        read_features=ids_alone,
        target_side=config.train.target_side,
        jitter=True,
    )
    sampler = EpisodeSampler(index, classes, PROTOCOLS["clean"], [SHAPE[1:]])
    return TrainingBatches(sampler, loader, episodes, seed=0, features=store)


def rate(
    batches: TrainingBatches,
    n_batches: int,
    n_workers: int,
    *,
    pin_memory: bool = False,
) -> tuple[float, float, float]:
    """Batches that are ready a second, and seconds of CPU time a batch.

    First the time of this process with its threads, then that of all workers.
    """
    others = {child.pid for child in psutil.Process().children(recursive=True)}
    before = _ended_seconds()
    arrived: list[tuple[float, float, float]] = []  # by the clock, this process, the workers
    loaded = batches.loaded(list(range(n_batches)), n_workers=n_workers, pin_memory=pin_memory)
    for _ in loaded:
        arrived.append((time.perf_counter(), time.process_time(), _running_seconds(others)))
    ended = _ended_seconds() - before  # of the workers from their start
    settled = len(arrived) // 4  # the first batches wait for the processes to start
    timed = len(arrived) - 1 - settled
    clock, own = (arrived[-1][i] - arrived[settled][i] for i in range(2))
    # The two clocks tick in different steps, which matters for a few milliseconds of work.
    workers = max(ended - arrived[settled][2], 0.0)
    return timed / clock, own / timed, workers / timed


def _running_seconds(others: set[int]) -> float:
    """CPU time of the running processes that this one has started, without those of other work."""
    running = psutil.Process().children(recursive=True)
    times = [child.cpu_times() for child in running if child.pid not in others]
    return sum(spent.user + spent.system for spent in times)


def _ended_seconds() -> float:
    """CPU time of the processes that this one has started and that have ended."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime
