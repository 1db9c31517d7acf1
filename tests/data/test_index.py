import bz2
import contextlib
import gc
import gzip
import io
import json
import logging
import lzma
import math
import multiprocessing
import os
import zipfile
from mmap import mmap

import numpy as np
import pytest
from pycocotools import mask as coco_mask

from la.data.coco import index
from la.data.coco.index import CocoIndex
from la.errors import UserError
from tests.data.entries import HEIGHT, WIDTH, image

FORK = multiprocessing.get_context("fork")
SQUARE = [5.0, 6.0, 15.0, 6.0, 15.0, 18.0, 5.0, 18.0]


def annotation(number, image_id=9, category_id=3, segmentation=None, **changes):
    entry = {
        "id": number,
        "image_id": image_id,
        "category_id": category_id,
        "bbox": [5, 6, 10, 12],
        "area": 120.5,
        "iscrowd": 0,
        "segmentation": [SQUARE] if segmentation is None else segmentation,
    }
    return {**entry, **changes}


def document(annotations=(), images=None, categories=None):
    return {
        "images": [image(9), image(4)] if images is None else images,
        "annotations": list(annotations),
        "categories": [{"id": 7, "name": "cup"}, {"id": 3, "name": "cat"}]
        if categories is None
        else categories,
    }


@pytest.fixture
def write(tmp_path):
    def write(content, name="instances_val.json", **options):
        path = tmp_path / "annotations" / name
        path.parent.mkdir(exist_ok=True)
        if isinstance(content, bytes):
            path.write_bytes(content)
            return path
        path.write_text(content if isinstance(content, str) else json.dumps(content, **options))
        return path

    return write


def runs_of(mask):
    """Run lengths counted pixel by pixel, down the columns, background first."""
    runs, value = [0], False
    for pixel in mask.T.flatten().tolist():
        if pixel != value:
            runs.append(0)
            value = pixel
        runs[-1] += 1
    return runs


def blob(seed, height=HEIGHT, width=WIDTH):
    return np.random.default_rng(seed).random((height, width)) < 0.3


def test_ids_ascend_and_annotations_are_sorted_by_image_then_by_place_in_the_file(write):
    entries = [
        annotation(1, 9, 7),
        annotation(2, 4, 3),
        annotation(3, 9, 3, area=3.0, iscrowd=1),
        annotation(4, 4, 7, bbox=[1.5, 2, 3, 4.25]),
    ]
    read = CocoIndex.from_json(write(document(entries)))
    assert read.image_ids.tolist() == [4, 9]
    assert read.category_ids.tolist() == [3, 7]
    assert read.category_names == ("cat", "cup")
    assert read.file_names == ("000000000004.jpg", "000000000009.jpg")
    assert read.sizes.tolist() == [[HEIGHT, WIDTH]] * 2
    assert [list(read.annotations_of(i)) for i in (4, 9)] == [[0, 1], [2, 3]]
    assert read.annotation_image.tolist() == [0, 0, 1, 1]
    assert read.annotation_category.tolist() == [0, 1, 1, 0]
    assert read.annotation_area.tolist() == [120.5, 120.5, 120.5, 3.0]
    assert read.annotation_crowd.tolist() == [False, False, False, True]
    assert read.annotation_box[1].tolist() == [1.5, 2, 4.5, 6.25]
    assert read.class_name(7) == "cup"
    assert read.skipped == {}


def test_unknown_ids_are_refused_by_name(write):
    read = CocoIndex.from_json(write(document()))
    with pytest.raises(ValueError, match="has no image 5"):
        read.annotations_of(5)
    with pytest.raises(ValueError, match="has no category 99"):
        read.class_name(99)
    with pytest.raises(ValueError, match="has no image 77"):
        read.subset([4, 77])


def test_polygons_are_drawn_as_pycocotools_draws_them(write):
    rings = [SQUARE, [20.3, 3.1, 38.9, 5.2, 30.1, 28.7], [1, 1, 3, 1, 3, 3, 1, 3]]
    read = CocoIndex.from_json(write(document([annotation(1, segmentation=rings)])))
    drawn = coco_mask.frPyObjects(rings, HEIGHT, WIDTH)
    mask = read.mask(0)
    assert mask.dtype == bool
    np.testing.assert_array_equal(mask, coco_mask.decode(coco_mask.merge(drawn)) == 1)
    assert mask[10, 10] and not mask[25, 5]


@pytest.mark.parametrize(
    ("box", "pixel"), [((3.2, 7.1, 0.2, 13.2), (3, 13)), ((-5, 29, 6, 21), (0, 29))]
)
def test_an_outline_too_thin_for_any_pixel_has_the_one_at_its_centre(write, box, pixel):
    thin = [[10, 20, 10.1, 20, 10.1, 20.1, 10, 20.1]]
    read = CocoIndex.from_json(write(document([annotation(1, segmentation=thin, bbox=box)])))
    assert [tuple(place[::-1]) for place in np.argwhere(read.mask(0))] == [pixel]


@pytest.mark.parametrize("seed", range(8))
def test_run_lengths_come_back_as_the_mask_they_were_made_of(write, seed):
    mask = blob(seed)
    mask[0, 0] = seed % 2 == 0  # begins with an object pixel, or not
    compressed = coco_mask.encode(np.asfortranarray(mask.astype(np.uint8)))
    both = [
        {"size": [HEIGHT, WIDTH], "counts": runs_of(mask)},
        {"size": [HEIGHT, WIDTH], "counts": compressed["counts"].decode()},
    ]
    entries = [annotation(n, segmentation=shape) for n, shape in enumerate(both)]
    read = CocoIndex.from_json(write(document(entries)))
    np.testing.assert_array_equal(read.mask(0), mask)
    np.testing.assert_array_equal(read.mask(1), mask)


def test_long_runs_survive_the_compressed_form(write):
    mask = np.zeros((900, 1100), bool)
    mask[17:890, 3:1000] = True
    mask[400, 500] = False
    counts = coco_mask.encode(np.asfortranarray(mask.astype(np.uint8)))["counts"].decode()
    entry = annotation(1, segmentation={"size": [900, 1100], "counts": counts})
    read = CocoIndex.from_json(write(document([entry], [image(9, None, 900, 1100)])))
    np.testing.assert_array_equal(read.mask(0), mask)


def same(a, b):
    for name in CocoIndex.__dataclass_fields__:
        one, other = getattr(a, name), getattr(b, name)
        if isinstance(one, np.ndarray):
            assert one.dtype == other.dtype, name
            np.testing.assert_array_equal(one, other, err_msg=name)
    assert a.file_names == b.file_names and a.category_names == b.category_names
    assert a.skipped == b.skipped and a.sha256 == b.sha256
    for row in range(len(a.annotation_area)):
        np.testing.assert_array_equal(a.mask(row), b.mask(row))


def rich_document():
    mask = blob(1)
    crowd = {"size": [HEIGHT, WIDTH], "counts": runs_of(mask)}
    return document(
        [
            annotation(1, 9, 7),
            annotation(2, 4, 3, crowd, iscrowd=1),
            annotation(3, 77, 3),
            annotation(4, 9, 3, [SQUARE, SQUARE[::-1]]),
        ]
    )


def test_the_second_start_reads_the_cache_and_gives_the_same_index(write, tmp_path, monkeypatch):
    path, cache = write(rich_document()), tmp_path / "cache"
    cold = CocoIndex.from_json(path, cache=cache)
    monkeypatch.setattr(index, "parse", None)  # would raise when called
    same(cold, CocoIndex.from_json(path, cache=cache))
    monkeypatch.undo()
    same(cold, CocoIndex.from_json(path))


def test_cached_arrays_are_those_of_the_file_and_aligned(write, tmp_path):
    """So that the processes of a loader share them, and read them fast."""
    path, cache = write(rich_document()), tmp_path / "cache"
    CocoIndex.from_json(path, cache=cache)
    cached = CocoIndex.from_json(path, cache=cache)
    arrays = [value for value in vars(cached).values() if isinstance(value, np.ndarray)]
    assert len(arrays) == 12
    assert all(isinstance(array.base, mmap) and array.flags.aligned for array in arrays)
    with pytest.raises(ValueError, match="read-only"):
        cached.numbers[0] = 1


def test_a_copy_elsewhere_shares_the_cache_and_a_changed_file_does_not(
    write, tmp_path, monkeypatch
):
    cache = tmp_path / "cache"
    path = write(rich_document())
    first = CocoIndex.from_json(path, cache=cache)
    copy = write(path.read_text(), "instances_copy.json")
    with monkeypatch.context() as patch:
        patch.setattr(index, "parse", None)
        same(first, CocoIndex.from_json(copy, cache=cache))
    changed = write(document([annotation(1)]), "instances_val.json")
    assert len(CocoIndex.from_json(changed, cache=cache).annotation_area) == 1


@pytest.mark.parametrize("damage", ["cut", "empty", "garbage", "other json"])
def test_a_damaged_cache_is_made_anew(write, tmp_path, damage):
    path, cache = write(rich_document()), tmp_path / "cache"
    cold = CocoIndex.from_json(path, cache=cache)
    (stored,) = cache.glob("*.bin")
    good = stored.read_bytes()
    text = b'[1, 2, "three"] '
    bad = {
        "cut": good[:-100],
        "empty": b"",
        "garbage": b"\xff" * 300,
        "other json": len(text).to_bytes(8, "little") + text,
    }
    stored.write_bytes(bad[damage])
    same(cold, CocoIndex.from_json(path, cache=cache))
    assert stored.read_bytes() == good


def test_a_cache_that_cannot_be_written_costs_only_time(write, tmp_path, caplog):
    blocked = tmp_path / "file"
    blocked.write_text("not a folder")
    read = CocoIndex.from_json(write(rich_document()), cache=blocked / "cache")
    assert len(read.annotation_area) == 3
    assert "cannot be written" in caplog.text


def test_many_processes_index_one_file_at_once(write, tmp_path):
    path, cache = write(rich_document()), tmp_path / "cache"
    expected = CocoIndex.from_json(path)
    begin = FORK.Barrier(3)

    def work():
        begin.wait()
        made = CocoIndex.from_json(path, cache=cache)
        same = np.array_equal(made.mask(0), expected.mask(0))
        os._exit(0 if same and len(made.annotation_area) == 3 else 1)

    processes = [FORK.Process(target=work) for _ in range(3)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(60)
    assert [process.exitcode for process in processes] == [0, 0, 0]
    assert sorted(file.suffix for file in cache.iterdir()) == [".bin", ".txt"]


@pytest.mark.parametrize("layout", ["plain", "indented", "tight", "annotations first", "nested"])
def test_the_layout_of_the_json_does_not_matter(write, layout):
    content = document([annotation(n, 9 if n % 3 else 4, 3) for n in range(20)])
    options = {"indented": {"indent": 1}, "tight": {"separators": (",", ":")}}.get(layout, {})
    if layout == "annotations first":
        content = {"annotations": content.pop("annotations"), **content}
    if layout == "nested":  # ends of objects in lists, and in words, where no annotation ends
        for entry in content["annotations"]:
            entry["parts"] = [{"a": 1}, {"b": [{"c": 2}, {"d": 3}]}]
            entry["note"] = "}, { ] }]"
    read = CocoIndex.from_json(write(content, **options))
    assert len(read.annotation_area) == 20
    assert len(read.annotations_of(4)) == 7
    assert read.skipped == {}


@pytest.mark.parametrize("content", [document([annotation(1)]), {"images": []}])
def test_the_garbage_collector_pauses_only_while_a_file_is_parsed(write, content, monkeypatch):
    paused = []
    monkeypatch.setattr(
        "la.data.coco.annotations.read_lists", lambda *_: paused.append(not gc.isenabled())
    )
    with pytest.raises(TypeError):
        CocoIndex.from_json(write(content))
    assert paused == [True] and gc.isenabled()
    monkeypatch.undo()
    with contextlib.suppress(UserError):
        CocoIndex.from_json(write(content))
    assert gc.isenabled()


def test_a_subset_keeps_the_annotations_of_its_images_only(write):
    entries = [
        annotation(1, 9, 7),
        annotation(2, 4, 3, {"size": [30, 40], "counts": runs_of(blob(2))}),
    ]
    entries += [annotation(3, 2, 3, area=7), annotation(4, 9, 3)]
    whole = CocoIndex.from_json(write(document(entries, [image(9), image(4), image(2)])))
    part = whole.subset([9, 2, 9])
    assert part.image_ids.tolist() == [2, 9]
    assert part.file_names == ("000000000002.jpg", "000000000009.jpg")
    assert part.annotation_area.tolist() == [7, 120.5, 120.5]
    assert part.category_ids.tolist() == whole.category_ids.tolist()
    assert list(part.annotations_of(9)) == [1, 2]
    np.testing.assert_array_equal(part.mask(1), whole.mask(whole.annotations_of(9)[0]))
    again = part.subset([2])
    assert (again.image_ids.tolist(), len(again.annotation_area)) == ([2], 1)
    assert len(whole.subset([]).image_ids) == 0


FAULTS = {
    "no object": ("annotation", lambda: 5),
    "twice the same annotation": ("annotation", lambda: annotation(1, area=11)),
    "neither box nor mask": ("box", lambda: annotation(2, segmentation=[], bbox=None)),
    "box off the image and no mask": (
        "box",
        lambda: annotation(2, segmentation=[], bbox=[WIDTH, 6, 10, 12]),
    ),
    "neither box nor a pixel": (
        "box",
        lambda: annotation(2, segmentation=[[1.1, 1.1, 1.2, 1.1, 1.2, 1.2]], bbox=[1, 2, 3]),
    ),
    "unknown image": ("reference", lambda: annotation(2, 77)),
    "unknown category": ("reference", lambda: annotation(2, 9, 77)),
    "image id of a wrong type": ("reference", lambda: annotation(2, [9])),
    "no image id": ("reference", lambda: {"id": 2, "category_id": 3}),
    "polygon of two points": ("segmentation", lambda: annotation(2, segmentation=[[1, 1, 2, 2]])),
    "odd polygon": ("segmentation", lambda: annotation(2, segmentation=[SQUARE[:7]])),
    "polygon of words": ("segmentation", lambda: annotation(2, segmentation=[["1"] * 6])),
    "second ring of words": (
        "segmentation",
        lambda: annotation(2, segmentation=[SQUARE, "123456"]),
    ),
    "NaN polygon": ("segmentation", lambda: annotation(2, segmentation=[[float("nan")] * 6])),
    "polygon far off": ("segmentation", lambda: annotation(2, segmentation=[[1e9] * 6])),
    "huge integers": ("segmentation", lambda: annotation(2, segmentation=[[10**400] * 6])),
    "endless polygon": (
        "segmentation",
        lambda: annotation(2, segmentation=[[-30, 0, 60, 9] * 9999]),
    ),
    "segmentation in words": ("segmentation", lambda: annotation(2, segmentation="a polygon")),
    "RLE of another size": ("segmentation", lambda: rle([40, 30], [1200])),
    "RLE too short": ("segmentation", lambda: rle([30, 40], [1199])),
    "RLE with a negative run": ("segmentation", lambda: rle([30, 40], [1300, -100])),
    "RLE of floats": ("segmentation", lambda: rle([30, 40], [600.5, 599.5])),
    "RLE of huge integers": ("segmentation", lambda: rle([30, 40], [2**62, 2**62])),
    "RLE without counts": ("segmentation", lambda: rle([30, 40], None)),
    "broken compressed RLE": ("segmentation", lambda: rle([30, 40], "oooo")),
    "long compressed RLE": ("segmentation", lambda: rle([30, 40], "o" * 50 + "0")),
    "compressed RLE in Chinese": ("segmentation", lambda: rle([30, 40], "中文")),
    "empty compressed RLE": ("segmentation", lambda: rle([30, 40], "")),
}


def rle(size, counts):
    return annotation(2, segmentation={"size": size, "counts": counts})


@pytest.mark.parametrize("name", FAULTS)
def test_a_faulty_annotation_is_left_out_counted_and_its_neighbours_stay(write, name, caplog):
    reason, make = FAULTS[name]
    entries = [annotation(1, area=11), make(), annotation(3, 4, 7, area=33)]
    with caplog.at_level(logging.WARNING):
        read = CocoIndex.from_json(write(document(entries)))
    assert read.skipped == {reason: 1}
    assert read.annotation_area.tolist() == [33, 11]
    expected = coco_mask.decode(coco_mask.frPyObjects([SQUARE], HEIGHT, WIDTH))[..., 0] == 1
    for row in range(2):
        np.testing.assert_array_equal(read.mask(row), expected)
    assert caplog.text.count(f"{reason} 1; annotations[1]: ") == 1


UNUSABLE_BOXES = {
    "missing": None,
    "NaN": [float("nan"), 6, 10, 12],
    "infinite": [5, 6, float("inf"), 12],
    "flat": [5, 6, 10, 0],
    "of three": [5, 6, 10],
    "of five": [5, 6, 10, 12, 1],
    "of words": ["5", "6", "a", 10**12],
    "off the image": [WIDTH, 6, 10, 12],
    "as large as a country": [0, 0, 1e300, 1e300],
    "of fractions as text": ["nan"] * 4,
}


@pytest.mark.parametrize("name", UNUSABLE_BOXES)
def test_a_box_that_cannot_be_used_is_computed_from_the_mask(write, name):
    entry = annotation(1, bbox=UNUSABLE_BOXES[name])
    read = CocoIndex.from_json(write(document([entry])))
    assert read.skipped == {}
    assert read.annotation_box.tolist() == [[5, 6, 15, 18]]


@pytest.mark.parametrize("area", [0, -3, float("nan"), float("inf"), "big", None, [1], True])
def test_an_area_that_cannot_be_used_is_that_of_the_mask(write, area):
    triangle = [5.0, 6.0, 15.0, 6.0, 15.0, 18.0]
    entry = annotation(1, segmentation=[triangle], area=area)
    read = CocoIndex.from_json(write(document([entry])))
    assert read.annotation_area.tolist() == [read.mask(0).sum()] != [120.5]


@pytest.mark.parametrize("shape", [None, []])
def test_an_annotation_with_a_box_alone_is_a_region_that_is_not_scored(write, shape, caplog):
    entry = annotation(1, bbox=[30, 20, 20, 5]) | {"segmentation": shape}
    with caplog.at_level(logging.WARNING):
        read = CocoIndex.from_json(write(document([entry, annotation(2)])))
    assert read.skipped == {} and read.annotation_crowd.tolist() == [True, False]
    expected = np.zeros((HEIGHT, WIDTH), bool)
    expected[20:25, 30:] = True  # the part on the image
    np.testing.assert_array_equal(read.mask(0), expected)
    assert "1 annotation with a box and no mask" in caplog.text


def test_numbers_may_be_text_or_floats(write):
    entry = annotation("12", "9", 3.0, bbox=["5", "6", "10", "12"], area="120.5", iscrowd="0")
    picture = {"id": "9", "file_name": "a.jpg", "height": float(HEIGHT), "width": f"{WIDTH}.0"}
    content = document([entry], [picture], [{"id": "3", "name": "cat"}])
    read = CocoIndex.from_json(write(content))
    assert read.skipped == {} and read.image_ids.tolist() == [9]
    assert read.sizes.tolist() == [[HEIGHT, WIDTH]] and read.annotation_area.tolist() == [120.5]
    assert read.annotation_box.tolist() == [[5, 6, 15, 18]]


def test_images_of_lvis_are_named_by_their_web_address(write, tmp_path):
    pictures = [image(9), image(4)]
    for entry in pictures:
        entry["coco_url"] = f"http://images.cocodataset.org/train2017/{entry.pop('file_name')}"
    path = write(document([annotation(12)], pictures))
    (tmp_path / "train2017").mkdir()
    (tmp_path / "train2017" / f"{9:012}.jpg").touch()
    read = CocoIndex.from_json(path)
    assert read.skipped == {} and read.path(9) == tmp_path / "train2017" / f"{9:012}.jpg"
    del pictures[0]["coco_url"]
    read = CocoIndex.from_json(write(document([], pictures)))
    assert read.described["image"] == ["images[0]: file_name is None, no text"]


def test_ids_that_repeat_lose_no_annotation(write, caplog):
    entries = [annotation(0, 9, 3), annotation(0, 4, 3), annotation(0, 9, 7)]
    with caplog.at_level(logging.WARNING):
        read = CocoIndex.from_json(write(document(entries)))
    assert read.skipped == {} and len(read.annotation_area) == 3
    assert "2 annotations with the id of an earlier one" in caplog.text


@pytest.mark.parametrize(
    "name", ["cat\u202fhouse", "a\u00a0b", "全\u3000角", "a\u200db", "e\u0301", "two\nlines", "$$"]
)
def test_any_text_is_a_name(write, name):
    content = document([annotation(1)], [image(9, f"{name}.jpg")], [{"id": 3, "name": name}])
    read = CocoIndex.from_json(write(content))
    assert read.skipped == {} and read.category_names == (name,)
    assert read.file_names == (f"{name}.jpg",)


def test_a_ring_without_a_list_of_its_own_and_printed_bytes_are_read(write):
    mask = blob(3)
    counts = coco_mask.encode(np.asfortranarray(mask.astype(np.uint8)))["counts"]
    entries = [
        annotation(1, segmentation=SQUARE),
        annotation(2, segmentation={"size": [HEIGHT, WIDTH], "counts": str(counts)}),
    ]
    read = CocoIndex.from_json(write(document(entries)))
    assert read.skipped == {} and read.mask(0).sum() == 120
    np.testing.assert_array_equal(read.mask(1), mask)


@pytest.mark.parametrize("seed", range(4))
def test_a_ring_of_pairs_or_of_objects_has_the_pixels_of_the_flat_one(write, seed):
    rng = np.random.default_rng(seed)
    rings = [rng.uniform(0, 30, (n, 2)).round(2).tolist() for n in (3, 7)]
    objects = [[{"x": x, "y": y} for x, y in ring] for ring in rings]
    flat = [[number for pair in ring for number in pair] for ring in rings]
    forms = [flat, rings, objects, flat[:1], rings[0], objects[0]]
    entries = [annotation(n, segmentation=form) for n, form in enumerate(forms)]
    read = CocoIndex.from_json(write(document(entries)))
    assert read.skipped == {}
    masks = [read.mask(row) for row in range(len(forms))]
    for row, same_as in enumerate((0, 0, 0, 3, 3, 3)):
        np.testing.assert_array_equal(masks[row], masks[same_as])
    assert (masks[0] != masks[3]).any() and masks[3].any()


def test_what_is_wrong_with_a_polygon_or_a_box_is_said_exactly(write):
    nan = float("nan")
    shapes = {
        "a polygon holds nan, which is not a finite number": [[1, 1, 5, nan, 5, 5]],
        "a polygon holds -inf, which is not a finite number": [[1, 1], [5, -math.inf], [5, 5]],
        "a polygon leaves the image, whose longer side is 40 pixels": [[1, 1, 500, 1, 5, 5]],
        "a polygon has 7 numbers, which are no pairs of x and y": [[1, 1, 5, 1, 5, 5, 1]],
        "a polygon holds [1, 1, 0], which is not a pair of x and y": [[[1, 1, 0], [5, 1], [5, 5]]],
        "a polygon holds {'x': 5, 'z': 1}, which is not a pair of x and y": [
            {"x": 1, "y": 1},
            {"x": 5, "z": 1},
        ],
        "segmentation {'points': [[1, 1], [5, 5]]} is neither polygons nor run lengths": {
            "points": [[1, 1], [5, 5]],
        },
        "no polygon of the segmentation has three points": [[[1, 1], [5, 1]]],
        "a polygon is 7, no list x, y, x, y, ...": [[1, 1, 5, 1, 5, 5], 7],
    }
    boxes = {
        "bbox is missing, and there is no segmentation": None,
        "bbox [1, 2, 3] is not a list of x, y, width and height, and there is no segmentation": [
            1,
            2,
            3,
        ],
        "bbox [nan, 1, 4, 3] holds nan, which is not a finite number, and there is no "
        "segmentation": [nan, 1, 4, 3],
        "bbox [1, 1, 0, 3] is empty, too large or off the image, and there is no segmentation": [
            1,
            1,
            0,
            3,
        ],
    }
    entries = [annotation(1, segmentation=shape) for shape in shapes.values()]
    entries += [annotation(1, segmentation=[], bbox=box) for box in boxes.values()]
    described = CocoIndex.from_json(write(document(entries))).described
    said = [text.split(": ", 1)[1] for reason in described.values() for text in reason]
    assert sorted(said) == sorted([*shapes, *boxes])


def test_run_lengths_may_be_floats_or_text(write):
    size = [float(HEIGHT), str(WIDTH)]
    counts = [100.0, "20", HEIGHT * WIDTH - 120.0]
    entry = annotation(1, segmentation={"size": size, "counts": counts})
    mask = CocoIndex.from_json(write(document([entry]))).mask(0)
    assert mask.T.ravel().nonzero()[0].tolist() == list(range(100, 120))


def test_fractions_of_the_image_are_named_and_not_drawn_as_one_pixel(write):
    ring = [0.1, 0.2, 0.4, 0.2, 0.4, 0.6]
    pairs = [[0.1, 0.2], [0.4, 0.2], [0.4, 0.6]]
    for shape in ([ring], ring, pairs, [pairs]):
        path = write(document([annotation(1, segmentation=shape, bbox=[0.1, 0.2, 0.3, 0.4])]))
        with pytest.raises(ValueError, match="between 0 and 1; .* multiply x by the image's width"):
            CocoIndex.from_json(path)


def test_the_first_three_entries_of_a_kind_are_described_with_field_and_value(write, caplog):
    entries = [annotation(n, 77) for n in range(5)]
    with caplog.at_level(logging.WARNING):
        read = CocoIndex.from_json(write(document([*entries, annotation(9)])))
    assert read.skipped == {"reference": 5}
    assert "annotations[2]" in caplog.text and "annotations[3]" not in caplog.text
    assert read.described["reference"][4] == (
        "annotations[4]: image_id is 77, of which the file has no usable entry"
    )


def test_values_of_wrong_types_are_named_with_their_field(write):
    entries = [annotation(1, image_id="one"), annotation(2, category_id=None), annotation(3)]
    entries[2]["segmentation"] = [[1, 1, 5, 1, [5, 4], 1]]
    read = CocoIndex.from_json(write(document([*entries, annotation(4)])))
    assert read.described == {
        "reference": [
            "annotations[0]: image_id 'one' is not a whole number",
            "annotations[1]: category_id None is not a whole number",
        ],
        "segmentation": [
            "annotations[2]: a polygon holds [5, 4], no number; it is a list x, y, x, y, ..."
        ],
    }
    with pytest.raises(
        ValueError, match=r"no image can be used; .*images\[0\]: id 'x' is not a whole"
    ):
        CocoIndex.from_json(write(document([], [image("x", "x.jpg")])))


def test_a_polygon_in_fractions_among_others_is_left_out_with_its_mend(write):
    fractions = annotation(2, segmentation=[[0.1, 0.2, 0.4, 0.2, 0.4, 0.6]])
    read = CocoIndex.from_json(write(document([annotation(1), fractions])))
    assert len(read.annotation_area) == 1
    (text,) = read.described["segmentation"]
    assert "annotations[1]: all coordinates of the polygon lie between 0 and 1; " in text
    tiny = annotation(2, segmentation=[[0.1, 0.2, 1.4, 0.2, 1.4, 1.6]])
    assert CocoIndex.from_json(write(document([annotation(1), tiny]))).described == {}


def zipped(content):
    whole = io.BytesIO()
    with zipfile.ZipFile(whole, "w") as file:
        file.writestr("instances.json", content)
    return whole.getvalue()


@pytest.mark.parametrize(
    "program, packed",
    [("gzip", gzip.compress), ("bzip2", bz2.compress), ("xz", lzma.compress), ("zip", zipped)],
)
def test_a_compressed_file_is_called_so(write, program, packed):
    text = json.dumps(document([annotation(1)])).encode()
    with pytest.raises(UserError, match=f"json is compressed by {program}; unpack it"):
        CocoIndex.from_json(write(packed(text)))


def test_another_encoding_is_named_with_its_place(write):
    content = document([annotation(1)])
    content["categories"][0]["name"] = "t\u00eate"
    text = json.dumps(content, ensure_ascii=False)
    with pytest.raises(ValueError, match="not in UTF-8: byte .* after '.*\"t', belongs to another"):
        CocoIndex.from_json(write(text.encode("latin-1")))
    read = CocoIndex.from_json(write(text.encode("utf-16")))
    assert "t\u00eate" in read.category_names


def test_optional_fields_have_their_usual_meaning(write):
    entry = annotation(1)
    for key in ("id", "area", "iscrowd"):
        del entry[key]
    read = CocoIndex.from_json(write(document([entry, entry])))
    assert read.annotation_area.tolist() == [120, 120]
    assert read.annotation_crowd.tolist() == [False, False]


def test_faulty_images_and_categories_are_left_out_and_counted(write):
    images = [
        image(9),
        image(9, "b.jpg"),
        image("4", "4.jpg"),
        image(2**70),
        image(5, height=0),
        "x",
    ]
    images += [image(6, height=99999, width=99999), image(7, width=4.5), image(8, name="a\0b.jpg")]
    images[2]["id"] = "four"
    categories = [{"id": 3, "name": "cat"}, {"id": 3, "name": "dog"}, {"id": None, "name": "x"}]
    content = document([annotation(1)], images, [*categories, {"id": 5}, 6])
    read = CocoIndex.from_json(write(content))
    assert read.image_ids.tolist() == [9] and read.category_names == ("cat",)
    assert read.skipped == {"category": 3, "category id": 1, "image": 7, "image id": 1}
    assert len(read.annotation_area) == 1


def test_empty_lists_make_an_empty_index(write, tmp_path):
    for cache in (None, tmp_path / "cache", tmp_path / "cache"):
        read = CocoIndex.from_json(write(document([], [], [])), cache=cache)
        assert read.sizes.shape == (0, 2) and read.annotation_box.shape == (0, 4)
    read = CocoIndex.from_json(write(document([])))
    assert len(read.annotations_of(4)) == 0


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "is not JSON .* download or export it again"),
        (" \n", "is empty; download or export it again"),
        ("[" * 5000, "is not JSON"),
        ('{"images": ' + "[" * 5000, "is not JSON"),
        ("[1, 2]", "not a COCO instance file: it has no list 'images'"),
        ('{"images": [], "categories": []}', "no list 'annotations'; give an instances_"),
        ('{"images": [], "categories": {}, "annotations": []}', "no list 'categories'"),
        ('{"images": [{"id": 1}], "categories": [], "annotations": []}', "no image can be used"),
        (
            '{"images": [], "categories": [7], "annotations": []}',
            "no category can be .* needs id, name",
        ),
    ],
)
def test_a_file_that_is_no_annotation_file_is_refused_in_a_sentence(write, content, message):
    path = write(content)
    with pytest.raises(ValueError, match=message) as caught:
        CocoIndex.from_json(path)
    assert str(path) in str(caught.value) and "\n" not in str(caught.value)


def test_a_missing_annotation_file_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match="no annotation file .*nowhere.json"):
        CocoIndex.from_json(tmp_path / "nowhere.json")
