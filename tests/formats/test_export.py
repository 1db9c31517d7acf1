"""Exports are read back, by pycocotools and by matplotlib's polygons, to the same pixels."""

import json

import numpy as np
import pytest
import yaml
from matplotlib.path import Path as Polygon
from pycocotools.coco import COCO
from scipy import ndimage

from la.commands import own_data
from la.errors import UserError
from la.formats.export import FORMATS, exporters
from la.formats.label_maps import LabelMap
from la.formats.polygons import polygons

CLASSES = ("dog", 'the "other" one', "cat")


def random_mask(rng: np.random.Generator, size: tuple[int, int]) -> np.ndarray:
    """Noise or blobs: with holes, islands in holes, and parts that meet at a corner."""
    noise = rng.random(size)
    if rng.random() < 0.5:
        noise = ndimage.gaussian_filter(noise, 2)
    return noise > np.quantile(noise, rng.uniform(0.05, 0.95))


def drawn(rings: list[np.ndarray], size: tuple[int, int]) -> np.ndarray:
    """(H, W) bool: pixels whose centre is inside an odd number of times, by matplotlib."""
    rows, columns = np.indices(size)
    centres = np.stack([columns.ravel() + 0.5, rows.ravel() + 0.5], axis=1)
    mask = np.zeros(size, bool)
    for ring in rings:
        closed = np.concatenate([ring, ring[:1]])
        mask |= Polygon(closed).contains_points(centres).reshape(size)
    return mask


@pytest.fixture(scope="module")
def maps() -> list[LabelMap]:
    rng = np.random.default_rng(0)
    label_maps = []
    for name, size in (("a.jpg", (30, 41)), ("more/b.png", (25, 16)), ("empty.png", (9, 9))):
        labels = np.zeros(size, np.uint8)
        if name != "empty.png":
            for row in (1, 3):
                labels[random_mask(rng, size) & (labels == 0)] = row
        label_maps.append(LabelMap.of(name, labels, rng.random(size)))
    return label_maps


def export(name: str, maps: list[LabelMap], tmp_path) -> None:
    FORMATS[name](maps, CLASSES, tmp_path / "photos", tmp_path / name)


def test_polygons_give_the_same_pixels_again():
    rng = np.random.default_rng(1)
    for _ in range(60):
        height, width = rng.integers(1, 25, 2)
        mask = random_mask(rng, (height, width))
        assert np.array_equal(drawn(polygons(mask), mask.shape), mask)


def test_a_rectangle_with_a_hole_is_one_short_ring():
    mask = np.ones((20, 30), bool)
    mask[5:9, 10:20] = False
    (ring,) = polygons(mask)
    # Every corner is cut by half a pixel: 8 points outside, 8 in the hole, and the way back.
    assert len(ring) <= 20


@pytest.mark.parametrize("name", ["coco-instances", "coco-polygons", "coco-instance-polygons"])
def test_coco_files_are_read_by_pycocotools_to_the_same_pixels(maps, name, tmp_path, capsys):
    export(name, maps, tmp_path)
    file = COCO(str(tmp_path / f"{name}.json"))
    assert [c["name"] for c in file.loadCats(file.getCatIds())] == list(CLASSES)
    names = [image["file_name"] for image in file.loadImgs(file.getImgIds())]
    assert names == [label_map.file_name for label_map in maps]
    for image_id, label_map in enumerate(maps, 1):
        annotations = file.loadAnns(file.getAnnIds(imgIds=image_id))
        painted = np.zeros_like(label_map.labels)
        for annotation in annotations:
            mask = file.annToMask(annotation) > 0
            assert not painted[mask].any() and annotation["area"] == mask.sum()
            painted[mask] = annotation["category_id"]
        assert np.array_equal(painted, label_map.labels)
        counted = {row: ndimage.label(label_map.labels == row)[1] for row in (1, 3)}
        n_parts = sum(counted.values())
        n_classes = len(label_map.class_margins)
        assert len(annotations) == (n_parts if "instance" in name else n_classes)
    assert capsys.readouterr().out


def test_yolo_labels_are_the_same_pixels_by_file_name_and_class_number(maps, tmp_path):
    export("yolo", maps, tmp_path)
    about = yaml.safe_load((tmp_path / "yolo" / "data.yaml").read_text())
    assert about["names"] == dict(enumerate(CLASSES))
    for label_map, stem in zip(maps, ("a", "more/b", "empty"), strict=True):
        height, width = label_map.labels.shape
        painted = np.zeros_like(label_map.labels)
        for line in (tmp_path / "yolo" / "labels" / f"{stem}.txt").read_text().splitlines():
            number, *shares = line.split()
            ring = np.array(shares, float).reshape(-1, 2) * (width, height)
            painted[drawn([ring], painted.shape)] = int(number) + 1
        assert np.array_equal(painted, label_map.labels)


def test_labelme_files_are_the_same_pixels_and_name_the_photograph(maps, tmp_path):
    export("labelme", maps, tmp_path)
    for label_map, stem in zip(maps, ("a", "more/b", "empty"), strict=True):
        path = tmp_path / "labelme" / f"{stem}.json"
        content = json.loads(path.read_text())
        photo = (path.parent / content["imagePath"]).resolve()
        assert photo == (tmp_path / "photos" / label_map.file_name).resolve()
        painted = np.zeros((content["imageHeight"], content["imageWidth"]), np.uint8)
        for shape in content["shapes"]:
            inside = drawn([np.array(shape["points"])], painted.shape)
            painted[inside] = CLASSES.index(shape["label"]) + 1
        assert np.array_equal(painted, label_map.labels)


@pytest.mark.parametrize("name", ["yolo", "labelme"])
def test_photographs_that_differ_in_their_suffix_alone_are_refused(maps, name):
    names = [label_map.file_name for label_map in maps]
    assert list(exporters([name], names)) == [name]
    said = rf"a.jpg and a.png differ only in their suffix, and {name} has one file for both"
    with pytest.raises(UserError, match=said):
        exporters(["coco-polygons", name], [*names, "a.png"])
    exporters(["coco-polygons"], [*names, "a.png"])  # which keeps the suffix


def test_an_unknown_format_is_refused_with_the_known_ones():
    with pytest.raises(UserError, match="no format 'voc'; known: coco-instances, .*labelme"):
        exporters(["yolo", "voc"], [])
    assert ", ".join(FORMATS) == own_data.FORMATS
