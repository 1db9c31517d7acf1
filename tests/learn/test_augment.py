"""Objects in pure colours: a mask is right where it covers the pixels of its object's colour."""

import json

import numpy as np
import pytest
from PIL import Image
from pycocotools import mask as coco_mask

from la.data.coco.index import CocoIndex
from la.learn.augmented import augment
from la.learn.augmented.augment import (
    Instance,
    Pasteboard,
    augmented,
    crop,
    paste,
    unchanged,
    visible,
)

GREY, RED, BLUE = (90, 90, 90), (255, 0, 0), (0, 0, 255)
BOXES = {  # (x, y, width, height) of the objects of two images, by category
    1: {10: (5, 8, 30, 20), 20: (50, 30, 25, 25)},
    2: {20: (20, 10, 40, 30)},
}
COLOURS = {10: RED, 20: BLUE}


def drawn_index(folder) -> CocoIndex:
    """Two images of 60 x 100 pixels with rectangles of pure colours on grey."""
    images, annotations = [], []
    for image_id, boxes in BOXES.items():
        pixels = np.full((60, 100, 3), GREY, np.uint8)
        for category_id, (x, y, width, height) in boxes.items():
            pixels[y : y + height, x : x + width] = COLOURS[category_id]
            mask = np.zeros((60, 100), np.uint8, order="F")
            mask[y : y + height, x : x + width] = 1
            runs = coco_mask.encode(mask)
            annotation = {
                "id": len(annotations) + 1,
                "image_id": image_id,
                "category_id": category_id,
                "iscrowd": 0,
                "area": width * height,
                "bbox": [x, y, width, height],
                "segmentation": {"size": [60, 100], "counts": runs["counts"].decode()},
            }
            annotations.append(annotation)
        name = f"{image_id}.png"
        Image.fromarray(pixels).save(folder / name)
        images.append({"id": image_id, "file_name": name, "width": 100, "height": 60})
    categories = [{"id": category_id, "name": f"class {category_id}"} for category_id in COLOURS]
    content = {"images": images, "annotations": annotations, "categories": categories}
    path = folder / "annotations" / "instances_all.json"
    path.parent.mkdir()
    path.write_text(json.dumps(content))
    return CocoIndex.from_json(path, folder)


@pytest.fixture
def index(tmp_path) -> CocoIndex:
    return drawn_index(tmp_path)


def pixels_of(image: Image.Image, colour: tuple[int, int, int]) -> np.ndarray:
    """(H, W) bool: where an image has exactly this colour."""
    return (np.array(image) == colour).all(-1)


def test_a_photograph_as_it_is_has_the_masks_of_the_annotations(index):
    image, instances = unchanged(index, 1)
    assert [instance.category_id for instance in instances] == [10, 20]
    for instance in instances:
        np.testing.assert_array_equal(
            instance.mask, pixels_of(image, COLOURS[instance.category_id])
        )
        assert instance.n_pixels == instance.mask.sum()


@pytest.mark.parametrize("seed", range(5))
def test_masks_follow_a_crop(index, seed):
    image, instances = unchanged(index, 1)
    part = crop(image, instances, np.random.default_rng(seed))
    assert part.size != image.size
    for instance in instances:
        np.testing.assert_array_equal(instance.mask, pixels_of(part, COLOURS[instance.category_id]))


@pytest.mark.parametrize("seed", range(5))
def test_a_pasted_object_covers_the_others(index, seed):
    image, instances = unchanged(index, 1)
    paste(image, instances, Pasteboard(index), np.random.default_rng(seed))
    *_, pasted = instances
    for category_id, colour in COLOURS.items():
        masks = [i.mask for i in instances if i.category_id == category_id]
        claimed = np.any(masks, axis=0)
        # Pixels on the edge of a resized object are blended, so they have no pure colour.
        blended = ~np.any([pixels_of(image, c) for c in (GREY, RED, BLUE)], axis=0)
        np.testing.assert_array_equal(claimed & ~blended, pixels_of(image, colour))
    assert not any((pasted.mask & other.mask).any() for other in instances[:-1])


def test_all_classes_are_pasted_about_equally_often(index):
    rng = np.random.default_rng(0)
    board = Pasteboard(index)  # class 20 has two objects, class 10 one
    drawn = [board.draw(rng)[0] for _ in range(400)]
    assert drawn.count(10) == pytest.approx(200, abs=50)  # five standard deviations


def test_a_cutout_shows_its_object_and_nothing_else(index):
    category_id, cutout = Pasteboard(index).draw(np.random.default_rng(0))
    sizes = {boxes[category_id][2:] for boxes in BOXES.values() if category_id in boxes}
    assert cutout.size in sizes
    assert (np.array(cutout) == (*COLOURS[category_id], 255)).all()


def test_a_mirrored_view_keeps_masks_and_pixels_together(index, monkeypatch):
    monkeypatch.setattr(augment, "MOST_PASTED", 0)
    monkeypatch.setattr(augment, "COLOUR", 0.0)
    for seed in range(6):  # both ways round
        rng = np.random.default_rng(seed)
        image, instances = augmented(index, 1, Pasteboard(index), rng)
        for instance in instances:
            colour = COLOURS[instance.category_id]
            np.testing.assert_array_equal(instance.mask, pixels_of(image, colour))


def instance_with(n_left: int, n_pixels: int) -> Instance:
    mask = np.zeros(2000, bool)
    mask[:n_left] = True
    return Instance(10, False, mask.reshape(40, 50), n_pixels)


@pytest.mark.parametrize(
    ("n_left", "n_pixels", "outcome"),
    [
        (1000, 1000, "truth"),
        (300, 1000, "truth"),
        (150, 1000, "ignored"),  # less than a fifth of it
        (99, 1000, "gone"),
        (60, 60, "truth"),  # a small object as a whole
        (40, 60, "gone"),
    ],
)
def test_a_small_rest_of_an_object_is_ignored(n_left, n_pixels, outcome):
    kept = visible([instance_with(n_left, n_pixels)])
    assert [instance.crowd for instance in kept] == {
        "truth": [False],
        "ignored": [True],
        "gone": [],
    }[outcome]
