"""What feeds a GPU: batches from the feature cache, and the stage that fills the cache."""

import time
from collections.abc import Iterator
from pathlib import Path

import torch

from la.data.coco.index import CocoIndex
from la.data.feature_cache.features import FeatureKey, FeatureStore
from la.data.feature_cache.image_features import ImageFeatures
from la.features.encoding import input_image
from la.learn.device import to_device
from la.learn.precision import tf32
from tests.bench.loading import batches_of, rate, write_random
from tests.on_gpu.correctness import computed_in
from tests.on_gpu.photographs import write_photographs
from tests.on_gpu.place import Figures, Place, median_ms, random_backbone

IMAGES = 64


def loader(place: Place) -> Iterator[Figures]:
    """Batches of SAM's size, (16, 1, 1), a second, with features in the page cache."""
    config = place.config("paper-sam")
    index = _photographs(place)
    pins = (False, True) if place.device.type == "cuda" else (False,)
    n_batches = 8 if place.reduced else 40
    for numbers in ("float16", "int8"):
        store = write_random(index, config.model, place.folder / "sam", numbers)
        batches = batches_of(index, config, store)
        for n_workers in (2,) if place.reduced else (2, 4, 8):
            for pin in pins:
                a_second, *_ = rate(batches, n_batches, n_workers, pin_memory=pin)
                yield {"numbers": numbers, "workers": n_workers, "pinned": pin,
                       "batches_per_s": round(a_second, 1)}  # fmt: skip
    batch = batches[0]
    with torch.autocast(place.device.type, torch.bfloat16):
        slow, _ = median_ms(lambda: to_device(batch, place.device), place.device)
        if place.device.type == "cuda":
            pinned = batch.pin_memory()
            fast, _ = median_ms(lambda: to_device(pinned, place.device), place.device)
            yield {"copy_ms": round(slow, 1), "copy_pinned_ms": round(fast, 1)}


def _photographs(place: Place) -> CocoIndex:
    """Photographs of COCO's usual size, drawn once for all checks."""
    folder = place.folder / "photographs"
    file = folder / "annotations" / "instances_drawn.json"
    if not file.exists():
        write_photographs(folder, 32 if place.reduced else IMAGES, (480, 640))
    return CocoIndex.from_json(file, folder / "images")


def encoding(place: Place) -> Iterator[Figures]:
    """Images a second of the stage that reads, encodes and writes the cache, by batch size."""
    index = _photographs(place)
    for name, sizes in (("paper-sam", (1, 4)), ("paper-mae", (16,))):
        model = place.config(name).model
        backbone = random_backbone(model, place.device)
        for precision in ("TF32", "bfloat16"):
            for size in sizes:
                folder = place.folder / f"encoding {name} {precision} {size}"
                store = _empty_store(index, folder, model.backbone, model.image_size)
                ids = index.image_ids.tolist()
                started = time.perf_counter()
                with tf32(precision == "TF32"):
                    store.write(
                        ids,
                        lambda image_id: input_image(index, image_id, model),  # noqa: B023
                        lambda images: _encode(place, backbone, precision, images),  # noqa: B023
                        batch_size=size,
                        progress=False,
                    )
                spent = time.perf_counter() - started
                yield {"backbone": model.backbone, "precision": precision, "batch_size": size,
                       "images_per_s": round(len(ids) / spent, 1)}  # fmt: skip


def _encode(
    place: Place, backbone: torch.nn.Module, precision: str, images: torch.Tensor
) -> torch.Tensor:
    """Features of images on the CPU, on the device."""
    with computed_in(precision, place.device):
        return backbone(images.to(place.device))


def _empty_store(index: CocoIndex, folder: Path, backbone: str, size: int) -> ImageFeatures:
    return ImageFeatures(index, FeatureStore(folder, FeatureKey(backbone, "0" * 64, size, "pad")))
