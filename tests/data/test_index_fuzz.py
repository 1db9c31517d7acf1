"""Annotation files with every kind of nonsense: they give a consistent index or one sentence."""

import json
import os
import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from la.data.coco.index import CocoIndex

QUIET = settings(
    max_examples=700,
    deadline=20_000,  # ms, a hang is a failure
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
    database=None,
)
REASONS = {"image", "image id", "category", "category id"}
REASONS |= {"annotation", "reference", "box", "segmentation"}

anything = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-3, 12)
    | st.sampled_from([2**31, 2**63, 2**64, 10**400, -(2**63) - 1])
    | st.floats()
    | st.sampled_from(["", "a", "7", "\0", "\ud800", "../x", "<b>", "0" * 40, "}, {", "}]"]),
    lambda inner: (
        st.lists(inner, max_size=6)
        | st.dictionaries(st.sampled_from(["id", "size", "counts", "annotations", "x"]), inner)
    ),
    max_leaves=8,
)
number = st.integers(-2, 14) | st.floats(-2, 14) | st.floats() | anything
identity = st.integers(0, 3) | anything


def entry(**fields):
    """An object with each of these fields well formed, strange or absent."""
    return st.fixed_dictionaries({}, optional=fields) | anything


def rle(counts):
    return st.fixed_dictionaries(
        {"size": st.just([6, 8]) | st.just([8, 6]) | anything, "counts": counts | anything}
    )


ring = st.lists(st.floats(-1, 9) | st.integers(0, 8), min_size=6, max_size=12) | st.lists(number)
pair = st.lists(number, min_size=2, max_size=2)
point = st.fixed_dictionaries({"x": number, "y": number})
ring |= st.lists(pair, max_size=5) | st.lists(point, max_size=5) | st.lists(pair | point | number)
compressed = st.text(st.characters(min_codepoint=48, max_codepoint=111), max_size=12)
segmentation = (
    st.lists(ring | anything, max_size=3)
    | ring
    | rle(st.lists(st.integers(0, 48), max_size=6).map(lambda runs: [*runs, 48 - sum(runs)]))
    | rle(compressed)
    | rle(st.lists(number, max_size=5))
    | anything
)
images = entry(
    id=identity,
    file_name=st.just("a.jpg") | anything,
    height=st.just(6) | number,
    width=st.just(8) | number,
)
categories = entry(id=identity, name=st.just("cat") | anything)
annotations = entry(
    id=identity,
    image_id=identity,
    category_id=identity,
    bbox=st.just([1, 1, 4, 3]) | st.lists(number, max_size=5) | anything,
    area=st.just(12.0) | number,
    iscrowd=st.sampled_from([0, 1]) | anything,
    segmentation=segmentation,
)
good_image = {"id": 1, "file_name": "a.jpg", "height": 6, "width": 8}
good_category = {"id": 1, "name": "cat"}
good_annotation = {
    "id": 99,
    "image_id": 1,
    "category_id": 1,
    "bbox": [1, 1, 4, 3],
    "area": 12.0,
    "segmentation": [[1, 1, 5, 1, 5, 4, 1, 4]],
}


@pytest.fixture(scope="module", autouse=True)
def disk_without_waiting():
    """Thousands of small files need not be synchronised with the disk."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda number: None)
        yield


def read(text):
    """The index of a file, read twice through a cache; None if it raises a one-sentence error."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "instances_x.json")
        path.write_bytes(text if isinstance(text, bytes) else text.encode("utf-8", "surrogatepass"))
        try:
            cold = CocoIndex.from_json(path, cache=Path(folder, "cache"))
        except (ValueError, FileNotFoundError) as error:
            assert str(path) in str(error) and len(str(error)) < 600
            return None
        warm = CocoIndex.from_json(path, cache=Path(folder, "cache"))
        assert len(list(Path(folder, "cache").iterdir())) == 2
        for name, value in vars(cold).items():
            if isinstance(value, np.ndarray):
                np.testing.assert_array_equal(value, getattr(warm, name))
        check(warm)
        return cold


def check(index):
    """What holds for every index, however strange its file."""
    n, c, a = len(index.image_ids), len(index.category_ids), len(index.annotation_area)
    assert (np.diff(index.image_ids) > 0).all() and (np.diff(index.category_ids) > 0).all()
    assert len(index.file_names) == n and len(index.category_names) == c
    assert index.sizes.shape == (n, 2) and index.annotation_box.shape == (a, 4)
    assert (np.diff(index.annotation_image) >= 0).all()
    assert set(index.annotation_image.tolist()) <= set(range(n))
    assert set(index.annotation_category.tolist()) <= set(range(c))
    assert np.isfinite(index.annotation_box).all() and (index.annotation_area > 0).all()
    assert (index.annotation_box[:, :2] < index.annotation_box[:, 2:]).all()
    assert set(index.skipped) <= REASONS and all(count > 0 for count in index.skipped.values())
    rows = [row for image_id in index.image_ids.tolist() for row in index.annotations_of(image_id)]
    assert rows == list(range(a))
    for row in rows:
        height, width = index.sizes[index.annotation_image[row]]
        if height * width < 10_000:
            mask = index.mask(row)
            assert mask.shape == (height, width) and mask.dtype == bool
    for category_id in index.category_ids.tolist():
        assert isinstance(index.class_name(category_id), str)


def count(index, *reasons):
    return sum(index.skipped.get(reason, 0) for reason in reasons)


@pytest.mark.slow
@QUIET
@given(
    st.lists(annotations, max_size=4),
    st.lists(images, max_size=2),
    st.lists(categories, max_size=2),
)
def test_strange_entries_are_left_out_and_counted(strange, more_images, more_classes):
    index = read(
        json.dumps(
            {
                "images": [good_image, *more_images],
                "categories": [good_category, *more_classes],
                "annotations": [good_annotation, *strange],
            }
        )
    )
    assert index is not None and 1 in index.image_ids
    assert len(index.image_ids) == 1 + len(more_images) - count(index, "image", "image id")
    assert len(index.category_ids) == 1 + len(more_classes) - count(
        index, "category", "category id"
    )
    faults = count(index, "annotation", "reference", "box", "segmentation")
    assert len(index.annotation_area) == 1 + len(strange) - faults
    first = index.annotations_of(1)[0]
    assert index.mask(first).sum() == 12
    assert index.annotation_box[first].tolist() == [1, 1, 5, 4]


@pytest.mark.slow
@QUIET
@given(
    entry(
        images=st.lists(images, max_size=3) | anything,
        categories=st.lists(categories, max_size=3) | anything,
        annotations=st.lists(annotations, max_size=4) | anything,
    )
)
def test_any_json_is_an_index_or_a_sentence(document):
    read(json.dumps(document))


@pytest.mark.slow
@QUIET
@given(st.data())
def test_any_bytes_are_an_index_or_a_sentence(data):
    document = {
        "images": [good_image],
        "annotations": [good_annotation] * 3,
        "categories": [good_category],
    }
    text = json.dumps(document).encode()
    for _ in range(data.draw(st.integers(1, 3))):
        first = data.draw(st.integers(0, len(text)))
        last = min(len(text), first + data.draw(st.integers(0, 30)))
        text = text[:first] + data.draw(st.binary(max_size=6)) + text[last:]
    read(text)
