"""Annotations with every kind of nonsense give prompts that are kept, or one sentence."""

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from la.errors import UserError
from la.predict.prompts import prompts_file
from la.predict.prompts.from_annotations import read_annotations
from tests.data import test_index_fuzz as coco

QUIET = settings(
    max_examples=200,
    deadline=20_000,  # ms, a hang is a failure
    suppress_health_check=list(HealthCheck),
    database=None,
)
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("fuzz")
    for name in ("photos", "yolo", "masks"):
        (folder / name).mkdir()
    pixels = np.random.default_rng(0).integers(0, 255, (6, 8, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(folder / "photos" / "a.jpg")
    (folder / "yolo" / "data.yaml").write_text("names: [dog, cat]")
    return folder


def read(source: Path, folder: Path) -> None:
    """Read annotations; what they give survives being written."""
    try:
        drawing = read_annotations(source, folder / "photos")
    except UserError as error:
        assert str(folder) in str(error) and "\n" not in str(error) and len(str(error)) < 900
        return
    assert drawing.prompts and all(drawing.annotations())
    prompts_file.write(drawing, folder / "prompts.json")
    assert prompts_file.read(folder / "prompts.json").prompts == drawing.prompts


def as_file(content: object, folder: Path) -> Path:
    path = folder / "a.json"
    path.write_bytes(json.dumps(content).encode("utf-8", "surrogatepass"))
    return path


good = st.just(coco.good_annotation)
boxes = st.fixed_dictionaries(
    {
        "image_id": st.just(1),
        "category_id": st.just(1),
        "bbox": st.lists(coco.number, min_size=4, max_size=4),
    }
)


@QUIET
@given(
    st.lists(good | boxes | coco.annotations, min_size=1, max_size=3),
    st.lists(coco.images, max_size=1),
    st.lists(coco.categories, max_size=1),
)
def test_coco(folder, annotations, images, categories):
    content = {
        "images": [coco.good_image, *images],
        "categories": [coco.good_category, *categories],
        "annotations": annotations,
    }
    read(as_file(content, folder), folder)


place = st.floats(-1, 9) | coco.number
shape = st.fixed_dictionaries(
    {
        "label": st.just("dog") | coco.anything,
        "points": st.lists(st.tuples(place, place).map(list), max_size=5) | coco.anything,
    },
    optional={
        "shape_type": st.sampled_from(["polygon", "rectangle", "point", "mask", "circle", None]),
        "mask": coco.anything,
    },
)


@QUIET
@given(
    st.lists(shape, max_size=2) | coco.anything,
    st.just("a.jpg") | coco.anything,
    st.just(6) | coco.anything,
)
def test_labelme(folder, shapes, name, height):
    content = {"shapes": shapes, "imagePath": name, "imageHeight": height, "imageWidth": 8}
    read(as_file(content, folder), folder)


share = st.sampled_from(["0.5", "0.25", "1.0", "0"])
word = share | st.sampled_from(["1", "2", "-1", "nan", "inf", "1e400", "x", "0,5", "\u0663"])
line = st.lists(share, min_size=4, max_size=8).map(lambda shares: " ".join(["1", *shares]))


@QUIET
@given(st.lists(line | st.lists(word, max_size=9).map(" ".join), max_size=3).map("\r\n".join))
def test_yolo(folder, text):
    (folder / "yolo" / "a.txt").write_text(text, encoding="utf-8-sig")
    read(folder / "yolo", folder)


cell = st.sampled_from(["0", "1", "2", "-1", "x", "", "dog", '"a\nb"', "\u00b2", "1 "])
row = st.sampled_from(["0,background", "1,dog", "2,cat"]) | st.lists(cell, max_size=4).map(",".join)


@QUIET
@given(st.lists(row, max_size=4), st.integers(0, 3), st.sampled_from(["L", "P", "1", "RGB", "LA"]))
def test_masks(folder, rows, value, mode):
    (folder / "masks" / "legend.csv").write_text("\n".join(["index,name", *rows]))
    pixels = np.full((6, 8), value, np.uint8)
    Image.fromarray(pixels).convert(mode).save(folder / "masks" / "a.png")
    read(folder / "masks", folder)
