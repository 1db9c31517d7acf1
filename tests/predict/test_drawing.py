"""Vector prompts: masks against loops, the file format's round trip, and refusals."""

import json
import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from la.colours import palette_png
from la.config import EpisodeConfig
from la.data.sampling.geometry import Frame
from la.data.sampling.prompts import Cutout, collate_prompts, draw_prompts
from la.errors import UserError
from la.predict.prompts import prompts_file
from la.predict.prompts.drawing import Drawing, DrawnImage, vector_prompts
from la.predict.prompts.photos import to_drawn
from la.predict.prompts.strokes import rasterize
from la.predict.prompts.vector_prompts import (
    BoxPrompt,
    BrushPrompt,
    LassoPrompt,
    PointPrompt,
    from_json,
    mask_of,
    mask_prompt,
    to_json,
)
from la.types import Box, Point, PromptKind

IMAGES = (
    DrawnImage("a.png", 40, 30),
    DrawnImage("b.png", 8, 8),
    DrawnImage("q.png", 9, 7, "query"),
)


def brush(pts, r=3, erase=False) -> BrushPrompt:
    return BrushPrompt(0, 1, tuple(map(tuple, pts)), r, erase)


def lasso(pts, cls=1) -> LassoPrompt:
    return LassoPrompt(0, cls, tuple(map(tuple, pts)))


def mixed() -> Drawing:
    mask = np.zeros((8, 8), bool)
    mask[2:5, 3:7] = True
    prompts = (
        PointPrompt(0, 1, ((3.5, 4.25),)),
        PointPrompt(0, 1, ((30.0, 4.0),), label=-1),
        BoxPrompt(0, 2, ((20.0, 18.0), (4.0, 2.0))),
        brush([[5, 5], [30, 20]]),
        brush([[10, 8]], r=2, erase=True),
        lasso([[1, 1], [20, 2], [10, 25]], cls=2),
        mask_prompt(mask, img=1, cls=2),
    )
    return Drawing(IMAGES, ("dog", "<b>cat</b>"), prompts)


def distance_to_segment(x, y, a, b) -> float:
    (ax, ay), (bx, by) = a, b
    length = (bx - ax) ** 2 + (by - ay) ** 2
    t = (
        0.0
        if length == 0
        else max(0, min(1, ((x - ax) * (bx - ax) + (y - ay) * (by - ay)) / length))
    )
    return math.hypot(x - ax - t * (bx - ax), y - ay - t * (by - ay))


def winding_number(x, y, pts) -> int:
    total = 0.0
    for (ax, ay), (bx, by) in zip(pts, [*pts[1:], pts[0]], strict=True):
        a, b = math.atan2(ay - y, ax - x), math.atan2(by - y, bx - x)
        total += (b - a + math.pi) % (2 * math.pi) - math.pi
    return round(total / (2 * math.pi))


@pytest.mark.parametrize(
    "pts", [[[5, 5]], [[0, 0], [40, 30]], [[3, 20], [20, 3], [39, 29], [39, 2]]]
)
def test_a_brush_mask_holds_the_pixel_centres_within_the_radius(pts):
    mask = rasterize([brush(pts, r=3.37)], (30, 40))
    for y in range(30):
        for x in range(40):
            pairs = zip(pts, pts[1:] or pts, strict=False)
            near = any(distance_to_segment(x + 0.5, y + 0.5, a, b) <= 3.37 for a, b in pairs)
            assert mask[y, x] == near, (x, y)


@pytest.mark.parametrize(
    "pts",
    [
        [[1, 1], [20.2, 2], [10, 25]],
        [[0, 0], [40, 0], [40, 30], [0, 30]],
        [[5.1, 5.2], [30.3, 25.1], [30.2, 5.3], [5.4, 25.2]],  # crosses itself
        [[20.1, 1.1], [30.2, 28.3], [3.2, 10.1], [37.3, 10.2], [10.4, 28.1]],  # a star, wound twice
    ],
)
def test_a_lasso_holds_the_pixel_centres_that_it_winds_around(pts):
    mask = rasterize([lasso(pts)], (30, 40))
    for y in range(30):
        for x in range(40):
            assert mask[y, x] == (winding_number(x + 0.5, y + 0.5, pts) != 0), (x, y)


def test_erasing_takes_away_what_was_drawn_before_and_not_after():
    draw, erase = brush([[10, 10]], r=5), brush([[10, 10]], r=3, erase=True)
    ring = rasterize([draw, erase], (30, 40))
    assert not ring[9, 9] and ring[9, 13]
    assert rasterize([draw, erase, brush([[10, 10]], r=1)], (30, 40))[9, 9]


def test_a_mask_prompt_gives_its_mask_back():
    rng = np.random.default_rng(0)
    for mask in (rng.random((30, 40)) > 0.5, np.ones((30, 40), bool), np.zeros((30, 40), bool)):
        prompt = mask_prompt(mask, img=0, cls=1)
        assert np.array_equal(mask_of(prompt, (30, 40)), mask)
        assert from_json(to_json([prompt])) == (prompt,)
        assert len(Drawing(IMAGES, ("dog",), (prompt,)).annotations()[0]) == mask.any()


def test_prompts_as_json_are_those_that_the_browser_sends():
    assert to_json([PointPrompt(0, 1, ((3, 4),)), brush([[1, 2]])]) == [
        {"img": 0, "cls": 1, "type": "point", "pts": [[3, 4]], "label": 1},
        {"img": 0, "cls": 1, "type": "brush", "pts": [[1, 2]], "r": 3, "erase": False},
    ]
    assert from_json(to_json(mixed().prompts)) == mixed().prompts


def test_annotations_are_grouped_by_image_and_class_with_one_mask_each():
    first, second, query = mixed().annotations()
    assert first["dog"][:2] == [Point(3.5, 4.25), Point(30, 4, positive=False)]
    assert len(first["dog"]) == 3 and first["dog"][2].shape == (30, 40)
    assert first["<b>cat</b>"][0] == Box(4, 2, 20, 18)
    assert list(second) == ["<b>cat</b>"] and second["<b>cat</b>"][0].sum() == 12
    assert query == {}


def test_a_mask_that_was_wholly_erased_is_no_prompt():
    prompts = (brush([[5, 5]], r=2), brush([[5, 5]], r=4, erase=True))
    assert Drawing(IMAGES, ("dog",), prompts).annotations() == [{}, {}, {}]


def test_a_file_gives_the_same_drawing_back(tmp_path):
    path = tmp_path / "prompts.json"
    path.write_text(json.dumps(prompts_file.to_coco(mixed())))
    assert prompts_file.read(path) == mixed()


def test_the_annotations_are_coco_that_pycocotools_reads(tmp_path, capsys):
    from pycocotools.coco import COCO

    path = tmp_path / "prompts.json"
    path.write_text(json.dumps(prompts_file.to_coco(mixed())))
    coco = COCO(str(path))
    found = [a for a in coco.loadAnns(coco.getAnnIds()) if "segmentation" in a]
    masks = [coco.annToMask(a).astype(bool) for a in found]
    want = [p for image in mixed().annotations() for c in image.values() for p in c]
    want = [p for p in want if isinstance(p, np.ndarray)]
    assert len(masks) == 3 and all(np.array_equal(m, w) for m, w in zip(masks, want, strict=True))
    boxes = [a["bbox"] for a in coco.dataset["annotations"] if a["category_id"] == 2]
    assert boxes[0] == [4, 2, 16, 16]
    assert capsys.readouterr().out


def test_the_palette_picture_keeps_the_rows_as_indices():
    labels = np.array([[0, 1], [2, 9]])
    picture = palette_png(labels)
    assert picture.mode == "P" and np.array_equal(np.asarray(picture), labels)
    assert picture.convert("RGB").getpixel((1, 0)) == (0xE6, 0x9F, 0x00)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"type": "circle"}, r"Invalid value 'circle' - at `prompts\[0\].type"),
        ({"type": ["box"]}, r"prompts\[0\].type"),
        (
            {"img": 3},
            r"prompts\[0\].img is 3; the list `images` has 3 entries, and the first is number 0",
        ),
        ({"img": -1}, r"Expected `int` >= 0 - at `prompts\[0\].img"),
        ({"img": True}, r"got `bool` - at `prompts\[0\].img"),
        ({"cls": 0}, r"Expected `int` >= 1 - at `prompts\[0\].cls"),
        (
            {"cls": 3},
            r"prompts\[0\].cls is 3; the list `categories` has 2 entries, and the first",
        ),
        ({"pts": []}, r"Expected `array` of length >= 1 - at `prompts\[0\].pts"),
        ({"pts": [[41, 2]]}, r"\[x, y\] inside the 40 x 30 pixels of image 0"),
        (
            {"pts": [[float("nan"), 2]]},
            r"prompts\[0\].pts holds nan, which is not a finite number",
        ),
        ({"pts": [[10**400, 2]]}, r"Number out of range - at `prompts\[0\].pts\[0\]\[0\]"),
        ({"r": 0}, r"Expected `float` >= 0.1 - at `prompts\[0\].r"),
        ({"erase": 1}, r"Expected `bool`, got `int` - at `prompts\[0\].erase"),
        ({"colour": "red"}, "unknown field `colour`"),
    ],
)
def test_a_bad_prompt_is_refused_with_its_place_and_the_rule(change, message):
    content = to_json([brush([[1, 1]])])
    content[0] |= change
    with pytest.raises(UserError, match=message):
        Drawing(IMAGES, ("dog", "cat"), from_json(content))


def test_run_lengths_of_another_size_are_refused():
    content = [{"img": 0, "cls": 1, "type": "mask", "pts": [], "counts": [3, 4]}]
    with pytest.raises(UserError, match=r"prompts\[0\].counts must be run lengths of 1200 pixels"):
        Drawing(IMAGES, ("dog",), from_json(content))


def test_an_empty_box_is_refused():
    with pytest.raises(UserError, match="a box that is not empty"):
        Drawing(IMAGES, ("dog",), (BoxPrompt(0, 1, ((1, 2), (1, 9))),))


def test_vector_prompts_is_the_inverse_of_annotations():
    drawing = mixed()
    given = drawing.annotations()
    prompts = []
    for img, classes in enumerate(given):
        size = drawing.images[img].height, drawing.images[img].width
        for name, found in classes.items():
            row = drawing.classes.index(name) + 1
            prompts += vector_prompts(to_drawn(found, size, name), img, row)
    again = replace(drawing, prompts=tuple(prompts)).annotations()
    assert [list(classes) for classes in again] == [list(classes) for classes in given]
    for mine, theirs in zip(again, given, strict=True):
        for name in mine:
            assert sorted(map(str, mine[name])) == sorted(map(str, theirs[name]))


@pytest.mark.parametrize("resize", ["pad", "squash"])
def test_a_click_on_a_pixels_centre_is_the_prompt_of_that_pixel_sampled(resize):
    x, y = 7, 4
    mask = np.zeros((30, 40), bool)
    mask[y, x] = True
    rng = np.random.default_rng(0)
    sampled = draw_prompts(
        [Cutout.of(mask)], mask.shape, (PromptKind.POINT,), rng, EpisodeConfig(), jitter=False
    )
    click = PointPrompt(0, 1, ((x + 0.5, y + 0.5),))
    annotations = Drawing(IMAGES, ("dog",), (click,)).annotations()
    clicked = to_drawn(annotations[0]["dog"], mask.shape, "dog")

    frame = Frame((30, 40), 96, resize)
    both = [(frame, sampled), (frame, clicked)]
    prompts = collate_prompts(both, supports=[0, 1], rows=[1, 1], mask_size=48)

    assert torch.equal(prompts.points[0, 0], prompts.points[1, 0])
    sx, sy = frame.scale
    # The official code's prompt: the pixel's index, scaled.
    assert torch.equal(prompts.points[0, 0], torch.tensor([x * sx, y * sy]))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[" * 100_000, "is not JSON"),
        ("{", "is not JSON"),
        ("[]", "Expected `object`.* it needs lists of images, categories and prompts"),
        ('{"images": [], "categories": []}', "missing required field `prompts`"),
        ('{"images": [{}], "categories": [], "prompts": []}', r"`file_name` - at `images\[0\]`"),
        (
            '{"images": [{"file_name": "a", "width": 99999, "height": 99999}], "categories": [],'
            '"prompts": []}',
            r"99999 x 99999 pixels is too large - at `images\[0\]`",
        ),
        (
            '{"images": [], "categories": [{"name": "a"}, {"name": "a"}], "prompts": []}',
            "different names",
        ),
        ('{"images": [], "categories": [{"name": ""}], "prompts": []}', r"categories\[0\].name"),
        (
            '{"images": [], "categories": [{"name": "a", "id": 1}, {"name": "b", "id": 7}],'
            '"prompts": []}',
            "class 'b' has id 7 and is number 2 of the list `categories`, .*; give it that id",
        ),
    ],
)
def test_a_bad_file_is_refused_by_name(tmp_path, text, message):
    path = tmp_path / "broken.json"
    path.write_text(text)
    with pytest.raises(UserError, match=f"broken.json.*{message}"):
        prompts_file.read(path)


@pytest.mark.parametrize("numbers", [(None, None), (1, 2), ("1", 2.0)])
def test_the_classes_of_a_file_have_no_numbers_or_those_of_their_places(numbers):
    categories: list[dict] = [{"name": "dog"}, {"name": "cat"}]
    for entry, number in zip(categories, numbers, strict=True):
        if number is not None:
            entry["id"] = number
    drawing = prompts_file.from_coco({"images": [], "categories": categories, "prompts": []})
    assert drawing.classes == ("dog", "cat")


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.sampled_from(["img", "cls", "type", "pts", "x"]), inner, max_size=4)
    ),
    max_leaves=8,
)


@pytest.mark.slow
@settings(deadline=None, max_examples=300)
@given(st.data())
def test_whatever_is_changed_in_a_file_it_is_read_or_refused_with_a_sentence(data):
    content = json.loads(json.dumps(prompts_file.to_coco(mixed())))
    node, deeper = content, True
    while deeper:
        keys = sorted(node) if isinstance(node, dict) else range(len(node))
        key = data.draw(st.sampled_from(keys))
        deeper = isinstance(node[key], dict | list) and bool(node[key]) and data.draw(st.booleans())
        node = node[key] if deeper else node
    node[key] = data.draw(json_values)
    try:
        prompts_file.to_coco(prompts_file.from_coco(content))
    except UserError as error:
        assert "prompts.json" in str(error)
