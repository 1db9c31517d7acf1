"""Annotation files are found in the layouts that tools export."""

import json
from pathlib import Path

import pytest
from PIL import Image

from la.data.coco.layouts import find, image_root
from la.data.dataset import open_data
from la.errors import MissingFile, UserError

LISTS = {"images": [], "annotations": [], "categories": []}


@pytest.fixture
def write(tmp_path):
    """Write a file in `annotations/`."""

    def write(content, name):
        return put(tmp_path / "annotations" / name, content)

    return write


def put(path, content=None):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(LISTS) if content is None else content)
    return path


def test_splits_are_told_by_file_names_and_the_older_release_comes_first(tmp_path, write):
    for name in ("train2014", "train2017", "val2014", "val2017"):
        write("{}", f"instances_{name}.json")
    write("{}", "captions_val2014.json")
    splits = find(tmp_path)
    assert {split: file.name for split, file in splits.items()} == {
        "train": "instances_train2014.json",
        "val": "instances_val2014.json",
    }


def test_a_single_file_serves_as_both_splits(tmp_path, write):
    path = write("{}", "instances_visible.json")
    assert find(tmp_path) == {"train": path, "val": path}


def test_folders_that_are_not_in_coco_format_are_refused_in_a_sentence(tmp_path, write):
    with pytest.raises(MissingFile, match="no folder .*gone; give a folder in COCO format"):
        find(tmp_path / "gone")
    with pytest.raises(MissingFile, match=r"no annotations/instances_\*.json in"):
        find(tmp_path)
    write("{}", "instances_train.json")
    write("{}", "instances_other.json")
    with pytest.raises(
        UserError, match="no annotation file for 'val' among annotations.instances_other.json, "
    ):
        find(tmp_path)


@pytest.mark.parametrize(
    ("train", "val"),
    [
        ("train/_annotations.coco.json", "valid/_annotations.coco.json"),  # Roboflow
        ("train/_annotations.coco.json", "test/_annotations.coco.json"),
        ("annotations/train.json", "annotations/val.json"),
        ("train.json", "val.json"),
        ("train_coco.json", "validation_coco.json"),
        ("set/annotations/instances_train.json", "set/annotations/instances_val.json"),
    ],
)
def test_two_files_are_told_apart_by_a_word_of_their_paths(tmp_path, train, val):
    expected = {"train": put(tmp_path / train), "val": put(tmp_path / val)}
    put(tmp_path / "notes.json", "{}")
    assert find(tmp_path) == expected


def test_test_files_come_before_validation_files_unless_they_are_empty(tmp_path):
    annotated = json.dumps(LISTS | {"annotations": [{"id": 1}]})
    for split in ("test", "train", "valid"):
        put(tmp_path / split / "_annotations.coco.json", annotated)
    assert find(tmp_path)["val"].parent.name == "test"
    put(tmp_path / "test" / "_annotations.coco.json")
    assert find(tmp_path)["val"].parent.name == "valid"


def test_the_note_names_annotation_files_that_are_not_used(tmp_path):
    for split, grey in (("train", 10), ("valid", 20), ("test", 30)):
        put_split(tmp_path / split, grey)
    data = open_data(tmp_path, tmp_path / "cache")
    assert data.train.path(2) == tmp_path / "train/2.png"
    assert data.test.path(2) == tmp_path / "test/2.png"
    assert "; not used: valid/_annotations.coco.json" in data.note


@pytest.mark.parametrize(
    "name", ["labels.json", "result.json", "coco/result.json", "annotations/all.json"]
)
def test_a_single_file_of_any_name_is_found(tmp_path, name):
    path = put(tmp_path / name)
    put(tmp_path / "prompts.json", '{"classes": [], "images": []}')
    assert find(tmp_path) == {"train": path, "val": path}


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("labels/a.txt", "labels/a.txt is not a COCO file .YOLO"),
        ("Annotations/a.xml", "Annotations/a.xml is not a COCO file .Pascal VOC"),
        ("photos/a.json", "photos/a.json is not a COCO file .LabelMe"),
    ],
)
def test_annotations_of_another_format_are_named_with_what_to_do(tmp_path, name, said):
    put(tmp_path / name, '{"shapes": []}')
    with pytest.raises(MissingFile, match=f"{said}.*; export the annotations in COCO's"):
        find(tmp_path)


def test_images_lie_beside_a_file_of_roboflow_and_under_the_folder_otherwise(tmp_path):
    beside = put(tmp_path / "train/_annotations.coco.json")
    Image.new("RGB", (4, 3)).save(beside.parent / "a.png")
    assert image_root(tmp_path, beside) == tmp_path / "train"
    assert image_root(tmp_path, put(tmp_path / "labels/all.json")) == tmp_path
    assert image_root(tmp_path, put(tmp_path / "annotations/all.json")) == tmp_path
    assert image_root(tmp_path, put(tmp_path / "all.json")) == tmp_path


def four_images(grey: int) -> dict:
    """Annotations of two classes on four images, see `striped_picture`."""
    ring = [[1, 1, 6, 1, 6, 5, 1, 5]]
    images, annotations = [], []
    for i in range(1, 5):
        images.append({"id": i, "file_name": f"{i}.png", "width": 9, "height": 8})
        annotations.append({"id": i, "image_id": i, "category_id": 1 + i % 2})
        annotations[-1] |= {"segmentation": ring, "bbox": [1, 1, 5, 4], "area": 20}
    categories = [{"id": 1, "name": "ant"}, {"id": 2, "name": "bee"}]
    return {"images": images, "annotations": annotations, "categories": categories}


def striped_picture(grey: int, i: int) -> Image.Image:
    picture = Image.new("RGB", (9, 8), (50 * i, 90, grey))
    picture.putpixel((0, 0), (0, 0, 0))
    return picture


def put_split(folder: Path, grey: int) -> None:
    """A split as Roboflow exports it: annotations beside four images."""
    put(folder / "_annotations.coco.json", json.dumps(four_images(grey)))
    for i in range(1, 5):
        striped_picture(grey, i).save(folder / f"{i}.png")


def test_equal_names_in_the_folders_of_roboflow_are_different_images(tmp_path):
    for grey, split in ((0, "train"), (99, "valid")):
        put_split(tmp_path / split, grey)
    data = open_data(tmp_path, tmp_path / "cache")
    assert data.train.path(3) == tmp_path / "train/3.png"
    assert data.test.path(3) == tmp_path / "valid/3.png"
    assert data.train.read_image(3).getpixel((4, 4)) == (150, 90, 0)
    assert data.test.read_image(3).getpixel((4, 4)) == (150, 90, 99)
