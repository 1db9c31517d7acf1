"""A folder of photographs, segmented with resume; prompts files and their photographs."""

import csv
import errno
import json
import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from pycocotools import mask as coco_mask

from la.__main__ import main
from la.errors import MissingFile, UserError
from la.formats.export import FORMATS
from la.predict import folder
from la.predict.folder import predict_folder
from la.predict.photo_files import find_photos
from la.predict.predictor import Predictor
from la.predict.prompts import prompts_file
from la.predict.prompts.drawing import Drawing, DrawnImage
from la.predict.prompts.vector_prompts import BoxPrompt, PointPrompt, mask_prompt
from la.predict.support_file import read_pictures, read_support_file
from la.types import Box, Point


@pytest.fixture
def support(predictor, photo):
    return predictor.support([(photo(1), {"dog": [Box(10, 5, 30, 20)], "bird": [Point(40, 10)]})])


def test_a_folder_is_segmented_and_a_stopped_call_resumes(predictor, support, photo, tmp_path):
    images, out = tmp_path / "photos", tmp_path / "photos" / "out"
    (images / "more").mkdir(parents=True)
    for seed, name in enumerate(["a.png", "b.JPG", "more/a.png"]):
        photo(seed + 5).save(images / name)
    (images / "c.png").write_bytes(b"no image")
    (images / "notes.txt").write_text("not an image")

    class Stopping(Predictor):
        left = 2

        def predict(self, image, support):
            self.left -= 1
            if self.left < 0:
                raise KeyboardInterrupt
            return super().predict(image, support)

    stopping = Stopping(predictor.model, predictor.card)
    with pytest.raises(KeyboardInterrupt):
        predict_folder(stopping, support, images, out, progress=False)
    assert not (out / "predictions.json").exists()
    assert sorted(p.name for p in out.rglob("*.png")) == ["a.png.png", "b.JPG.png"]

    stopping.left = 2  # c.png, which is broken, and more/a.png
    content = json.loads(predict_folder(stopping, support, images, out, progress=False).read_text())
    assert [i["file_name"] for i in content["images"]] == ["a.png", "b.JPG", "more/a.png"]
    assert [s["file_name"] for s in content["skipped"]] == ["c.png"]
    for entry in content["images"]:
        labels = predictor.predict(images / entry["file_name"], support).labels
        found = {a["category_id"] for a in content["annotations"] if a["image_id"] == entry["id"]}
        assert found == set(np.unique(labels).tolist()) - {0}
        with Image.open(out / "masks" / f"{entry['file_name']}.png") as png:
            assert np.array_equal(np.array(png), labels)
        margins = predictor.predict(images / entry["file_name"], support).margins
        assert entry["margin"] == pytest.approx(margins.mean(), abs=1e-4)
        for annotation in content["annotations"]:
            if annotation["image_id"] == entry["id"]:
                mask = labels == annotation["category_id"]
                assert np.array_equal(coco_mask.decode(annotation["segmentation"]), mask)
                assert annotation["score"] == pytest.approx(margins[mask].mean(), abs=1e-4)
                assert annotation["area_share"] == pytest.approx(mask.mean(), abs=1e-6)
    sure = {entry["file_name"]: entry["margin"] for entry in content["images"]}
    assert content["least_sure_first"] == sorted(sure, key=sure.get)
    assert not list(out.rglob(".writing-*"))

    other = predictor.support([(photo(9), {"dog": [Point(1, 1)]})])
    with pytest.raises(UserError, match="for another support set; give another folder"):
        predict_folder(predictor, other, images, out, progress=False)


def test_folders_without_images_are_refused(predictor, support, photo, tmp_path):
    with pytest.raises(FileNotFoundError, match="no folder .*nowhere"):
        predict_folder(predictor, support, tmp_path / "nowhere", tmp_path / "o", progress=False)
    (tmp_path / "empty").mkdir()
    with pytest.raises(FileNotFoundError, match="no image under .*empty"):
        predict_folder(predictor, support, tmp_path / "empty", tmp_path / "o", progress=False)


def test_masks_are_made_again_for_a_replaced_photograph_and_where_they_are_damaged(
    predictor, support, photo, tmp_path
):
    images, out = tmp_path / "photos", tmp_path / "out"
    images.mkdir()
    for seed in (1, 2, 3):
        photo(seed).save(images / f"{seed}.png")
    predict_folder(predictor, support, images, out, progress=False)
    photo(9).save(images / "1.png")  # another picture of the same size
    damaged = out / "masks" / "2.png.png"
    damaged.write_bytes(damaged.read_bytes()[:4])
    predicted = []

    class Counting(Predictor):
        def predict(self, image, support):
            predicted.append(image.name)
            return super().predict(image, support)

    counting = Counting(predictor.model, predictor.card)
    predict_folder(counting, support, images, out, progress=False)
    assert predicted == ["1.png", "2.png"]
    for name in ("1.png", "2.png"):
        labels = predictor.predict(images / name, support).labels
        with Image.open(out / "masks" / f"{name}.png") as png:
            assert np.array_equal(np.array(png), labels)


def test_no_photograph_is_passed_over_without_a_word(predictor, support, photo, tmp_path):
    images, elsewhere = tmp_path / "photos", tmp_path / "elsewhere"
    images.mkdir()
    elsewhere.mkdir()
    long_name = f"{'x' * 248}.png"  # the mask's name, with a further .png, is too long
    photo(1).save(images / "a.jfif", "JPEG")
    photo(2).save(images / "b.gif")
    (images / "c.heic").write_bytes(b"no decoder for this one")
    photo(3).save(images / long_name)
    photo(4).save(elsewhere / "d.png")
    (images / "again.gif").symlink_to(images / "b.gif")
    for name in (".hidden.jpg", "._a.jfif"):
        photo(5).save(images / name, "JPEG")
    (images / "link").symlink_to(elsewhere, target_is_directory=True)
    (elsewhere / "back").symlink_to(images, target_is_directory=True)
    path = predict_folder(predictor, support, images, tmp_path / "out", progress=False)
    content = json.loads(path.read_text())
    assert [i["file_name"] for i in content["images"]] == ["a.jfif", "again.gif", "link/d.png"]
    reasons = {entry["file_name"]: entry["reason"] for entry in content["skipped"]}
    assert set(reasons) == {"b.gif", "c.heic", long_name}
    assert reasons["b.gif"] == "it is the same file as again.gif"
    assert "c.heic cannot be read as an image" in reasons["c.heic"]
    assert "too long" in reasons[long_name]


def test_a_photograph_that_cannot_be_opened_stops_no_other(predictor, support, photo, tmp_path):
    images = tmp_path / "photos"
    images.mkdir()
    (images / "a.jpg").symlink_to(tmp_path / "moved.jpg")
    os.mkfifo(images / "b.jpg")
    (images / "c.jpg").write_bytes(b"")
    photo(3).save(images / "d.jpg")
    path = predict_folder(predictor, support, images, tmp_path / "out", progress=False)
    content = json.loads(path.read_text())
    assert [entry["file_name"] for entry in content["images"]] == ["d.jpg"]
    assert [entry["file_name"] for entry in content["skipped"]] == ["a.jpg", "b.jpg", "c.jpg"]
    assert "a.jpg is not a file" in content["skipped"][0]["reason"]


def test_a_photograph_that_may_not_be_read_is_skipped(
    predictor, support, photo, tmp_path, monkeypatch
):
    def refused(path: Path) -> str:
        raise PermissionError(errno.EACCES, "Permission denied", str(path))

    monkeypatch.setattr(folder, "picture_digest", refused)
    (tmp_path / "photos").mkdir()
    photo(3).save(tmp_path / "photos" / "d.jpg")
    path = predict_folder(predictor, support, tmp_path / "photos", tmp_path / "out", progress=False)
    (skipped,) = json.loads(path.read_text())["skipped"]
    assert "d.jpg cannot be read (Permission denied)" in skipped["reason"]


def test_pictures_of_kinds_that_are_not_read_are_listed(
    predictor, support, photo, tmp_path, caplog
):
    (tmp_path / "photos").mkdir()
    photo(3).save(tmp_path / "photos" / "d.jpg")
    for name in ("d.NEF", "e.dng", ".f.dng", "notes.txt"):
        (tmp_path / "photos" / name).write_bytes(b"of a camera")
    out = tmp_path / "out"
    path = predict_folder(
        predictor, support, tmp_path / "photos", out, formats=["yolo"], progress=False
    )
    content = json.loads(path.read_text())
    assert [entry["file_name"] for entry in content["images"]] == ["d.jpg"]
    assert {entry["file_name"]: entry["reason"] for entry in content["skipped"]} == {
        "d.NEF": ".NEF is not read; save it as JPEG or PNG",
        "e.dng": ".dng is not read; save it as JPEG or PNG",
    }
    assert "skipped, because their format is not read: d.NEF, e.dng" in caplog.text


def test_a_folder_of_results_is_not_searched(photo, tmp_path):
    (tmp_path / "out").mkdir()
    photo(1).save(tmp_path / "a.png")
    photo(1).save(tmp_path / "out" / "a.png.png")
    assert find_photos(tmp_path, tmp_path / "out") == [tmp_path / "a.png"]


class NoWork(Predictor):
    """A predictor that must not be asked to do anything."""

    def predict(self, image, support):
        raise AssertionError("work before the check")


def test_a_folder_that_cannot_be_segmented_is_refused_before_the_work(
    predictor, support, photo, tmp_path
):
    idle = NoWork(predictor.model, predictor.card)
    images = tmp_path / "photos"
    images.mkdir()
    photo(1).save(images / "a.png")
    (tmp_path / "link").symlink_to(images)
    for out in (images, tmp_path / "link"):
        with pytest.raises(UserError, match=f"{out} is the folder of the photographs as well"):
            predict_folder(idle, support, images, out, progress=False)
    (tmp_path / "file").write_text("")
    with pytest.raises(NotADirectoryError, match="file"):
        predict_folder(idle, support, images, tmp_path / "file", progress=False)
    photo(2).save(images / "a.jpg")
    with pytest.raises(UserError, match="a.jpg and a.png differ only in their suffix"):
        predict_folder(idle, support, images, tmp_path / "out", formats=["yolo"], progress=False)
    assert sorted(path.name for path in images.iterdir()) == ["a.jpg", "a.png"]
    assert not (tmp_path / "out").exists()
    (images / "in").mkdir()
    for name in ("a.jpg", "a.png"):
        (images / name).rename(images / "in" / name)
    with pytest.raises(UserError, match=f"all images under {images} lie in {images}/in, which"):
        predict_folder(idle, support, images, images / "in", progress=False)


@pytest.mark.parametrize("out", ["photos", "file"])
def test_the_command_names_the_folder_before_a_model_is_loaded(
    out, photo, tmp_path, monkeypatch, capsys
):
    monkeypatch.setattr(
        "la.learn.weights.checkpoints.load", lambda model: pytest.fail("it was loaded")
    )
    (tmp_path / "photos").mkdir()
    photo(1).save(tmp_path / "photos" / "a.png")
    (tmp_path / "file").write_text("")
    words = ["--support", "x.json", "--images", tmp_path / "photos", "--out", tmp_path / out]
    assert main(["predict", *map(str, words)]) == 2
    said = capsys.readouterr().err
    assert said.startswith(f"la predict: {tmp_path / out}") and said.count("\n") == 1
    assert "Errno" not in said


def drawing(name="one.png", width=60, height=40) -> Drawing:
    mask = np.zeros((height, width), bool)
    mask[4:8, 10:20] = True
    prompts = (
        mask_prompt(mask, 0, 3),
        BoxPrompt(0, 1, ((10, 4), (30, 20))),
        PointPrompt(0, 1, ((50, 30),), label=-1),
    )
    return Drawing((DrawnImage(name, width, height),), ("dog", "cow", "cat"), prompts)


def write(drawing: Drawing, path):
    path.write_text(json.dumps(prompts_file.to_coco(drawing)))
    return path


def test_class_numbers_are_those_of_the_prompts_file(predictor, photo, tmp_path):
    """Nothing of "cow" is prompted, so the support set has two classes and the file three."""
    (tmp_path / "photos").mkdir()
    photo(1).save(tmp_path / "one.png")
    photo(5).save(tmp_path / "photos" / "a.png")
    file = read_support_file(write(drawing(), tmp_path / "prompts.json"))
    support = file.support(predictor)
    assert (support.class_names, file.classes) == (("dog", "cat"), ("dog", "cow", "cat"))
    out = tmp_path / "out"
    content = json.loads(
        predict_folder(
            predictor, support, tmp_path / "photos", out, classes=file.classes, progress=False
        ).read_text()
    )
    assert content["categories"] == [
        {"id": 1, "name": "dog"},
        {"id": 2, "name": "cow"},
        {"id": 3, "name": "cat"},
    ]
    labels = predictor.predict(photo(5), support).labels
    numbers = np.array([0, 1, 3])[labels]
    with Image.open(out / "masks" / "a.png.png") as png:
        assert np.array_equal(np.array(png), numbers)
    assert {a["category_id"] for a in content["annotations"]} == set(np.unique(numbers)) - {0}


def test_prompts_of_a_photograph_that_was_resized_are_scaled_with_a_warning(
    photo, tmp_path, caplog
):
    photo(1, (80, 120)).save(tmp_path / "one.png")
    file = read_support_file(write(drawing(), tmp_path / "prompts.json"))
    prompts = file.photos[0].prompts
    assert prompts["dog"] == [Box(20, 8, 60, 40), Point(100, 60, positive=False)]
    expected = np.zeros((80, 120), bool)
    expected[8:16, 20:40] = True
    assert np.array_equal(prompts["cat"][0], expected)
    assert "has 120 x 80 pixels" in caplog.text and "prompts are scaled" in caplog.text


def test_prompts_of_a_photograph_of_another_shape_are_refused(photo, tmp_path):
    photo(1, (80, 100)).save(tmp_path / "one.png")
    with pytest.raises(UserError, match="one.png has 100 x 80 pixels, .*says 60 x 40; put back"):
        read_support_file(write(drawing(), tmp_path / "prompts.json"))


def test_names_with_backslashes_and_a_byte_order_mark_are_read(photo, tmp_path):
    (tmp_path / "photos").mkdir()
    photo(1).save(tmp_path / "photos" / "one.png")
    path = write(replace(drawing("photos\\one.png")), tmp_path / "prompts.json")
    path.write_text(path.read_text(), encoding="utf-8-sig")
    assert read_support_file(path).photos[0].path == tmp_path / "photos" / "one.png"


def test_predict_folder_writes_a_legend_and_the_formats_that_are_asked_for(
    predictor, photo, tmp_path
):
    (tmp_path / "photos").mkdir()
    photo(1).save(tmp_path / "photos" / "a.png")
    support = predictor.support([(photo(2), {"dog": [np.ones((40, 60), bool)]})])
    out = tmp_path / "out"
    predict_folder(
        predictor,
        support,
        tmp_path / "photos",
        out,
        classes=("cat", "dog"),
        formats=list(FORMATS),
        progress=False,
    )
    written = {path.relative_to(out).as_posix() for path in out.rglob("*.*")}
    assert written == {
        "support.safetensors",
        "predictions.json",
        "masks/a.png.png",
        "masks/legend.csv",
        "coco-instances.json",
        "coco-polygons.json",
        "coco-instance-polygons.json",
        "yolo/data.yaml",
        "yolo/labels/a.txt",
        "labelme/a.json",
    }
    text = (out / "masks" / "legend.csv").read_text()
    legend = list(csv.DictReader(text.splitlines()))
    assert [(row["index"], row["name"]) for row in legend] == [
        ("0", "background"),
        ("1", "cat"),
        ("2", "dog"),
    ]
    with Image.open(out / "masks" / "a.png.png") as png:
        palette = png.getpalette()
    for row in legend:
        start = 3 * int(row["index"])
        assert bytes(palette[start : start + 3]).hex() == row["colour"][1:].lower()


def test_a_missing_support_is_named_with_the_file_that_names_it(tmp_path):
    path = write(drawing("photos/one.png"), tmp_path / "prompts.json")
    said = (
        f"no photograph {tmp_path}/photos/one.png, which {path} names 'photos/one.png'; paths "
        "there are relative to the folder of the file"
    )
    for read in (read_support_file, read_pictures):
        with pytest.raises(MissingFile, match=said):
            read(path)


def test_photographs_that_are_supports_are_marked(predictor, photo, tmp_path, caplog):
    images = tmp_path / "photos"
    images.mkdir()
    photo(1).save(images / "one.png")
    photo(5).save(images / "a.png")
    (tmp_path / "copy").mkdir()
    photo(1).save(tmp_path / "copy" / "one.png")  # the picture decides, not the path
    prompts = write(drawing("copy/one.png"), tmp_path / "prompts.json")
    path = predict_folder(
        predictor,
        read_support_file(prompts).support(predictor),
        images,
        tmp_path / "out",
        support_pictures=read_pictures(prompts),
        progress=False,
    )
    content = json.loads(path.read_text())
    marked = {entry["file_name"]: entry.get("support") for entry in content["images"]}
    assert marked == {"a.png": None, "one.png": True}
    assert "marked `support`: 1 photograph that the model was shown" in caplog.text
