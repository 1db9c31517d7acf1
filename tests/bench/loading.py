"""How many batches of SAM's size two worker processes and the reading threads prepare."""

import os
import resource
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import torch

from la.config import PROTOCOLS
from la.data.batches import TrainingBatches, ids_alone
from la.data.episodes import EpisodeSampler
from la.data.features import FeatureKey, FeatureStore
from la.data.folds import seen
from la.data.image_features import ImageFeatures
from la.data.index import CocoIndex
from la.data.loader import BatchLoader
from la.profiles import profile
from tests.bench.records import Bar, Record, record
from tests.bench.sizes import Sizes

WORKERS = 2
SHAPE = (16, 1, 1)


def loading_records(sizes: Sizes, photographs: Path, folder: Path) -> Iterator[Record]:
    """Batches of paper-sam, (B, N, K) = (16, 1, 1), with features that lie in memory."""
    config = profile("paper-sam")
    index = CocoIndex.from_json(photographs)
    index = index.subset(index.image_ids[: sizes.photographs])
    shape = (config.model.backbone_dim, 64, 64)
    features = torch.randn(1, *shape, generator=torch.Generator().manual_seed(0))
    store = ImageFeatures(
        index, FeatureStore(folder / "sam", FeatureKey("sam_vit_b", "0" * 64, 1024, "pad"))
    )
    store.write(
        index.image_ids.tolist(),
        lambda image_id: torch.zeros(1),
        lambda images: features.expand(len(images), *shape),
        progress=False,
    )
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
    batches = TrainingBatches(sampler, loader, episodes, seed=0, read=store.read)
    store.read(index.image_ids.tolist()[:32])

    before, started, arrived = _cpu_seconds(), time.perf_counter(), []
    for _ in batches.loaded(list(range(sizes.batches)), n_workers=WORKERS):
        arrived.append(time.perf_counter() - started)
    settled = len(arrived) // 4  # the first batches wait for the processes to start
    began = arrived[settled - 1] if settled else 0.0  # of what is timed, in seconds
    rate = (len(arrived) - settled) / (arrived[-1] - began)
    spent = (_cpu_seconds() - before) / len(arrived)
    note = (
        f"{WORKERS} worker processes on {os.cpu_count()} cores, wall time; {1000 * spent:.0f} ms "
        f"of CPU time a batch, which is {WORKERS / spent:.0f} batches/s of two cores"
    )
    bar = Bar("ours", ">=", 25)
    yield record("batches of paper-sam, (16, 1, 1), ready", "batches/s", [rate], bar=bar, note=note)


def _cpu_seconds() -> float:
    """Of this process with its threads and of the workers that have ended."""
    total = 0.0
    for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN):
        usage = resource.getrusage(who)
        total += usage.ru_utime + usage.ru_stime
    return total
