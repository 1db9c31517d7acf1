"""Two files become one data set: classes by name, pictures by content."""

import json
import shutil

import numpy as np
import pytest
from PIL import Image

from la.config import Protocol
from la.data.dataset import open_data
from la.data.sampling.episodes import EpisodeSampler
from la.errors import UserError
from la.rng import stream
from la.types import PromptKind

NAMES = ("ant", "bee", "cat", "dog", "eel")


def picture(path, seed):
    noise = stream(seed, "picture").integers(256, size=(20, 30, 3), dtype=np.uint8)
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(noise).save(path)


def content(ids, classes, *, first_picture=0, names="{:03}.png"):
    """A file of images `ids`, each with a square of two classes; `classes` {name: id}."""
    images, annotations = [], []
    class_ids = [*classes.values()]
    for position, image_id in enumerate(ids):
        name = names.format(first_picture + position)
        images.append({"id": image_id, "file_name": name, "width": 30, "height": 20})
        for k in (0, 1):
            x = 3 + 12 * k
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "image_id": image_id,
                    "category_id": class_ids[(position + k) % len(class_ids)],
                    "segmentation": [[x, 4, x + 9, 4, x + 9, 13, x, 13]],
                    "bbox": [x, 4, 9, 9],
                    "area": 81,
                }
            )
    categories = [{"id": i, "name": name} for name, i in classes.items()]
    return {"images": images, "annotations": annotations, "categories": categories}


@pytest.fixture
def make(tmp_path):
    """Write annotation files by name, {"train": content}, and pictures 0 to 29; open the folder."""

    def make(**files):
        for number in range(30):
            if not (tmp_path / f"data/images/{number:03}.png").exists():
                picture(tmp_path / f"data/images/{number:03}.png", number)
        (tmp_path / "data/annotations").mkdir(exist_ok=True)
        for name, document in files.items():
            path = tmp_path / f"data/annotations/instances_{name}.json"
            path.write_text(json.dumps(document))
        return open_data(tmp_path / "data", tmp_path / "cache")

    return make


def numbered(names, first=1):
    return {name: i for i, name in enumerate(names, first)}


def named_annotations(index):
    """What each image shows, by class names: what must not depend on ids."""
    return [
        (int(index.image_ids[image]), index.category_names[category])
        for image, category in zip(
            index.annotation_image.tolist(), index.annotation_category.tolist(), strict=True
        )
    ]


def test_equal_class_lists_stay_as_they_are(make):
    data = make(
        train=content(range(10), numbered(NAMES)),
        val=content(range(10, 20), numbered(NAMES), first_picture=10),
    )
    assert data.note == "10 training and 10 test images, two files"
    assert data.train.category_ids.tolist() == data.test.category_ids.tolist() == [1, 2, 3, 4, 5]


def test_classes_numbered_otherwise_are_matched_by_name(make):
    rotated = dict(zip(NAMES, (2, 3, 4, 5, 1), strict=True))
    val = content(range(10, 20), numbered(NAMES), first_picture=10)
    right = make(train=content(range(10), numbered(NAMES)), val=val)
    data = make(train=content(range(10), rotated), val=val)
    assert "5 classes of instances_train.json renumbered by name" in data.note
    assert data.train.category_names == data.test.category_names == NAMES
    assert named_annotations(data.train) == named_annotations(right.train)
    assert data.train.category_ids.tolist() == [1, 2, 3, 4, 5]


def test_a_class_that_one_file_lacks_is_empty_there(make):
    data = make(
        train=content(range(10), {"ant": 1, "bee": 2, "fox": 3}),
        val=content(range(10, 20), {"bee": 2, "cat": 3, "fox": 9}, first_picture=10),
    )
    # fox is 9 as in the test file, so that 3 is cat
    assert data.train.category_names == data.test.category_names == ("ant", "bee", "cat", "fox")
    assert data.train.category_ids.tolist() == [1, 2, 3, 9]
    assert {name for _, name in named_annotations(data.train)} == {"ant", "bee", "fox"}
    assert {name for _, name in named_annotations(data.test)} == {"bee", "cat", "fox"}
    assert "1 class of instances_train.json renumbered by name" in data.note
    assert "1 class is not in instances_train.json (cat)" in data.note
    assert "1 class is not in instances_val.json (ant)" in data.note


def test_a_class_of_the_training_file_whose_id_is_taken_gets_a_free_one(make):
    data = make(
        train=content(range(10), {"ant": 1, "bee": 2, "cat": 7}),
        val=content(range(10, 20), {"ant": 2, "cat": 7, "bee": 8}, first_picture=10),
    )
    assert data.train.category_names == ("ant", "cat", "bee")
    data = make(
        train=content(range(10), {"ant": 1, "fox": 2, "bee": 3}),
        val=content(range(10, 20), {"ant": 1, "bee": 2}, first_picture=10),
    )
    assert dict(zip(data.train.category_names, data.train.category_ids.tolist(), strict=True)) == {
        "ant": 1, "bee": 2, "fox": 4,
    }  # fmt: skip


def test_names_that_contradict_each_other_are_refused(make):
    val = content(range(10, 20), {"ant": 1, "bee": 2}, first_picture=10)
    said = "class 2 is 'wasp' in .*train.json and 'bee' in .*val.json"
    with pytest.raises(UserError, match=said):
        make(train=content(range(10), {"ant": 1, "wasp": 2}), val=val)
    twice = content(range(10), {"ant": 1, "bee": 2})
    twice["categories"][1]["name"] = "ant"
    with pytest.raises(UserError, match="train.json has two classes named 'ant'; merge"):
        make(train=twice, val=val)


def test_names_are_compared_after_unicode_normalisation(make):
    data = make(
        train=content(range(10), {"cafe\u0301": 1, "bee": 2}),
        val=content(range(10, 20), {"bee": 1, "caf\u00e9": 2}, first_picture=10),
    )
    assert data.train.category_names == ("bee", "caf\u00e9")


def test_spaces_around_a_name_do_not_matter(make):
    data = make(
        train=content(range(10), {"ant ": 1, "bee": 2}),
        val=content(range(10, 20), {"bee": 1, "ant": 2}, first_picture=10),
    )
    assert data.train.category_names == data.test.category_names == ("bee", "ant")
    assert "not in" not in data.note


def test_a_picture_under_two_ids_is_one_image_with_the_annotations_of_both(make, tmp_path):
    single = content(range(1, 11), numbered(NAMES))
    right = make(all=single)
    second = content(range(101, 111), numbered(NAMES))
    new = {"id": 999, "image_id": 103, "category_id": 5, "bbox": [0, 0, 2, 2], "area": 4,
           "segmentation": [[0, 0, 2, 0, 2, 2, 0, 2]]}  # fmt: skip
    for annotation in second["annotations"]:
        annotation["id"] += 500
    folder = tmp_path / "data/images"
    for image in second["images"][:5]:  # and the same file under another name
        copied = f"copy_{image['file_name']}"
        shutil.copy(folder / image["file_name"], folder / copied)
        image["file_name"] = copied
    both = {
        "images": single["images"] + second["images"],
        "annotations": single["annotations"] + second["annotations"] + [new],
        "categories": single["categories"],
    }
    data = make(all=both)
    assert "10 repeated pictures of instances_all.json are merged with the first one" in data.note
    for index, same in ((data.train, right.train), (data.test, right.test)):
        assert index.image_ids.tolist() == same.image_ids.tolist()
        expected = named_annotations(same)
        if 3 in index.image_ids:
            expected = sorted([*expected, (3, "eel")], key=lambda pair: pair[0])
        assert named_annotations(index) == expected


def test_pictures_of_one_colour_are_not_taken_for_one(make, tmp_path):
    for number in range(30):
        path = tmp_path / f"data/images/{number:03}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (30, 20), (90, 90, 90)).save(path)
    data = make(all=content(range(10), numbered(NAMES)))
    assert data.note == "one annotation file, split by image: 5 to train, 5 to test"
    data = make(
        train=content(range(10), numbered(NAMES)),
        val=content(range(10, 20), numbered(NAMES), first_picture=10),
    )
    unused = "not used: annotations/instances_all.json"
    assert data.note == f"10 training and 10 test images, two files; {unused}"


def test_no_picture_is_trained_and_tested_on(make):
    val = content(range(10, 20), numbered(NAMES), first_picture=5)  # pictures 5 to 14
    data = make(train=content(range(10), numbered(NAMES)), val=val)
    assert data.train.image_ids.tolist() == [0, 1, 2, 3, 4]
    assert "5 training images that the test file has too are left out" in data.note
    assert not set(data.train.pictures) & set(data.test.pictures)
    with pytest.raises(UserError, match="every image of .*train.json is in .*val.json too"):
        make(train=content(range(5), numbered(NAMES), first_picture=6), val=val)


def test_different_pictures_of_one_name_and_id_are_not_taken_for_one(make, tmp_path):
    for split, seed in (("train", 100), ("val", 200)):
        for number in range(40, 50):
            picture(tmp_path / f"data/images/{split}/{number:03}.png", seed + number)
    data = make(
        train=content(range(10), numbered(NAMES), first_picture=40),
        val=content(range(10), numbered(NAMES), first_picture=40),
    )
    assert data.note == "10 training and 10 test images, two files"
    assert data.train.path(3).parent.name == "train" and data.test.path(3).parent.name == "val"


def test_no_query_is_its_own_support_where_pictures_repeat(make):
    single = content(range(10), numbered(NAMES))
    twice = content(range(50, 60), numbered(NAMES))
    for annotation in twice["annotations"]:
        annotation["id"] += 500
    data = make(all={key: single[key] + twice[key] * (key != "categories") for key in single})
    sampler = EpisodeSampler(data.test, [1, 2, 3], shapes=[(1, 1)], protocol=Protocol(small_area=0))
    for i in range(50):
        e = sampler.evaluation_episode(i, n_ways=1, k_shots=1, seed=0, kinds=(PromptKind.MASK,))
        pictures = [data.test.picture(image_id) for image_id in (e.query_id, *e.support_ids)]
        assert len(set(pictures)) == len(pictures)


def test_the_fingerprint_changes_with_annotations_and_pictures_and_with_nothing_else(
    make, tmp_path
):
    document = content(range(10), numbered(NAMES))
    before = make(all=document).fingerprint
    assert make(all=document).fingerprint == before
    moved = tmp_path / "elsewhere"
    shutil.copytree(tmp_path / "data", moved)
    assert open_data(moved, tmp_path / "cache").fingerprint == before

    picture(tmp_path / "data/images/007.png", 777)
    replaced = make(all=document).fingerprint
    picture(tmp_path / "data/images/007.png", 7)
    assert make(all=document).fingerprint == before, "the picture is back"
    document["annotations"][3]["category_id"] = 5
    edited = make(all=document).fingerprint
    (tmp_path / "data/images/007.png").unlink()
    missing = open_data(tmp_path / "data", tmp_path / "cache").fingerprint
    assert len({before, replaced, edited, missing}) == 4
