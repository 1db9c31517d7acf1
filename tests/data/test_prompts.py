import numpy as np
import pytest

from la.config import EpisodeConfig
from la.data.sampling.prompts import Cutout, draw_points, draw_prompts, jittered
from la.types import PromptKind

MASK, BOX, POINT = PromptKind.MASK, PromptKind.BOX, PromptKind.POINT
CONFIG = EpisodeConfig()


def blob(seed: int, size=(40, 60), share=0.1) -> np.ndarray:
    """A mask of scattered pixels in a random part of the image."""
    rng = np.random.default_rng(seed)
    mask = rng.random(size) < share
    mask[:, : rng.integers(30)] = False
    mask[rng.integers(20, 40) :] = False
    mask[5, 40] = True
    return mask


def draw(masks, kinds, seed=0, jitter=False):
    instances = [Cutout.of(mask) for mask in masks]
    return draw_prompts(
        instances, masks[0].shape, kinds, np.random.default_rng(seed), CONFIG, jitter=jitter
    )


@pytest.mark.parametrize("seed", range(5))
def test_a_cutout_holds_every_pixel_and_its_box_is_tight(seed):
    mask = blob(seed)
    cutout = Cutout.of(mask)
    canvas = np.zeros(mask.shape, dtype=int)
    cutout.paint(canvas, 3)
    assert (canvas == 3 * mask).all()
    pixels = [(x, y) for y in range(40) for x in range(60) if mask[y, x]]
    xs, ys = [x for x, _ in pixels], [y for _, y in pixels]
    assert cutout.box.tolist() == [min(xs), min(ys), max(xs) + 1, max(ys) + 1]


@pytest.mark.parametrize("size", [(1, 1), (1, 50), (50, 1)])
def test_a_single_pixel_has_a_box_of_one_pixel(size):
    mask = np.zeros(size, dtype=bool)
    mask[-1, -1] = True
    assert Cutout.of(mask).box.tolist() == [size[1] - 1, size[0] - 1, size[1], size[0]]
    point = draw([mask], (POINT,)).points[0]
    assert (point == [size[1] - 0.5, size[0] - 0.5]).all()


def test_masks_are_the_union_of_their_instances():
    masks = [blob(seed) for seed in range(3)]
    assert (draw(masks, (MASK,)).mask == masks[0] | masks[1] | masks[2]).all()


@pytest.mark.parametrize("seed", range(5))
def test_points_lie_inside_their_own_instance(seed):
    masks = [blob(seed), blob(seed + 10)]
    drawn = draw(masks, (POINT,), seed)
    assert len(drawn.points) == 2 and drawn.mask is None and not drawn.boxes
    for mask, points, labels in zip(masks, drawn.points, drawn.labels, strict=True):
        assert all(mask[int(y), int(x)] for x, y in points)
        assert 1 <= len(points) <= CONFIG.max_points and (labels == 1).all()


def test_points_grow_with_the_area_as_a_poisson_number_up_to_the_limit():
    rng = np.random.default_rng(0)
    size = (100, 100)
    for side, mean in ((1, 1.1), (10, 2.0), (30, 4.0)):
        square = Cutout(50, 50, np.ones((side, side), dtype=bool))
        counts = [len(draw_points(square, size, rng, 100)) for _ in range(2000)]
        assert np.mean(counts) == pytest.approx(mean, rel=0.05)
        assert max(len(draw_points(square, size, rng, 4)) for _ in range(100)) <= 4


def test_points_are_uniform_inside_the_mask():
    rng = np.random.default_rng(0)
    square = Cutout(2, 3, np.array([[True, False], [True, True]]))
    points = np.concatenate([draw_points(square, (9, 9), rng, 10) for _ in range(1000)])
    places, counts = np.unique(points, axis=0, return_counts=True)
    assert places.tolist() == [[2.5, 3.5], [2.5, 4.5], [3.5, 4.5]]
    assert (abs(counts / counts.mean() - 1) < 0.1).all()


def test_boxes_are_exact_at_the_test_and_jittered_in_training():
    masks = [blob(seed) for seed in range(4)]
    exact, jitter = draw(masks, (BOX,)), draw(masks, (BOX,), jitter=True)
    assert [b.tolist() for b in exact.boxes] == [Cutout.of(m).box.tolist() for m in masks]
    assert all((a != b).any() for a, b in zip(exact.boxes, jitter.boxes, strict=True))


@pytest.mark.parametrize(
    "box", [(0, 0, 1, 1), (99, 49, 100, 50), (0, 0, 100, 50), (10, 10, 90, 12), (98, 0, 100, 50)]
)
def test_jitter_is_bounded_and_stays_a_box_inside_the_image(box):
    box = np.array(box, dtype=float)
    rng = np.random.default_rng(0)
    moved = np.array([jittered(box, (50, 100), rng, 0.1) for _ in range(2000)])
    assert (moved[:, :2] >= 0).all() and (moved[:, 2:] <= [100, 50]).all()
    assert (moved[:, 2:] - moved[:, :2] >= 1 - 1e-9).all()
    assert (abs(moved - box) <= 21).all()


def test_jitter_moves_a_corner_by_its_share_of_the_side():
    rng = np.random.default_rng(0)
    box = np.array([400.0, 400.0, 500.0, 450.0])
    moved = np.array([jittered(box, (1000, 1000), rng, 0.1) for _ in range(4000)]) - box
    assert moved.std(0) == pytest.approx([9.5, 5, 9.5, 5], rel=0.06)  # 10 is cut off at 20
    assert abs(moved.mean(0)).max() < 0.6


def test_jitter_fits_into_an_image_of_one_pixel():
    moved = jittered(np.array([0.0, 0, 1, 1]), (1, 1), np.random.default_rng(0), 0.1)
    assert moved.tolist() == [0, 0, 1, 1]


def test_each_instance_draws_its_own_kind():
    mask = np.ones((4, 4), dtype=bool)
    counts = np.zeros(3)
    for seed in range(200):
        drawn = draw([mask] * 3, (MASK, BOX, POINT), seed)
        counts += [drawn.mask is not None, len(drawn.boxes), len(drawn.points)]
    assert abs(counts[1:] / 600 - 1 / 3).max() < 0.06
    assert counts[0] / 200 == pytest.approx(1 - (2 / 3) ** 3, abs=0.08)


def test_a_crowded_class_is_prompted_by_masks_alone():
    masks = [blob(seed, share=0.01) for seed in range(71)]
    many, fewer = draw(masks, (BOX,)), draw(masks[:70], (BOX,))
    assert not many.boxes and (many.mask == np.any(masks, axis=0)).all()
    assert len(fewer.boxes) == 70 and fewer.mask is None
