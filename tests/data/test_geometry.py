import numpy as np
import pytest
import torch
from PIL import Image

from la.config import IMAGE_MEAN, IMAGE_STD
from la.data.sampling.geometry import Frame
from la.types import IGNORE

SIZES = [(480, 640), (640, 480), (1, 1), (1, 700), (700, 1), (33, 1000), (96, 96), (97, 95)]
FRAMES = [Frame(size, side, resize) for size in SIZES for side in (96, 224)
          for resize in ("pad", "squash")]  # fmt: skip


@pytest.fixture(params=FRAMES, ids=lambda f: f"{f.size}-{f.side}-{f.resize}")
def frame(request) -> Frame:
    return request.param


def test_points_and_boxes_return_where_they_came_from(frame):
    rng = np.random.default_rng(0)
    points = rng.random((7, 2)) * frame.size[::-1]
    boxes = np.concatenate([points, points + 1], axis=1)
    assert np.allclose(frame.boxes(boxes)[:, :2], frame.points(points))


def test_the_corners_of_the_image_are_the_corners_of_its_part_of_the_input(frame):
    height, width = frame.size
    inner = frame.inner
    assert frame.points(np.array([[0, 0], [width, height]])) == pytest.approx(
        np.array([[0, 0], inner[::-1]])
    )
    assert min(inner) >= 1 and max(inner) == frame.side
    if frame.resize == "squash":
        assert inner == (frame.side, frame.side)


@pytest.mark.parametrize("size", SIZES[:2] + SIZES[6:])
def test_padding_keeps_the_aspect_ratio_to_half_a_pixel(size):
    inner = Frame(size, 224, "pad").inner
    assert abs(inner[0] / inner[1] - size[0] / size[1]) * min(inner) < 1


def test_an_image_lies_at_the_upper_left_and_the_rest_is_zero(frame):
    height, width = frame.size
    white = Image.new("RGB", (width, height), (255, 255, 255))
    pixels = frame.image(white)
    assert pixels.shape == (3, frame.side, frame.side) and pixels.dtype == torch.float32
    shown = pixels[:, : frame.inner[0], : frame.inner[1]]
    for channel in range(3):
        assert shown[channel].numpy() == pytest.approx(
            (1 - IMAGE_MEAN[channel]) / IMAGE_STD[channel], 1e-5
        )
    assert pixels[:, frame.inner[0] :].eq(0).all() and pixels[:, :, frame.inner[1] :].eq(0).all()


def test_an_image_of_the_input_size_is_not_resampled():
    rng = np.random.default_rng(0)
    raw = rng.integers(256, size=(96, 96, 3), dtype=np.uint8)
    pixels = Frame((96, 96), 96, "pad").image(Image.fromarray(raw)).permute(1, 2, 0).numpy()
    assert np.allclose(pixels * IMAGE_STD + IMAGE_MEAN, raw / 255, atol=1e-6)


@pytest.mark.parametrize("side", [24, 48, 96])
def test_a_sample_takes_the_pixel_under_each_cell_in_two_nearest_steps(frame, side):
    values = np.random.default_rng(1).integers(1, 9, size=frame.size)
    sampled = frame.sample(values, side, padding=IGNORE)
    for row in range(0, side, 5):
        for column in range(0, side, 5):
            y, x = row * frame.side // side, column * frame.side // side
            if y >= frame.inner[0] or x >= frame.inner[1]:
                assert sampled[row, column] == IGNORE
            else:
                at = y * frame.size[0] // frame.inner[0], x * frame.size[1] // frame.inner[1]
                assert sampled[row, column] == values[at]


def test_a_sample_keeps_the_type_of_its_values():
    for dtype in (bool, np.int16, np.int64):
        values = np.ones((7, 9), dtype=dtype)
        assert Frame((7, 9), 96, "pad").sample(values, 48).dtype == dtype


def test_a_mask_keeps_a_pixel_of_every_object_however_small(frame):
    height, width = frame.size
    rng = np.random.default_rng(2)
    for _ in range(10):
        y, x = int(rng.integers(height)), int(rng.integers(width))
        mask = np.zeros(frame.size, dtype=bool)
        mask[y, x] = True
        shown = np.argwhere(frame.mask(mask, 48))
        assert len(shown)
        centre = frame.points(np.array([[x + 0.5, y + 0.5]]))[0] * 48 / frame.side
        nearest = abs(shown + 0.5 - centre[::-1]).max(1).min()
        cell = max(frame.scale) * 48 / frame.side  # of one original pixel
        assert nearest <= 1 + cell


def test_an_empty_mask_stays_empty_and_others_are_plain_samples(frame):
    assert not frame.mask(np.zeros(frame.size, dtype=bool), 48).any()
    full = np.ones(frame.size, dtype=bool)
    assert (frame.mask(full, 48) == frame.sample(full, 48)).all()


@pytest.mark.parametrize("resize", ["pad", "squash"])
@pytest.mark.parametrize("size", [(60, 90), (90, 60), (96, 96)])
def test_logits_return_to_the_pixels_they_came_from(size, resize):
    frame = Frame(size, 96, resize)
    truth = np.zeros(size, dtype=np.int64)
    truth[10:40, 20:50] = 1
    sampled = torch.from_numpy(frame.sample(truth, 96))
    logits = torch.nn.functional.one_hot(sampled, 2).permute(2, 0, 1)[None].float()
    labels = frame.original_logits(logits).argmax(1)[0].numpy()
    assert labels.shape == size
    assert (labels != truth).sum() <= 2 * (30 + 30)  # a pixel along the border


def test_logits_have_the_original_size_and_do_not_see_the_padding(frame):
    logits = torch.randn(1, 2, 24, 24, generator=torch.Generator().manual_seed(0))
    maps = frame.original_logits(logits)
    assert maps.shape == (1, 2, *frame.size) and maps.isfinite().all()
    constant = torch.full((1, 1, frame.side, frame.side), 9.0)
    constant[..., : frame.inner[0], : frame.inner[1]] = 1.0
    assert frame.original_logits(constant).eq(1).all()
