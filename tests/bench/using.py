"""The shipped quick model at work: a support set, queries, and what half precision costs."""

import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from PIL import Image

import la
from la.config import PROTOCOLS
from la.data.coco.index import CocoIndex
from la.data.embedded import synthetic
from la.data.embedded.classes import kinds
from la.data.embedded.scenes import draw_scene
from la.data.sampling.episodes import EpisodeSampler, episode_list
from la.data.sampling.folds import unseen
from la.data.sampling.geometry import Frame
from la.data.sampling.loader import BatchLoader
from la.learn.evaluation import count
from la.learn.metrics import Scores
from la.model.backbone import build_backbone
from la.profiles import profile
from la.rng import stream
from la.types import Box
from tests.bench.records import Bar, Clock, Record, interleaved, record
from tests.bench.sizes import Sizes

PHOTO = 640, 480
HALF = {"float16": torch.float16, "bfloat16": torch.bfloat16}


def predictor_records(sizes: Sizes, clock: Clock) -> Iterator[Record]:
    """Two support images with three classes and a query, and each further query."""
    predictor = la.Predictor(la.load("quick"))
    images = [_photo(number) for number in range(4)]
    mask = np.zeros((PHOTO[1], PHOTO[0]), bool)
    mask[100:300, 200:400] = True
    examples = [
        (images[0], {"one": [mask], "two": [Box(20, 30, 180, 200)]}),
        (images[1], {"two": [Box(300, 100, 500, 400)], "three": [la.Point(320, 240)]}),
    ]
    support = predictor.support(examples)
    arms = {
        "first": lambda: predictor.predict(images[2], predictor.support(examples)),
        "further": lambda: predictor.predict(images[3], support),
    }
    taken = interleaved(arms, clock, seconds=sizes.seconds / 4, least=sizes.least)
    note = "quick model, images of 640 x 480"
    first, further = Bar("ours", "<=", 0.5), Bar("ours", "<=", 0.1)
    work = "Predictor: 2 support images, 3 classes, and a query"
    yield record(work, "s", taken["first"], bar=first, note=note)
    yield record("Predictor: a further query", "s", taken["further"], bar=further, note=note)


def precision_records(sizes: Sizes) -> Iterator[Record]:
    """What a cache in half precision does to logits and to the score of unseen classes."""
    config, model = profile("quick"), la.load("quick")
    with tempfile.TemporaryDirectory() as folder:
        data = synthetic.write(
            Path(folder) / "data", n_train=1, n_val=sizes.scored_images, progress=False
        )
        index = CocoIndex.from_json(data / "annotations" / "instances_val.json")
        exact = _features(index, config.model)
        classes = unseen(index.category_ids, 0, config.evaluation.folds)
        sampler = EpisodeSampler(index, classes, PROTOCOLS["clean"], [(2, 1)])
        episodes = episode_list(sampler, n_ways=2, k_shots=1, episodes=sizes.scored, seed=0)

        def loader(dtype: torch.dtype) -> BatchLoader:
            def read(ids: list[int]) -> torch.Tensor:
                return torch.stack([exact[i] for i in ids]).to(dtype).float()

            return BatchLoader(
                index, config.model, config.episodes, PROTOCOLS["clean"], classes, read
            )

        def miou(dtype: torch.dtype) -> float:
            counts = count(
                model,
                episodes,
                loader(dtype),
                model=config.model,
                batch_size=16,
                biases=(model.card.bias,),
            )[0]
            ids = (e.class_ids for e in episodes)
            drawn = sorted({c for e in episodes for c in e.class_ids})
            return 100 * Scores.of(zip(ids, counts, strict=True), drawn).miou_star

        def logits(dtype: torch.dtype) -> torch.Tensor:
            with torch.inference_mode():
                return model(loader(dtype)(episodes[:16]))

        wanted, score = logits(torch.float32), miou(torch.float32)
        finite = wanted.isfinite()
        for name, dtype in HALF.items():
            error = (logits(dtype) - wanted)[finite].abs().max().item()
            note = f"of logits with standard deviation {wanted[finite].std():.2g}; quick model"
            yield record(f"features in {name}, largest error", "logit", [error], note=note)
            note = f"mIoU* {miou(dtype):.2f} and {score:.2f} in float32, {len(episodes)} episodes"
            change = abs(miou(dtype) - score)
            yield record(f"features in {name}, change of mIoU*", "points", [change], note=note)


def _features(index: CocoIndex, model) -> dict[int, torch.Tensor]:
    """The backbone's features of all images, in float32."""
    backbone, features = build_backbone(model), {}
    for image_id in index.image_ids.tolist():
        image = index.read_image(image_id)
        frame = Frame((image.height, image.width), model.image_size, model.resize)
        with torch.inference_mode():
            features[image_id] = backbone(frame.image(image)[None])[0]
    return features


def _photo(number: int) -> Image.Image:
    scene = draw_scene(kinds("benchmark"), stream(0, "bench photo", number))
    return Image.fromarray(scene.image).resize(PHOTO)
