"""Habits of other programs and systems: each is read to the right value, or named with its mend."""

import base64
import io
import json
import unicodedata
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from la.__main__ import main
from la.errors import UserError
from la.predict import prompts_file
from la.predict.from_annotations import read_annotations
from la.types import Box

SIZE = (20, 30)
RING = [2, 3, 12, 3, 12, 9, 2, 9]  # a rectangle, drawn as rows 3 to 8 and columns 2 to 11


@pytest.fixture
def images(photo, tmp_path) -> Path:
    folder = tmp_path / "photos"
    folder.mkdir()
    photo(1, SIZE).save(folder / "a.jpg")
    return folder


def rectangle() -> np.ndarray:
    mask = np.zeros(SIZE, bool)
    mask[3:9, 2:12] = True
    return mask


def coco(tmp_path: Path, *annotations: object, image: object = None, category: object = None):
    """A COCO file of one photograph and one class."""
    content = {
        "images": [{"id": 7, "file_name": "a.jpg", "width": 30, "height": 20, **(image or {})}],
        "categories": [{"id": 4, "name": "dog", **(category or {})}],
        "annotations": [{"image_id": 7, "category_id": 4, **entry} for entry in annotations],
    }
    path = tmp_path / "instances.json"
    path.write_text(json.dumps(content))
    return path


def labelme(tmp_path: Path, *shapes: object, **fields: object) -> Path:
    content = {"imagePath": "a.jpg", "imageHeight": 20, "imageWidth": 30, "shapes": list(shapes)}
    path = tmp_path / "a.json"
    path.write_text(json.dumps(content | fields))
    return path


def yolo(folder: Path, line: str, names: str) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "a.txt").write_text(line + "\n")
    (folder / "data.yaml").write_text(names)
    return folder


def the_mask(drawing) -> np.ndarray:
    ((_, (mask,)),) = drawing.annotations()[0].items()
    return mask


@pytest.mark.parametrize(
    ("annotation", "image", "category"),
    [
        ({"image_id": 7.0}, {}, {}),
        ({"image_id": "7"}, {}, {}),
        ({}, {"id": "7"}, {}),
        ({"category_id": "4"}, {}, {"id": 4.0}),
        ({"image_id": "7f3e-uuid"}, {"id": "7f3e-uuid"}, {}),
        ({}, {"width": "30", "height": 20.0}, {}),
        ({}, {"width": None, "height": None}, {}),
        ({"segmentation": [list(map(str, RING))]}, {}, {}),
        ({"segmentation": [RING, [5, 5, 6, 6]]}, {}, {}),  # a ring of two points
        ({"segmentation": RING}, {}, {}),
        ({"bbox": None, "area": "none"}, {}, {}),
    ],
)
def test_other_spellings_of_coco_are_the_same_mask(annotation, image, category, images, tmp_path):
    entry = {"segmentation": [RING], **annotation}
    path = coco(tmp_path, entry, image=image, category=category)
    assert np.array_equal(the_mask(read_annotations(path, images)), rectangle())


@pytest.mark.parametrize(
    ("annotation", "message"),
    [
        (
            {"segmentation": [[5, 5, 6, 6]]},
            "a mask of dog cannot be drawn .no polygon .* has three points",
        ),
        ({"segmentation": [[1, 1, 9, 1, float("nan"), 9]]}, "a polygon leaves the image"),
        ({"segmentation": [[1, 1, 10**9, 1, 5, 9]]}, "a polygon leaves the image"),
        ({"segmentation": [[1, 1, None, 1, 5, 9]]}, "a polygon holds None, no number"),
        ({"segmentation": {"size": [20, 30], "counts": "zzzz0"}}, "run lengths do not sum up"),
        ({"segmentation": {"size": [30, 20], "counts": [600]}}, "run lengths are of size"),
        ({"segmentation": {"counts": [600]}}, "run lengths are of size None"),
        ({"segmentation": "[[1, 1]]"}, r"annotations\[0\] .* is neither polygons nor runs"),
        ({}, r"annotations\[0\] cannot be used .it has neither a mask nor a box"),
        ({"bbox": [float("nan"), 1, 5, 5]}, r"bbox \[nan, 1, 5, 5\] holds something that is no"),
        ({"bbox": [1, 1, 5, 5], "image_id": 8}, "no entry has the id that its image_id says, 8"),
        ({"bbox": [1, 1, 5, 5], "category_id": None}, "its category_id says, 'None'"),
    ],
)
def test_a_damaged_annotation_of_coco_is_named(annotation, message, images, tmp_path):
    with pytest.raises(UserError, match=message):
        read_annotations(coco(tmp_path, annotation), images)


@pytest.mark.parametrize("name", ["images", "categories", "annotations"])
@pytest.mark.parametrize("value", [None, {}, "none"])
def test_a_list_that_is_none_is_named(name, value, images, tmp_path):
    path = coco(tmp_path, {"bbox": [1, 1, 5, 5]})
    path.write_text(json.dumps(json.loads(path.read_text()) | {name: value}))
    with pytest.raises(UserError, match=f"has no list '{name}'; a COCO file has"):
        read_annotations(path, images)


def encoded(part: np.ndarray) -> str:
    with io.BytesIO() as png:
        Image.fromarray(part.astype(np.uint8)).save(png, "png")
        return base64.b64encode(png.getvalue()).decode()


def test_a_mask_of_the_assistant_of_labelme_lies_at_its_corner(images, tmp_path):
    part = np.ones((6, 10), bool)
    part[0, 0] = False
    shape = {"label": "dog", "shape_type": "mask", "points": [[2, 3], [11, 8]]}
    path = labelme(tmp_path, shape | {"mask": encoded(part)})
    expected = rectangle()
    expected[3, 2] = False
    assert np.array_equal(the_mask(read_annotations(path, images)), expected)


def test_labelme_may_leave_out_the_size(images, tmp_path):
    shape = {"label": "dog", "points": np.reshape(RING, (-1, 2)).tolist()}
    path = labelme(tmp_path, shape, imageHeight=None, imageWidth=None)
    assert np.array_equal(the_mask(read_annotations(path, images)), rectangle())


@pytest.mark.parametrize(
    ("shape", "fields", "message"),
    [
        ({"points": [[1, 1]], "shape_type": "circle"}, {}, "it is a circle; make it a polygon"),
        ({"points": [], "shape_type": "point"}, {}, r"shapes\[0\] cannot be used"),
        ({"points": [], "shape_type": "rectangle"}, {}, r"shapes\[0\] cannot be used"),
        ({"points": [[float("nan"), 1], [2, 3]], "shape_type": "rectangle"}, {}, "is no number"),
        ({"points": [[1, 1], [9, 9]]}, {}, "no polygon of the segmentation has three points"),
        ({"points": [[1, 1]], "shape_type": "mask", "mask": "?"}, {}, "cannot be used"),
        (
            {"points": [[1, 1]], "shape_type": "mask", "mask": ""},
            {"imageHeight": None, "imageWidth": None},
            "it needs imageHeight and imageWidth",
        ),
        ({"points": [[1, 1]]}, {"imageHeight": "tall"}, "'tall' is no whole number"),
        ({"points": [[1, 1]]}, {"shapes": None}, "shapes is no list, as LabelMe writes it"),
    ],
)
def test_a_damaged_shape_of_labelme_is_named(shape, fields, message, images, tmp_path):
    with pytest.raises(UserError, match=message):
        read_annotations(labelme(tmp_path, {"label": "dog"} | shape, **fields), images)


def test_hidden_copies_are_no_annotations(images, tmp_path):
    source = tmp_path / "annotations"
    source.mkdir()
    shape = {"label": "dog", "points": [[2, 3], [12, 9]], "shape_type": "rectangle"}
    labelme(source, shape)
    (source / "._a.json").write_bytes(b"\0\5\x16\7")  # of an archive of macOS
    for hidden in ("__MACOSX", ".ipynb_checkpoints"):
        (source / hidden).mkdir()
        labelme(source / hidden, shape, imagePath="gone.jpg")
    (annotations,) = read_annotations(source, images).annotations()
    assert annotations == {"dog": [Box(2, 3, 12, 9)]}


def test_an_export_of_roboflow_has_notes_and_labels_beside_images(photo, tmp_path):
    export = tmp_path / "export"
    for split in ("train", "valid"):
        (export / split / "images").mkdir(parents=True)
        photo(1, SIZE).save(export / split / "images" / "a.jpg")
    yolo(export / "train" / "labels", "1 0.5 0.5 0.2 0.4", "names: [dog, cat]")
    yolo(export / "valid" / "labels", "0 0.5 0.5 0.2 0.4", "names: [dog, cat]")
    (export / "data.yaml").write_text("names: [dog, cat]\n")
    (export / "README.roboflow.txt").write_text("cows - v1\n")
    drawing = read_annotations(export, export)
    found = {
        Path(image.file_name).relative_to(export).as_posix(): list(annotations)
        for image, annotations in zip(drawing.images, drawing.annotations(), strict=True)
    }
    assert found == {"train/images/a.jpg": ["cat"], "valid/images/a.jpg": ["dog"]}


@pytest.mark.parametrize(
    ("names", "line", "name"),
    [
        ("names: [no, yes]", "0", "no"),  # words that YAML takes for truth values
        ("names: {0: dog, 7: cat}", "7", "cat"),  # numbers with a gap
        ("names: {'0': dog, '10': cow, '2': cat}", "10", "cow"),
        ("names: [1, 2.0]", "1", "2.0"),
    ],
)
def test_a_number_of_yolo_is_the_class_that_data_yaml_says(names, line, name, images, tmp_path):
    source = yolo(tmp_path / "yolo", f"{line} 0.5 0.5 0.2 0.4", names)
    (annotations,) = read_annotations(source, images).annotations()
    assert list(annotations) == [name]


def test_names_of_yolo_the_other_way_round_are_refused(images, tmp_path):
    source = yolo(tmp_path / "yolo", "0 0.5 0.5 0.2 0.4", "names: {dog: 0, cat: 1}")
    with pytest.raises(UserError, match="data.yaml: names has the key 'dog'; write NUMBER: NAME"):
        read_annotations(source, images)


def test_blank_lines_of_classes_txt_are_no_classes(images, tmp_path):
    source = yolo(tmp_path / "yolo", "1 0.5 0.5 0.2 0.4", "")
    (source / "classes.txt").write_text("dog \r\ncat\r\n\r\n", newline="")
    assert read_annotations(source, images).classes == ("dog", "cat")


@pytest.mark.parametrize("line", ["0 0.5 0.5 0.2 0.4 0.93", "0", "0 0.5 0.5"])
def test_a_line_of_yolo_with_another_number_of_values_is_named(line, images, tmp_path):
    source = yolo(tmp_path / "yolo", line, "names: [dog]")
    with pytest.raises(UserError, match=r"a.txt, line 1: .* after that of the class; a box has 4"):
        read_annotations(source, images)


def test_accents_compare_as_they_look(photo, tmp_path):
    stored, typed = (unicodedata.normalize(form, "pré") for form in ("NFD", "NFC"))
    (tmp_path / "photos").mkdir()
    photo(1, SIZE).save(tmp_path / "photos" / f"{stored}.jpg")
    box = {"bbox": [1, 1, 5, 5]}
    path = coco(
        tmp_path, box, image={"file_name": f"{typed}.jpg"}, category={"name": f"{stored} vert"}
    )
    drawing = read_annotations(
        path, tmp_path / "photos", classes=[f"{typed} vert"], files=[f"{typed}.jpg"]
    )
    assert drawing.classes == (f"{stored} vert",) and len(drawing.prompts) == 1


def test_names_on_the_command_line_may_hold_commas_and_spaces(images, tmp_path):
    path = coco(tmp_path, {"bbox": [1, 1, 5, 5]}, category={"name": "dog, brown"})
    out = tmp_path / "prompts.json"
    words = ["prompts", str(path), "--images", str(images), "--out", str(out)]
    assert main([*words, "--classes", '"dog, brown"', "--files", "a.jpg, b.jpg"]) == 0
    assert prompts_file.read(out).classes == ("dog, brown",)
    assert main([*words, "--classes", "dog, brown"]) == 2


@pytest.mark.parametrize("name", ["export.zip", "a.xml", "instances"])
def test_a_file_of_another_format_is_named(name, images, tmp_path):
    (tmp_path / name).write_bytes(b"PK\3\4\xff")
    with pytest.raises(UserError, match=f"{name} is no .json file; give one of COCO or LabelMe"):
        read_annotations(tmp_path / name, images)


@pytest.mark.parametrize("legend", ["index;name\n0;background\n1;dog\n", "", "0,background\n"])
def test_a_legend_without_names_is_named(legend, images, tmp_path):
    (tmp_path / "masks").mkdir()
    Image.fromarray(np.ones(SIZE, np.uint8)).save(tmp_path / "masks" / "a.PNG")
    (tmp_path / "masks" / "legend.csv").write_text(legend)
    with pytest.raises(UserError, match="legend.csv has no column `name`"):
        read_annotations(tmp_path / "masks", images)


def test_a_coloured_mask_is_refused_with_a_way_out(images, tmp_path):
    (tmp_path / "masks").mkdir()
    Image.new("RGB", SIZE[::-1], "red").save(tmp_path / "masks" / "a.png")
    with pytest.raises(UserError, match="is a colour picture; export masks whose pixels are class"):
        read_annotations(tmp_path / "masks", images, classes=["dog"])
