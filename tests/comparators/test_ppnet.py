"""Parts of PPNet against loops and against PANet, and its unlabelled images."""

import math

import torch
import torch.nn.functional as F

from la.comparators.k_means import k_means
from la.comparators.panet import PANet
from la.comparators.ppnet import PPNet
from la.comparators.ppnet_u import PPNetU, nearest_regions
from la.comparators.tokens import tokens
from la.types import Batch
from tests.comparators.rival_episodes import CONFIG, shaken, twins, wide_episodes


def test_k_means_is_its_definition_written_out() -> None:
    g = torch.Generator().manual_seed(0)
    points = torch.randn(1, 12, 3, generator=g)
    weights = torch.rand(1, 12, 2, generator=g)
    centres, empty = k_means(points, weights, parts=3, rounds=4)
    for c in range(2):
        w = weights[0, :, c]
        part, before = [], 0.0
        for j in range(12):
            middle = (before + float(w[j]) / 2) / float(w.sum())
            part.append(int(3 * middle))
            before += float(w[j])
        for _ in range(4):
            means = {}
            for m in range(3):
                members = [j for j in range(12) if part[j] == m]
                if members:
                    total = sum(w[j] * points[0, j] for j in members)
                    means[m] = total / sum(w[j] for j in members)
            part = [
                min(means, key=lambda m: float((points[0, j] - means[m]).norm())) for j in range(12)
            ]
        assert [m not in means for m in range(3)] == empty[0, c].tolist()
        for m, mean in means.items():
            torch.testing.assert_close(centres[0, c, m], mean, atol=1e-5, rtol=1e-5)


@torch.inference_mode()
def test_one_part_of_one_shot_is_panet() -> None:
    batch = twins()
    one_part = shaken(PPNet)
    one_part.parts = 1
    panet = PANet(CONFIG).eval()
    panet.load_state_dict(one_part.state_dict())
    torch.testing.assert_close(one_part(batch), panet(batch), atol=1e-4, rtol=1e-4)


@torch.inference_mode()
def test_without_an_update_the_unlabelled_images_change_nothing() -> None:
    batch = wide_episodes()
    with_u = shaken(PPNetU)
    without = PPNet(CONFIG).eval()
    without.adapter, without.rounds = with_u.adapter, with_u.rounds
    without.global_weight = with_u.global_weight
    assert not torch.allclose(with_u(batch)[0], without(batch)[0], atol=1e-3)
    with_u.update = 0.0
    torch.testing.assert_close(with_u(batch), without(batch))


def message_in_loops(model: PPNetU, parts: torch.Tensor, batch: Batch) -> torch.Tensor:
    """Q_c of episode 0 from the query and its first support, one vector at a time."""
    t = tokens(batch, model.raster, model.adapter)
    result = torch.zeros_like(parts[0])
    for c, p in enumerate(t.prototypes[0]):
        regions = []
        for image in (t.query[0], t.support[0, 0]):
            kept = [f for f in image if F.cosine_similarity(f, p, dim=0) > 0.5]
            related = [model.relate(f) for f in kept]
            for i, f in enumerate(kept):
                logits = [float(related[i] @ r) / math.sqrt(len(r)) for r in related]
                weights = torch.tensor(logits).softmax(0)
                mixed = sum(w * other for w, other in zip(weights, kept, strict=True))
                regions.append(f + model.transform(mixed).relu())
        for m, part in enumerate(parts[0, c]):
            asked = model.ask(part)
            logits = [float(asked @ model.answer(f)) / math.sqrt(len(asked)) for f in regions]
            weights = torch.tensor(logits).softmax(0)
            result[c, m] = sum(w * f for w, f in zip(weights, regions, strict=True))
    return result


@torch.inference_mode()
def test_a_message_of_unlabelled_images_is_its_definition_written_out() -> None:
    batch, model = wide_episodes(), shaken(PPNetU)
    t = tokens(batch, model.raster, model.adapter)
    parts, _ = model.part_vectors(t)
    images = torch.stack([t.query, t.support[:, 0]], dim=1)
    _, kept = nearest_regions(images, t.prototypes)
    assert kept[0].any(-1).all() and not kept[0].all()
    got = model.message(parts, images, t.prototypes)[0]
    torch.testing.assert_close(got, message_in_loops(model, parts, batch), atol=1e-4, rtol=1e-4)
