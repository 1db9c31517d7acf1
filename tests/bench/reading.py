"""What comes before the model: annotation file, episodes, masks, features, batches."""

import contextlib
import cProfile
import io
import pstats
import shutil
import time
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path

import numpy as np
import safetensors.torch
import torch
from pycocotools.coco import COCO

from la.config import PROTOCOLS
from la.data.coco.index import CocoIndex
from la.data.feature_cache.features import FeatureKey, FeatureStore
from la.data.feature_cache.image_features import ImageFeatures
from la.data.feature_cache.packing import Float16
from la.data.sampling.episodes import EpisodeSampler
from la.data.sampling.folds import seen, unseen
from la.data.sampling.loader import BatchLoader
from la.profiles import profile
from la.rng import stream
from la.types import Batch
from tests.bench.coco_size import write_annotations
from tests.bench.records import Bar, Clock, Record, interleaved, record
from tests.bench.sizes import Sizes

KEY = FeatureKey("mae_vit_b", "0" * 64, 480, "squash")
SHAPE = 768, 30, 30  # of one image's features
MASKS = ("mask",)
OFFICIAL = "the official code's rate on a faster core (Sapphire Rapids); it reads 549 images"


def index_records(sizes: Sizes, folder: Path, clock: Clock) -> Iterator[Record]:
    """The annotation file of COCO's size: parsed, opened again, sampled from."""
    path = write_annotations(folder / "instances_train2014.json", *sizes.annotations)
    size = f"{sizes.annotations[0]:,} images, {sizes.annotations[1]:,} instances"
    fresh = (folder / f"index{i}" for i in count())
    warm = folder / "warm"
    CocoIndex.from_json(path, folder, warm)
    arms = {
        "cold": lambda: CocoIndex.from_json(path, folder, next(fresh)),
        "warm": lambda: CocoIndex.from_json(path, folder, warm),
        "pycocotools": lambda: _quietly(COCO, path),
    }
    taken = interleaved(arms, clock, seconds=sizes.seconds, least=sizes.least)
    coco = taken["pycocotools"]
    yield record("index, cold", "s", taken["cold"], coco, Bar("ratio", ">=", 2), size)
    yield record("index, warm", "s", taken["warm"], coco, Bar("ours", "<=", 0.3), size)

    config = profile("paper-mae").episodes
    pairs = {(n, k) for _, n, k in config.shapes} | {(2, 1)}

    def start() -> EpisodeSampler:
        index = CocoIndex.from_json(path, folder, warm)
        classes = seen(index.category_ids, 0, "interleaved")
        sampler = EpisodeSampler(index, classes, PROTOCOLS["clean"], pairs)
        sampler.training_episode(0, n_ways=4, k_shots=2, seed=0, config=config)
        return sampler

    taken = interleaved({"start": start}, clock, seconds=sizes.seconds / 4, least=sizes.least)
    note = "warm index, sampler of 60 classes, one episode; without the imports"
    yield record(
        "start to first episode", "s", taken["start"], bar=Bar("ours", "<=", 0.5), note=note
    )
    sampler = start()
    numbers = count()
    draws = {
        "test 2-way 1-shot": lambda i: sampler.evaluation_episode(
            i, n_ways=2, k_shots=1, seed=0, kinds=MASKS
        ),
        "training 4-way 2-shot": lambda i: sampler.training_episode(
            i, n_ways=4, k_shots=2, seed=0, config=config
        ),
    }
    for name, draw in draws.items():

        def some(draw=draw) -> None:
            for _ in range(sizes.episodes):
                draw(next(numbers))

        taken = interleaved({"draw": some}, clock, seconds=sizes.seconds / 4, least=sizes.least)
        rates = [sizes.episodes / seconds for seconds in taken["draw"]]
        bar = Bar("ours", ">=", 20_000)
        yield record(f"sampling ids, {name}", "episodes/s", rates, bar=bar, note=size)


def mask_records(sizes: Sizes, photographs: Path, clock: Clock) -> Iterator[Record]:
    """Segmentations to pixels."""
    index, coco = CocoIndex.from_json(photographs), _quietly(COCO, photographs)
    some = list(range(len(index.annotation_image)))[: sizes.masks]
    others = list(coco.anns.values())[: len(some)]
    arms = {
        "ours": lambda: [index.mask(a) for a in some],
        "pycocotools": lambda: [coco.annToMask(a) for a in others],
    }
    taken = interleaved(arms, clock, seconds=sizes.seconds / 4, least=sizes.least)
    ours, theirs = ([len(some) / t for t in taken[name]] for name in arms)
    note = "every instance in full size; reference: pycocotools' annToMask"
    yield record("mask decode", "masks/s", ours, theirs, note=note)


def collate_records(
    sizes: Sizes, photographs: Path, folder: Path, clock: Clock, profiles: dict[str, str]
) -> Iterator[Record]:
    """Episodes made ready for the model by one process: masks drawn, features read, laid flat."""
    index = CocoIndex.from_json(photographs)
    index = index.subset(index.image_ids[: sizes.photographs])
    config = profile("paper-mae")
    store = ImageFeatures(index, FeatureStore(folder / "collated", KEY))
    store.write(index.image_ids.tolist(), _no_image, _random_features(), progress=False)
    clean = PROTOCOLS["clean"]

    def sampler(classes: tuple[int, ...], n_ways: int, k_shots: int) -> EpisodeSampler:
        return EpisodeSampler(index, classes, clean, [(n_ways, k_shots)])

    folds = unseen(index.category_ids, 0, "interleaved"), seen(index.category_ids, 0, "interleaved")
    test, train = sampler(folds[0], 2, 1), sampler(folds[1], 4, 2)
    common = index, config.model, config.episodes, clean, folds[0], store.read
    to_score = BatchLoader(*common)
    to_learn = BatchLoader(*common, target_side=config.train.target_side, jitter=True)

    def test_batch(i: int) -> Batch:
        draw = test.evaluation_episode
        return to_score(
            [draw(j, n_ways=2, k_shots=1, seed=0, kinds=MASKS) for j in range(4 * i, 4 * i + 4)]
        )

    def training_batch(i: int) -> Batch:
        draw = train.training_episode
        return to_learn(
            [
                draw(j, n_ways=4, k_shots=2, seed=0, config=config.episodes)
                for j in range(2 * i, 2 * i + 2)
            ]
        )

    for name, make, size, official in (
        ("test 2-way 1-shot", test_batch, 4, 57),
        ("training 4-way 2-shot", training_batch, 2, 11),
    ):
        numbers, made = count(), []

        def some(make=make, numbers=numbers, made=made) -> None:
            for _ in range(sizes.batches):
                made.append(len(make(next(numbers)).class_valid))

        taken = interleaved({"collate": some}, clock, seconds=sizes.seconds, least=sizes.least)
        rates = [sizes.batches * size / seconds for seconds in taken["collate"]]
        note = f"batches of {size}; {sum(made)} episodes, none failed; reference: {OFFICIAL}"
        bar = Bar("ratio", ">=", 10)
        found = record(f"episodes ready, {name}", "episodes/s", rates, [official], bar, note)
        if found.met is False:
            profiles[found.work] = _profiled(some)
        yield found


def cache_records(sizes: Sizes, folder: Path, clock: Clock) -> Iterator[Record]:
    """The feature cache beside a file that is copied, and one that is memory-mapped and read."""
    ids, encode, fresh = list(range(1, sizes.features + 1)), _random_features(), count()
    images = {str(image_id): image_id for image_id in ids}
    kept = FeatureStore(folder / "kept", KEY)
    kept.write(images, _no_image, encode, progress=False)
    files = sorted(kept.folder.glob(f"*{Float16.suffix}"))
    stored = sum(path.stat().st_size for path in files)
    one = {"features": torch.zeros(SHAPE)}
    official = len(safetensors.torch.save(one))
    note = "float16 with checksum; reference: one float32 safetensors file"
    per_image = [stored / len(ids) / 1e6]
    bar = Bar("ratio", ">=", 2)
    yield record("feature cache, bytes per image", "MB", per_image, [official / 1e6], bar, note)

    def write() -> None:
        target = folder / f"written{next(fresh)}"
        FeatureStore(target, KEY).write(images, _no_image, encode, progress=False)
        shutil.rmtree(target)

    def copy() -> None:
        target = folder / f"copied{next(fresh)}"
        target.mkdir()
        for path in files:
            shutil.copyfile(path, target / path.name)
        shutil.rmtree(target)

    arms = {"ours": write, "copy": copy}
    taken = interleaved(arms, time.perf_counter, seconds=sizes.seconds, least=sizes.least)
    rates = {name: [stored / 1e6 / t for t in runs] for name, runs in taken.items()}
    note = "rounded from float32, with checksum; reference: copy of the files"
    yield record("feature cache, write", "MB/s", rates["ours"], rates["copy"], note=note)

    asked = stream(0, "features to read").permutation([*images]).reshape(-1, 8).tolist()
    raw = {
        path.name.removesuffix(Float16.suffix): np.memmap(path, np.int16, "r", shape=SHAPE)
        for path in files
    }
    total = stored / 1e6

    def read(store: Callable[[], FeatureStore], dtype: torch.dtype) -> Callable[[], None]:
        def all_of_them() -> None:
            source = store()
            for some in asked:
                source.read(some).to(dtype)

        return all_of_them

    def map_and_copy() -> None:
        for some in asked:
            together = np.empty((len(some), *SHAPE), np.int16)
            for place, image in enumerate(some):
                together[place] = raw[image]

    read(lambda: kept, torch.float16)()  # looks at the checksums, once, and maps the pages
    map_and_copy()
    arms = {
        "raw": map_and_copy,
        "stored": read(lambda: kept, torch.float16),
        "float32": read(lambda: kept, torch.float32),
        "first": read(lambda: FeatureStore(folder / "kept", KEY), torch.float32),
    }
    taken = interleaved(arms, clock, seconds=sizes.seconds, least=sizes.least)
    rates = {name: [total / t for t in runs] for name, runs in taken.items()}
    name, raw_note = "feature cache, read", "batches of 8 in random order, MB as stored"
    bar = Bar("ratio", ">=", 0.7)
    yield record(name, "MB/s", rates["stored"], rates["raw"], bar, raw_note)
    yield record(
        f"{name} as float32", "MB/s", rates["float32"], rates["raw"], note="what the model takes"
    )
    yield record(
        f"{name} as float32, first time",
        "MB/s",
        rates["first"],
        rates["raw"],
        note="with checksums",
    )


def _profiled(work: Callable[[], object], rows: int = 12) -> str:
    """Where the time of a call goes: the functions with the most time of their own, as text."""
    taken, text = cProfile.Profile(time.process_time), io.StringIO()
    taken.runcall(work)
    pstats.Stats(taken, stream=text).strip_dirs().sort_stats("tottime").print_stats(rows)
    return text.getvalue().strip()


def _no_image(image_id: int) -> torch.Tensor:
    return torch.zeros(1)


def _random_features() -> Callable[[torch.Tensor], torch.Tensor]:
    features = torch.randn(8, *SHAPE, generator=torch.Generator().manual_seed(0))
    return lambda images: features[: len(images)]


def _quietly(make: Callable, *arguments):
    with contextlib.redirect_stdout(io.StringIO()):
        return make(*arguments)
