"""Where image files are found, and what becomes of their pixels."""

import json
import os

import numpy as np
import pytest
from PIL import Image

from la.data.coco.index import CocoIndex
from la.data.pictures.images import read_rgb, to_rgb
from la.errors import MissingFile, UserError
from tests.data.entries import HEIGHT, WIDTH, image


def document(images):
    return {"images": images, "annotations": [], "categories": []}


@pytest.fixture
def write(tmp_path):
    def write(content, name="instances_val.json"):
        path = tmp_path / "annotations" / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(json.dumps(content))
        return path

    return write


def picture(path, mode="RGB", size=(WIDTH, HEIGHT), **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    ramp = np.linspace(0, 1, size[0] * size[1]).reshape(size[::-1])
    if mode == "I;16":
        made = Image.fromarray((ramp * 65535).astype(np.uint16))
    else:
        made = Image.fromarray((ramp * 255).astype(np.uint8)).convert(mode)
    made.save(path, **options)
    return path


@pytest.mark.parametrize(
    ("stated", "stored"),
    [
        ("COCO_val2014_000000000009.jpg", "val2017/000000000009.jpg"),
        ("000000000009.jpg", "deep/er/COCO_train2014_000000000009.jpg"),
        ("val2014/COCO_val2014_000000000009.jpg", "images/val2014/000000000009.jpg"),
        ("a.png", "a.png"),
        ("sub\\a.png", "sub/a.png"),
        ("./sub/a.png", "deep/sub/a.png"),
        ("./sub/./a.png", "sub/a.png"),
        ("sub//a.png", "sub/a.png"),
        ("sub///././/a.png", "deep/sub/a.png"),
        ("s3://bucket//1//a.png", "images/1/a.png"),
        ("a.PNG", "sub/A.png"),
        ("my%20img%201.png", "my img 1.png"),
        ("100%.png", "100%.png"),
        ("cafe\u0301.png", "caf\u00e9.png"),
        ("Screenshot 1.02 PM.png", "Screenshot 1.02\u202fPM.png"),
        ("a b.png", "a\u3000b.png"),
        ("/home/ann/project/images/a.png", "images/a.png"),
        ("C:\\Users\\ann\\a.png", "a.png"),
        ("../../upload/1/a.png", "1/a.png"),
        ("../../upload/1/a.png", "images/a.png"),
        ("https://host/b/1/a.png?key=x/y", "JPEGImages/a.png"),
        (" a.png\n", "a.png"),
    ],
)
def test_images_are_found_under_either_name_in_any_folder(write, tmp_path, stated, stored):
    file = picture(tmp_path / stored)
    read = CocoIndex.from_json(write(document([image(9, stated)])))
    assert read.path(9) == file
    assert read.read_image(9).size == (WIDTH, HEIGHT)


def test_equal_names_are_told_apart_by_their_folder_or_refused(write, tmp_path):
    picture(tmp_path / "train/1.jpg")
    wanted = picture(tmp_path / "val/1.jpg")
    picture(tmp_path / "a/2.jpg")
    picture(tmp_path / "b/2.jpg")
    images = [image(1, "val/1.jpg"), image(2, "2.jpg"), image(3, "3.jpg"), image(4, "1.jpg")]
    read = CocoIndex.from_json(write(document(images), "instances_val.json"))
    assert read.path(1) == wanted
    assert read.path(4) == wanted, "the annotation file is that of the split"
    with pytest.raises(UserError, match="image 2 of .* are both named 2.jpg; keep one"):
        read.path(2)
    with pytest.raises(MissingFile, match="image 3 of .* no file 3.jpg under .* put it there"):
        read.path(3)


@pytest.mark.parametrize(
    ("stated", "stored"),
    [
        ("cam1/1.jpg", "cam2/1.jpg"),
        ("cam1/1.jpg", "1.jpg"),
        ("a/cam1/1.jpg", "b/cam1/1.jpg"),
        ("/home/ann/cam1/1.jpg", "cam2/1.jpg"),
        ("https://host/cam1/1.jpg", "images/cam2/1.jpg"),
        ("val2014/COCO_val2014_000000000009.jpg", "images/COCO_val2014_000000000009.jpg"),
    ],
)
def test_a_file_in_another_folder_is_named_and_not_taken(write, tmp_path, stated, stored):
    file = picture(tmp_path / stored)
    read = CocoIndex.from_json(write(document([image(9, stated)])))
    with pytest.raises(MissingFile, match="no file .* lies in another folder") as error:
        read.path(9)
    assert str(file) in str(error.value) and stated in str(error.value)


def test_of_two_folders_the_one_that_a_path_names_is_taken(write, tmp_path):
    picture(tmp_path / "images/1.jpg")
    file = picture(tmp_path / "other/1.jpg")
    read = CocoIndex.from_json(write(document([image(1, "C:\\ann\\other\\1.jpg")])))
    assert read.path(1) == file


def test_a_link_to_nothing_is_a_missing_file(write, tmp_path):
    (tmp_path / "1.jpg").symlink_to("nowhere.jpg")
    read = CocoIndex.from_json(write(document([image(1, "1.jpg")])))
    with pytest.raises(MissingFile, match="1.jpg is a link to a file that does not exist"):
        read.path(1)
    assert read.paths == [None] and read.pictures == ("",)


def test_the_closest_spelling_of_a_name_is_taken(write, tmp_path):
    for name in (
        "a.png",
        "A.PNG",
        "Stra\u00dfe.png",
        "strasse.png",
        ".hidden/b.png",
        "masks/c.png",
    ):
        picture(tmp_path / name)
    images = [image(1, "a.png"), image(2, "A.PNG"), image(3, "A.png"), image(4, "strasse.png")]
    read = CocoIndex.from_json(write(document([*images, image(5, "b.png")])))
    assert [read.path(i).name for i in (1, 2, 4)] == ["a.png", "A.PNG", "strasse.png"]
    with pytest.raises(UserError, match="are both named A.png; keep one, or write its folder"):
        read.path(3)
    with pytest.raises(MissingFile, match="image 5"):
        read.path(5)


@pytest.mark.parametrize("folder", ["masks", "Labels", "SegmentationClass", "gt"])
def test_a_mask_of_the_same_name_is_no_image(write, tmp_path, folder):
    picture(tmp_path / folder / "1.png")
    file = picture(tmp_path / "photos/1.png")
    read = CocoIndex.from_json(write(document([image(1, "1.png")])))
    assert read.path(1) == file
    picture(tmp_path / "photos/more/1.png")
    read = CocoIndex.from_json(read.source)
    with pytest.raises(UserError, match="are both named 1.png"):
        read.path(1)


def test_links_are_followed_once_and_files_outside_are_not_found(write, tmp_path):
    picture(tmp_path / "elsewhere/1.jpg")
    (tmp_path / "data").mkdir()
    os.symlink(tmp_path / "elsewhere", tmp_path / "data/train2017")
    os.symlink(tmp_path / "data", tmp_path / "data/loop")
    picture(tmp_path / "secret.jpg")
    content = document([image(1, "1.jpg"), image(2, "../secret.jpg")])
    read = CocoIndex.from_json(write(content), images=tmp_path / "data")
    assert read.path(1) == tmp_path / "data/train2017/1.jpg"
    with pytest.raises(MissingFile, match="image 2"):
        read.path(2)


def test_a_missing_image_folder_is_named(write, tmp_path):
    read = CocoIndex.from_json(write(document([image(9)])), images=tmp_path / "gone")
    with pytest.raises(MissingFile, match="image 9 of .* no folder .*gone"):
        read.read_image(9)


@pytest.mark.parametrize(
    ("mode", "name"),
    [("L", "a.png"), ("I;16", "a.png"), ("I;16", "a.tif"), ("P", "a.png"), ("P", "a.gif")]
    + [("CMYK", "a.jpg"), ("RGBA", "a.png"), ("LA", "a.png"), ("1", "a.png"), ("YCbCr", "a.jpg")],
)
def test_every_kind_of_image_becomes_rgb_of_the_same_brightness(write, tmp_path, mode, name):
    picture(tmp_path / name, mode)
    read = CocoIndex.from_json(write(document([image(9, name)])))
    pixels = np.asarray(read.read_image(9))
    assert pixels.shape == (HEIGHT, WIDTH, 3) and pixels.dtype == np.uint8
    assert pixels[:3].mean() < 40 and pixels[-3:].mean() > 215


def test_transparency_in_a_palette_is_dropped_without_a_warning(write, tmp_path):
    picture(tmp_path / "a.png", "P", transparency=bytes(range(256)))
    read = CocoIndex.from_json(write(document([image(9, "a.png")])))
    assert read.read_image(9).mode == "RGB"


TURNED = {1: 0, 3: 2, 6: -1, 8: 1}  # quarters, counterclockwise, from stored to upright


@pytest.mark.parametrize("orientation", TURNED)
@pytest.mark.parametrize("size", [(40, 30), (30, 40), (40, 40)])
def test_annotations_are_in_the_upright_frame_if_its_size_is_stated(
    write, tmp_path, orientation, size, caplog
):
    exif = Image.Exif()
    exif[0x0112] = orientation
    picture(tmp_path / "a.jpg", size=(40, 40) if size == (40, 40) else (40, 30), exif=exif)
    stored = np.asarray(Image.open(tmp_path / "a.jpg").convert("RGB"))
    upright = np.rot90(stored, TURNED[orientation])
    width, height = size
    turned = document([image(9, "a.jpg", height=height, width=width)])
    read = CocoIndex.from_json(write(turned))
    fits = [pixels for pixels in (upright, stored) if pixels.shape[:2] == (height, width)]
    if fits:
        np.testing.assert_array_equal(np.asarray(read.read_image(9)), fits[0])
        read.read_image(9)
    else:
        with pytest.raises(UserError, match="40 x 30 pixels, the annotations say 30 x 40"):
            read.read_image(9)
    assert caplog.text.count("read upright") == (len(fits) == 2 and orientation != 1)


@pytest.mark.parametrize(
    ("dtype", "brightest", "white"),
    [
        (np.uint16, 65535, 65535), (np.uint16, 4095, 4095), (np.uint16, 1000, 1023),
        (np.uint16, 200, 255), (np.int32, 70_000, 70_000), (np.float32, 1.0, 1),
        (np.float32, 0.5, 1), (np.float32, 255.0, 255), (np.float32, 30_000.0, 65535),
    ],
)  # fmt: skip
def test_greys_of_any_range_are_scaled_to_8_bits(tmp_path, dtype, brightest, white):
    ramp = np.linspace(0, brightest, 256).astype(dtype).reshape(16, 16)
    Image.fromarray(ramp).save(tmp_path / "a.tif")
    pixels = np.asarray(read_rgb(tmp_path / "a.tif", (16, 16)))[..., 1]
    expected = [int(float(value) * 255 / white) for value in ramp.ravel()]
    assert pixels.ravel().tolist() == expected
    assert (np.diff(pixels.ravel().astype(int)) >= 0).all() and pixels.max() >= 100


def test_pixels_that_are_no_number_or_negative_are_black():
    grey = np.array([[np.nan, -3, 0.5], [np.inf, 1, 0]], np.float32)
    pixels = np.asarray(to_rgb(Image.fromarray(grey)))[..., 0]
    assert pixels.tolist() == [[0, 0, 127], [0, 255, 0]]


@pytest.mark.parametrize("damage", ["cut", "empty", "text", "other size", "bomb", "folder"])
def test_an_image_that_cannot_be_used_is_named_with_its_id(write, tmp_path, damage):
    path = picture(tmp_path / "a.png", size=(41, 30) if damage == "other size" else (WIDTH, HEIGHT))
    if damage == "cut":
        path.write_bytes(path.read_bytes()[:-60])
    elif damage == "bomb":
        Image.new("1", (20_000, 20_000)).save(path)
    elif damage != "other size":
        path.write_bytes({"empty": b"", "text": b"hello", "folder": b""}[damage])
    read = CocoIndex.from_json(write(document([image(9, "a.png")])))
    with pytest.raises(UserError, match="image 9 of .*a.png: .*; replace the file") as caught:
        read.read_image(9)
    assert "\n" not in str(caught.value)


def test_a_one_pixel_image_is_an_image(write, tmp_path):
    picture(tmp_path / "a.png", size=(1, 1))
    read = CocoIndex.from_json(write(document([image(9, "a.png", 1, 1)])))
    assert read.read_image(9).size == (1, 1)
