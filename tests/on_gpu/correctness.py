"""The device computes what the CPU computes: published outputs, scores, features, masks."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch

import la
from la.config import ModelConfig
from la.experiment.setup.measurements import Measurement
from la.learn.device import to_device
from la.learn.precision import tf32
from la.model.backbone import Backbone, build_backbone
from la.model.label_anything import LabelAnything
from la.predict.example import example_episode
from la.predict.predictor import Predictor
from tests.model.official import GoldenFile, to_batch
from tests.on_gpu.place import (
    CPU,
    Figures,
    Place,
    agreement,
    computing_on,
    difference,
    random_backbone,
)

# LA_GOLDEN names a folder with more of the published model's outputs than the tests have.
GOLDEN = Path(os.environ.get("LA_GOLDEN") or Path(__file__).parents[1] / "golden")
LOGITS, PROTOTYPES = 5e-4, 1e-4  # as in tests/model/test_golden.py
PRECISIONS = ("float32", "TF32", "bfloat16")


@contextmanager
def computed_in(precision: str, device: torch.device) -> Iterator[None]:
    """In this block products are computed in float32, TF32 or bfloat16."""
    half = precision == "bfloat16"
    with tf32(precision != "float32"), torch.autocast(device.type, torch.bfloat16, enabled=half):
        yield


def golden(place: Place) -> Iterator[Figures]:
    """Logits and prototypes of the published model, in exact mode without TF32."""
    worst_logits, worst_prototypes = 0.0, 0.0
    for path in sorted(GOLDEN.glob("*__*.npz")):
        file = GoldenFile(path)
        model = LabelAnything.empty(file.config)
        model.load_state_dict(file.weights(model))
        model = model.to(place.device).eval()
        batch = to_device(to_batch(file.inputs()), place.device)
        with torch.inference_mode(), tf32(False):
            support = model.support(batch)
            query = model.query(batch)
            position = model.prompt_encoder.pe_layer.grid(*query.shape[-2:])
            low = model.mask_decoder(query, position, support.prototypes, batch.class_valid)
            logits = model.decode(query, support)
        expected = file["out/logits_low"]
        of_logits = difference(logits if expected.isinf().any() else low, expected)
        of_prototypes = difference(support.prototypes, file["out/class_embs"])
        yield {"file": path.stem, "logits": of_logits, "prototypes": of_prototypes}
        worst_logits = max(worst_logits, of_logits["max_abs"])
        worst_prototypes = max(worst_prototypes, of_prototypes["max_abs"])
    assert worst_logits < LOGITS and worst_prototypes < PROTOTYPES


def scores(place: Place) -> Iterator[Figures]:
    """The quick model's logits on four episodes, in each precision, beside float32 on the CPU."""
    config = place.config("quick")
    bench = place.bench(config, "scores")
    with computing_on(CPU):
        index = bench.data.test
        episodes = bench.episodes(Measurement("", 0, 2, 1, seed=0, episodes=4))
        batch = bench.loader(index, 0)(episodes)
    model = la.load("quick")
    with torch.inference_mode():
        reference = model(to_device(batch, CPU))
        model = model.to(place.device)
        for precision in PRECISIONS:
            with computed_in(precision, place.device):
                ours = model(to_device(batch, place.device)).float()
            labels = agreement(ours.argmax(1), reference.argmax(1))
            error = difference(ours, reference)
            yield {"precision": precision, **error, "labels_percent": labels}
            assert labels > (99.9 if precision == "float32" else 98)
            assert precision != "float32" or error["max_abs"] < 1e-3


def features(place: Place) -> Iterator[Figures]:
    """Features of each backbone in each precision, beside float32 on the CPU.

    SAM, MAE and DINOv2 have random weights of the true size, the others those that come with it.
    """
    worst = {precision: 0.0 for precision in PRECISIONS}
    for name in ("quick", "photos", "paper-mae", "dinov2", "paper-sam"):
        model = place.config(name).model
        backbone = _backbone(name, model, place.device)
        generator = torch.Generator().manual_seed(0)
        images = torch.randn(2, 3, model.image_size, model.image_size, generator=generator)
        computed = {}
        for precision in PRECISIONS:
            with torch.inference_mode(), computed_in(precision, place.device):
                computed[precision] = backbone(images.to(place.device)).float().cpu()
        reference = backbone.to(CPU)(images)
        for precision, ours in computed.items():
            error = difference(ours, reference)
            yield {"backbone": model.backbone, "precision": precision, **error}
            worst[precision] = max(worst[precision], error["relative"])
    assert worst["float32"] < 1e-4 and worst["TF32"] < 1e-2 and worst["bfloat16"] < 5e-2


def _backbone(name: str, model: ModelConfig, device: torch.device) -> Backbone:
    """With the weights that come with the package, or with random ones."""
    if name in ("quick", "photos"):
        return build_backbone(model).to(device)
    return random_backbone(model, device)


def predictor(place: Place) -> Iterator[Figures]:
    """Label maps of the two models that come with the package, beside the CPU's."""
    scene = example_episode()
    for name in ("quick", "photos"):
        maps = {}
        for device in (CPU, place.device):
            model = Predictor(la.load(name).to(device))
            maps[device] = model.predict(scene.query, model.support(scene.examples)).labels
        labels = agreement(torch.from_numpy(maps[place.device]), torch.from_numpy(maps[CPU]))
        painted = round(100 * float((maps[CPU] > 0).mean()), 1)
        yield {"model": name, "labels_percent": labels, "painted_percent": painted}
        assert labels > 99.9
