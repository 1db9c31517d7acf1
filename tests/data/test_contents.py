"""Pictures are told by their content; what did not change is not read again."""

import os
import shutil

import numpy as np
import pytest
from PIL import Image

from la.data.pictures import contents
from la.data.pictures.contents import picture_digest, picture_digests
from la.rng import stream


@pytest.fixture
def folder(tmp_path):
    """Four different pictures, the last one a JPEG."""
    (tmp_path / "images").mkdir()
    for i, name in enumerate(("a.png", "b.png", "c.png", "d.jpg")):
        noise = stream(i, "noise").integers(256, size=(8, 9, 3), dtype=np.uint8)
        Image.fromarray(noise).save(tmp_path / "images" / name)
    return tmp_path / "images"


@pytest.fixture
def asked(monkeypatch):
    """The names of the files that are read."""
    names, real = [], picture_digest
    monkeypatch.setattr(
        contents, "picture_digest", lambda path: names.append(path.name) or real(path)
    )
    return names


def test_different_pictures_differ_and_a_copy_does_not(folder):
    shutil.copy(folder / "d.jpg", folder / "e.jpg")
    digests = picture_digests(sorted(folder.iterdir()), folder)
    assert len(set(digests)) == 4 and digests[3] == digests[4]
    assert all(len(digest) == 32 for digest in digests)


def test_a_png_written_by_another_encoder_is_the_same_picture(folder):
    path = folder / "a.png"
    before, written = picture_digest(path), path.read_bytes()
    with Image.open(path) as image:
        image.copy().save(path, compress_level=0)
    assert path.read_bytes() != written
    assert picture_digest(path) == before
    with Image.open(path) as image:
        image.copy().transpose(Image.Transpose.FLIP_LEFT_RIGHT).save(path)
    assert picture_digest(path) != before


def test_pixels_of_another_shape_palette_or_rotation_are_another_picture(tmp_path):
    pixels = np.arange(12, dtype=np.uint8)
    digests = set()
    for shape in ((3, 4), (4, 3)):
        Image.fromarray(pixels.reshape(shape)).save(tmp_path / "x.png")
        digests.add(picture_digest(tmp_path / "x.png"))
    for red in (0, 255):
        image = Image.fromarray(pixels.reshape(3, 4)).convert("P")
        image.putpalette([red, 0, 0] * 256)
        image.save(tmp_path / "x.png")
        digests.add(picture_digest(tmp_path / "x.png"))
    exif = Image.Exif()
    exif[0x112] = 3
    Image.fromarray(pixels.reshape(3, 4)).save(tmp_path / "x.png", exif=exif)
    digests.add(picture_digest(tmp_path / "x.png"))
    assert len(digests) == 5


def test_a_picture_of_one_colour_is_marked(tmp_path):
    for mode, colour, other in (("L", 7, 8), ("RGB", (7, 8, 9), (7, 8, 8)), ("P", 3, 4)):
        image = Image.new(mode, (5, 4), colour)
        if mode == "P":
            image.putpalette([i for i in range(256) for _ in "RGB"])
        image.save(tmp_path / "x.png")
        assert picture_digest(tmp_path / "x.png").endswith(contents.BLANK)
        image.putpixel((2, 2), other)
        image.save(tmp_path / "x.png")
        assert not picture_digest(tmp_path / "x.png").endswith(contents.BLANK)


def test_a_damaged_png_has_a_digest(folder):
    path = folder / "a.png"
    path.write_bytes(path.read_bytes()[:40])
    assert len(picture_digest(path)) == 32


def test_only_new_and_changed_files_are_read(folder, tmp_path, asked):
    paths = sorted(folder.iterdir())
    first = picture_digests(paths, folder, tmp_path / "cache")
    assert sorted(asked) == ["a.png", "b.png", "c.png", "d.jpg"]
    asked.clear()
    assert picture_digests(paths, folder, tmp_path / "cache") == first and asked == []

    shutil.copy(folder / "b.png", folder / "a.png")
    os.utime(folder / "c.png", ns=(0, 0))  # touched: read again, and found to be the same
    second = picture_digests([*paths, None], folder, tmp_path / "cache")
    assert sorted(asked) == ["a.png", "c.png"]
    assert second == (first[1], *first[1:], "")


def test_a_damaged_cache_is_made_again_and_an_unwritable_one_costs_time_only(
    folder, tmp_path, asked, caplog
):
    paths = sorted(folder.iterdir())
    first = picture_digests(paths, folder, tmp_path / "cache")
    (kept,) = (tmp_path / "cache").iterdir()
    kept.write_text("[1, 2")
    assert picture_digests(paths, folder, tmp_path / "cache") == first and len(asked) == 8
    (tmp_path / "file").write_text("")
    assert picture_digests(paths, folder, tmp_path / "file") == first
    assert "pictures are read anew each time" in caplog.text
