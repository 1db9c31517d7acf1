"""The embedded data set: the same everywhere, what it says it is, and whole or absent."""

import hashlib
import json
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from PIL import Image
from pycocotools import mask as rle

from la.data.embedded.classes import SPANS, kinds
from la.data.embedded.scenes import SMALLEST, draw_scene, pretraining_scenes
from la.data.embedded.synthetic import VERSION, write
from la.rng import stream


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write(tmp_path_factory.mktemp("data") / "set", n_train=6, n_val=3, progress=False)


@pytest.fixture(scope="module")
def scenes():
    return [draw_scene(kinds("benchmark"), stream(7, "statistics", i)) for i in range(150)]


def fingerprint(folder):
    """SHA-256 of both annotation files: what two machines compare."""
    parts = [folder / "annotations" / f"instances_{split}.json" for split in ("train", "val")]
    return hashlib.sha256(b"".join(part.read_bytes() for part in parts)).hexdigest()


def _content(folder, split):
    return json.loads((folder / "annotations" / f"instances_{split}.json").read_text())


def test_the_same_index_gives_the_same_scene_whatever_was_drawn_before():
    first = draw_scene(kinds("benchmark"), stream(0, "scene", 5))
    draw_scene(kinds("benchmark"), stream(0, "scene", 6))
    again = draw_scene(kinds("benchmark"), stream(0, "scene", 5))
    other = draw_scene(kinds("benchmark"), stream(1, "scene", 5))
    assert np.array_equal(first.image, again.image)
    assert np.array_equal(first.class_map(), again.class_map())
    assert not np.array_equal(first.image, other.image)


def test_the_annotations_are_those_of_this_version(folder):
    """Another hash means other data: raise `VERSION`, and compute every result again."""
    assert VERSION == 1
    assert fingerprint(folder)[:16] == "9cdb72356d6d62ec"


def test_an_image_does_not_depend_on_how_many_are_written(folder, tmp_path):
    small = write(tmp_path / "set", n_train=2, n_val=1, progress=False)
    names = [path.relative_to(small) for path in sorted((small / "images").rglob("*.png"))]
    assert len(names) == 3
    for name in names:
        assert (small / name).read_bytes() == (folder / name).read_bytes()
    assert fingerprint(small) != fingerprint(folder)


@pytest.mark.parametrize("split", ["train", "val"])
def test_the_files_are_coco_and_their_masks_decode_to_the_objects(folder, split):
    content = _content(folder, split)
    objects = {image["id"]: [] for image in content["images"]}
    for annotation in content["annotations"]:
        objects[annotation["image_id"]].append(annotation)
    assert len({a["id"] for a in content["annotations"]}) == len(content["annotations"])
    for image in content["images"]:
        pixels = Image.open(folder / "images" / split / image["file_name"])
        assert pixels.size == (image["width"], image["height"])
        scene = draw_scene(kinds("benchmark"), stream(0, "benchmark scene", image["id"]))
        assert np.array_equal(np.asarray(pixels), scene.image)
        assert len(objects[image["id"]]) == len(scene.instances)
        for annotation, (class_index, mask) in zip(
            objects[image["id"]], scene.instances, strict=True
        ):
            assert np.array_equal(rle.decode(annotation["segmentation"]).astype(bool), mask)
            ys, xs = mask.nonzero()
            left, top = xs.min(), ys.min()
            box = [left, top, xs.max() + 1 - left, ys.max() + 1 - top]
            assert annotation["bbox"] == box
            assert annotation["area"] == mask.sum()
            assert annotation["iscrowd"] == 0
            assert annotation["category_id"] == class_index + 1


def test_train_and_val_share_no_image_id_and_no_file_name_but_all_categories(folder):
    train, val = _content(folder, "train"), _content(folder, "val")
    for key in ("id", "file_name"):
        assert {i[key] for i in train["images"]}.isdisjoint(i[key] for i in val["images"])
    assert train["categories"] == val["categories"]
    assert [c["id"] for c in train["categories"]] == list(range(1, 81))
    assert len({c["name"] for c in train["categories"]}) == 80


def test_objects_of_a_scene_do_not_overlap_and_are_not_tiny(scenes):
    for scene in scenes:
        stacked = sum(mask.astype(int) for _, mask in scene.instances)
        assert np.max(stacked) <= 1
        assert all(mask.sum() >= SMALLEST for _, mask in scene.instances)
        for class_index, mask in scene.instances:
            assert (scene.class_map()[mask] == class_index + 1).all()


def test_the_numbers_of_objects_classes_and_labelled_pixels_are_those_asked_for(scenes):
    counts = [len(scene.instances) for scene in scenes]
    classes = [len({c for c, _ in scene.instances}) for scene in scenes]
    assert min(counts) >= 1 and max(counts) == 5
    assert 2.7 < np.mean(counts) < 3.5
    assert np.mean(classes) < np.mean(counts)
    assert 0.14 < np.mean([(scene.class_map() > 0).mean() for scene in scenes]) < 0.24


def test_every_pair_of_hue_and_texture_is_one_benchmark_class():
    pairs = {(kind.look.texture, kind.look.hues[0]) for kind in kinds("benchmark")}
    assert len(kinds("benchmark")) == len(pairs) == 80


def test_no_two_shapes_are_alike_so_pretraining_never_shows_a_benchmark_class():
    shapes = np.stack([k.shape for name in SPANS for k in kinds(name)])
    assert len(kinds("pretraining")) == 200 and len(shapes) == 280
    flat = shapes.reshape(280, -1).astype(np.float32)
    both = flat @ flat.T
    iou = both / (flat.sum(1)[:, None] + flat.sum(1) - both)
    np.fill_diagonal(iou, 0)
    assert iou.max() < 0.8
    assert iou.max() > 0.5  # the comparison compares


def test_pretraining_scenes_are_of_the_other_universe():
    seen = {c for s in pretraining_scenes(60, seed=0) for c, _ in s.instances}
    assert max(seen) >= 80  # indices of its own 200 classes
    first, again = (next(pretraining_scenes(1, seed=0)) for _ in range(2))
    assert np.array_equal(first.image, again.image)


def test_a_second_call_leaves_the_folder_alone(folder):
    before = {p: p.stat().st_mtime_ns for p in folder.rglob("*")}
    assert write(folder, n_train=6, n_val=3, progress=False) == folder
    assert {p: p.stat().st_mtime_ns for p in folder.rglob("*")} == before


def test_a_folder_with_another_recipe_raises(folder, tmp_path):
    with pytest.raises(ValueError, match="remove it or name another folder"):
        write(folder, n_train=7, n_val=3, progress=False)
    (tmp_path / "mine").mkdir()
    with pytest.raises(ValueError, match="something else"):
        write(tmp_path / "mine", n_train=1, n_val=1, progress=False)


def test_a_killed_write_leaves_no_folder_and_the_next_one_succeeds(folder, tmp_path):
    target = tmp_path / "set"
    code = (
        "from pathlib import Path; from la.data.embedded.synthetic import write; "
        f"write(Path({str(target)!r}), n_train=100_000, n_val=3, progress=False)"
    )
    writer = subprocess.Popen([sys.executable, "-c", code])
    deadline = time.monotonic() + 60
    while not list(tmp_path.rglob("*.png")):
        assert writer.poll() is None and time.monotonic() < deadline
        time.sleep(0.02)
    os.kill(writer.pid, signal.SIGKILL)
    writer.wait()
    assert not target.exists()
    write(target, n_train=6, n_val=3, progress=False)
    assert fingerprint(target) == fingerprint(folder)
    assert not list(tmp_path.glob("*partial*"))


def test_processes_that_write_at_once_write_the_bytes_of_this_one(folder, tmp_path):
    target = tmp_path / "set"
    code = (
        "from pathlib import Path; from la.data.embedded.synthetic import write; "
        f"write(Path({str(target)!r}), n_train=6, n_val=3, progress=False)"
    )
    writers = [subprocess.Popen([sys.executable, "-c", code]) for _ in range(3)]
    assert [writer.wait(timeout=60) for writer in writers] == [0, 0, 0]
    assert fingerprint(target) == fingerprint(folder)
    for path in sorted((folder / "images").rglob("*.png")):
        assert path.read_bytes() == (target / path.relative_to(folder)).read_bytes()
