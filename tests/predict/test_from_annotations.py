"""Annotations of other programs become prompts; what `la predict` exports comes back in."""

import json

import numpy as np
import pytest
from PIL import Image
from pycocotools import mask as coco_mask

from la.__main__ import main
from la.errors import MissingFile, UserError
from la.formats.coco import CocoWriter
from la.formats.export import FORMATS, write_legend
from la.formats.label_maps import LabelMap, coco
from la.predict.prompts import prompts_file
from la.predict.prompts.from_annotations import read_annotations
from la.predict.support_file import read_support_file
from la.types import Box, Point

CLASSES = ("dog", "cow", "cat")
SIZE = (20, 30)


def labels(seed: int) -> np.ndarray:
    coarse = np.random.default_rng(seed).choice([0, 0, 1, 3], (5, 6))
    return coarse.repeat(4, 0).repeat(5, 1).astype(np.uint8)


@pytest.fixture
def images(photo, tmp_path):
    folder = tmp_path / "photos"
    (folder / "more").mkdir(parents=True)
    photo(1, SIZE).save(folder / "a.jpg")
    photo(2, SIZE).save(folder / "more" / "b.png")
    return folder


@pytest.fixture
def maps() -> list[LabelMap]:
    names = ("a.jpg", "more/b.png")
    return [LabelMap.of(name, labels(n), np.ones(SIZE)) for n, name in enumerate(names)]


def check(drawing, maps, images) -> None:
    """The drawing holds the masks of the label maps and nothing else."""
    assert [image.file_name for image in drawing.images] == [
        str(images / label_map.file_name) for label_map in maps
    ]
    for annotations, label_map in zip(drawing.annotations(), maps, strict=True):
        painted = np.zeros(SIZE, np.uint8)
        for name, prompts in annotations.items():
            (mask,) = prompts
            painted[mask] = CLASSES.index(name) + 1
        assert np.array_equal(painted, label_map.labels)


@pytest.mark.parametrize("name", list(FORMATS))
def test_every_export_comes_back_as_prompts_of_the_same_pixels(name, maps, images, tmp_path):
    target = tmp_path / "exported"
    FORMATS[name](maps, CLASSES, images, target)
    source = target if target.is_dir() else target.with_name("exported.json")
    drawing = read_annotations(source, images)
    present = ("cat", "dog") if name == "labelme" else CLASSES  # LabelMe lists no classes
    assert drawing.classes == present
    check(drawing, maps, images)


def test_png_masks_with_a_legend_come_back(maps, images, tmp_path):
    for label_map in maps:
        label_map.save(tmp_path / "masks" / f"{label_map.file_name}.png", picture="")
    write_legend(CLASSES, tmp_path / "masks" / "legend.csv")
    drawing = read_annotations(tmp_path / "masks", images)
    assert drawing.classes == CLASSES
    check(drawing, maps, images)


def test_png_masks_of_class_numbers_take_the_names_that_are_given(maps, images, tmp_path):
    (tmp_path / "masks" / "more").mkdir(parents=True)
    for label_map, stem in zip(maps, ("a", "more/b"), strict=True):
        pixels = label_map.labels.copy()
        pixels[pixels == 0] = 255  # belongs to no class
        Image.fromarray(pixels).save(tmp_path / "masks" / f"{stem}.png")
    check(read_annotations(tmp_path / "masks", images, classes=CLASSES), maps, images)
    with pytest.raises(UserError, match="no legend.csv; name the classes"):
        read_annotations(tmp_path / "masks", images)
    with pytest.raises(UserError, match="value 3 for 2 classes"):
        read_annotations(tmp_path / "masks", images, classes=CLASSES[:2])


def test_a_folder_of_masks_for_each_class_comes_in(maps, images, tmp_path):
    for label_map, stem in zip(maps, ("a", "more/b"), strict=True):
        for row in label_map.class_margins:
            path = tmp_path / "masks" / CLASSES[row - 1] / f"{stem}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(255 * (label_map.labels == row).astype(np.uint8)).save(path)
    drawing = read_annotations(tmp_path / "masks", images)
    assert drawing.classes == ("cat", "dog")
    check(drawing, maps, images)


def coco_file(path, annotations, image_id=7):
    content = {
        "images": [{"id": image_id, "file_name": "a.jpg", "width": 30, "height": 20}],
        "categories": [{"id": 4, "name": "dog"}, {"id": 9, "name": "cat"}],
        "annotations": [{"image_id": 7, "category_id": 9, **entry} for entry in annotations],
    }
    path.write_text(json.dumps(content))
    return path


def test_coco_boxes_are_box_prompts_and_masks_are_masks(images, tmp_path):
    runs = {"size": [20, 30], "counts": [5, 10, 585]}
    compressed = coco_mask.frPyObjects(runs, 20, 30)
    compressed = {"size": [20, 30], "counts": compressed["counts"].decode()}
    entries = [
        {"bbox": [2, 3, 10, 5]},
        {"bbox": [25, 3, 5.4, 5], "segmentation": []},  # a little beyond the picture
        {"segmentation": runs, "category_id": 4},
        {"segmentation": compressed, "category_id": 4},
        {"segmentation": [8, 8, 12, 8, 12, 12, 8, 12], "category_id": 4},  # a flat ring
    ]
    path = coco_file(tmp_path / "boxes.json", entries, image_id="7")
    (annotations,) = read_annotations(path, images).annotations()
    assert annotations["cat"] == [Box(2, 3, 12, 8), Box(25, 3, 30, 8)]
    expected = np.zeros(600, bool)
    expected[5:15] = True
    expected = expected.reshape(SIZE, order="F")
    expected[8:12, 8:12] = True
    (mask,) = annotations["dog"]
    assert np.array_equal(mask, expected)
    only = read_annotations(path, images, classes=["cat"])
    assert only.classes == ("cat",) and len(only.prompts) == 2


def test_labelme_rectangles_and_points_and_yolo_boxes(images, tmp_path):
    shapes = [
        {"label": "dog", "shape_type": "rectangle", "points": [[12, 8], [2, 3]]},
        {"label": "cat", "shape_type": "point", "points": [[4, 5]]},
    ]
    content = {"shapes": shapes, "imagePath": "..\\photos\\a.jpg"}
    content |= {"imageHeight": 20, "imageWidth": 30}
    (tmp_path / "a.json").write_text(json.dumps(content))
    (annotations,) = read_annotations(tmp_path / "a.json", images).annotations()
    assert annotations == {"dog": [Box(2, 3, 12, 8)], "cat": [Point(4, 5)]}

    (tmp_path / "yolo").mkdir()
    (tmp_path / "yolo" / "a.txt").write_text("1 0.5 0.5 0.2 0.4\n")
    (tmp_path / "yolo" / "classes.txt").write_text("dog\ncat\n")
    (annotations,) = read_annotations(tmp_path / "yolo", images).annotations()
    (box,) = annotations["cat"]
    assert [box.x0, box.y0, box.x1, box.y1] == pytest.approx([12, 6, 18, 14])


@pytest.mark.parametrize("written", ["a.jpg", "a", "A.JPG"])
@pytest.mark.parametrize("source", ["yolo", "masks"])
def test_photographs_are_chosen_where_annotations_name_them_without_suffix(
    written, source, images, tmp_path
):
    (tmp_path / "yolo").mkdir()
    (tmp_path / "yolo" / "classes.txt").write_text("dog\n")
    (tmp_path / "masks" / "dog").mkdir(parents=True)
    for stem in ("a", "b"):
        (tmp_path / "yolo" / f"{stem}.txt").write_text("0 0.5 0.5 0.2 0.4\n")
        Image.new("L", SIZE[::-1], 255).save(tmp_path / "masks" / "dog" / f"{stem}.png")
    drawing = read_annotations(tmp_path / source, images, files=[written])
    assert [image.file_name for image in drawing.images] == [str(images / "a.jpg")]
    with pytest.raises(UserError, match="no annotation on a photograph 'c.jpg'"):
        read_annotations(tmp_path / source, images, files=["c.jpg"])


def test_another_suffix_names_another_photograph(images, tmp_path):
    path = coco_file(tmp_path / "coco.json", [{"id": 1, "bbox": [2, 3, 10, 5]}])
    with pytest.raises(UserError, match="no annotation on a photograph 'a.png'"):
        read_annotations(path, images, files=["a.png"])


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (
            "-1 0.1 0.1 0.5 0.1 0.5 0.5",
            r"a.txt, line 2: .* does not begin with a class number .of 2 cl",
        ),
        ("0.5 0.1 0.1 0.5 0.1 0.5 0.5", "does not begin with a class number"),
        ("2 0.1 0.1 0.5 0.1 0.5 0.5", "does not begin with a class number"),
        ("dog 0.1 0.1 0.5 0.1 0.5 0.5", "holds something that is not a number"),
        ("1 3 2 15 2 15 10", "not shares of the image; divide x by its width"),
        ("1 0.1 0.1 0.5 0.1 0.5 nan", "holds nan, which is not a finite number"),
        ("inf 0.1 0.1 0.5 0.1 0.5 0.5", "holds inf, which is not a finite number"),
        ("1 0.1 0.1 0.5 0.1 0.5", "holds 5 numbers after that of the class; a box has 4"),
    ],
)
def test_a_wrong_line_of_yolo_is_named(line, message, images, tmp_path):
    folder = tmp_path / "yolo"
    folder.mkdir()
    (folder / "classes.txt").write_text("\ufeffdog\ncat\n", encoding="utf-8")
    (folder / "a.txt").write_text("0 0.5 0.5 0.2 0.4\n\n")
    assert read_annotations(folder, images).classes == ("dog", "cat")
    (folder / "a.txt").write_text(f"0 0.5 0.5 0.2 0.4\n{line}\n")
    with pytest.raises(UserError, match=message):
        read_annotations(folder, images)


def test_the_class_names_of_yolo_may_be_damaged(images, tmp_path):
    folder = tmp_path / "yolo"
    folder.mkdir()
    (folder / "a.txt").write_text("0 0.5 0.5 0.2 0.4\n")
    (folder / "data.yaml").write_text("names: [a\n")
    with pytest.raises(UserError, match="data.yaml is not YAML: while parsing"):
        read_annotations(folder, images)
    (folder / "data.yaml").write_bytes("names: [f\u00fc\u00df]".encode("latin-1"))
    with pytest.raises(
        UserError, match="data.yaml is not in UTF-8: byte 9, after .names: .f., belongs to another"
    ):
        read_annotations(folder, images)
    (folder / "data.yaml").write_text("")
    with pytest.raises(UserError, match="data.yaml has no list `names`"):
        read_annotations(folder, images)
    (folder / "data.yaml").unlink()
    with pytest.raises(UserError, match="has no data.yaml or classes.txt"):
        read_annotations(folder, images)


def test_the_command_writes_prompts_that_predict_reads(maps, images, tmp_path, capsys):
    path = tmp_path / "instances.json"
    path.write_text(json.dumps(coco(maps, CLASSES)))
    out = tmp_path / "work" / "prompts.json"
    words = ["prompts", str(path), "--images", str(images), "--out", str(out)]
    assert main([*words, "--classes", "cat,dog", "--files", "b"]) == 0
    assert "prompts on 1 photograph: cat, dog" in capsys.readouterr().out
    file = read_support_file(out)
    assert file.classes == ("cat", "dog") and len(file.photos) == 1
    assert file.photos[0].path.resolve() == (images / "more" / "b.png").resolve()
    expected = maps[1].labels
    assert np.array_equal(file.photos[0].prompts["cat"][0], expected == 3)
    assert prompts_file.read(out).images[0].file_name == "../photos/more/b.png"


def test_a_source_without_usable_shapes_writes_nothing(images, tmp_path, capsys):
    path = coco_file(
        tmp_path / "boxes.json",
        [
            {"bbox": [2, 3, 0, 5]},
            {"bbox": [31, 3, 5, 5]},
            {"segmentation": [[40, 2, 50, 2, 50, 9]], "category_id": 4},
        ],
    )
    out = tmp_path / "prompts.json"
    words = ["prompts", str(path), "--images", str(images), "--out", str(out)]
    assert main(words) == 2
    said = capsys.readouterr().err
    text = "contains no usable prompt: 3 shapes left out, marking no pixel of the photograph: "
    assert f"{text}a.jpg (dog)," in said
    assert not out.exists()


def test_shapes_that_leave_the_photograph_are_counted_and_named(images, tmp_path, capsys, caplog):
    path = coco_file(
        tmp_path / "boxes.json",
        [
            {"bbox": [25, 3, 5.4, 5]},  # as tools round
            {"bbox": [25, 3, 8, 5]},
            {"segmentation": [[2, 2, 50, 2, 50, 9]], "category_id": 9},
            {"bbox": [31, 3, 5, 5], "category_id": 4},
        ],
    )
    out = tmp_path / "prompts.json"
    assert main(["prompts", str(path), "--images", str(images), "--out", str(out)]) == 0
    assert capsys.readouterr().out.endswith(": 3 prompts on 1 photograph: cat\n")  # and no dog
    assert "2 shapes cut at the border of the image: a.jpg (cat), a.jpg (cat)" in caplog.text
    left_out = "1 shape left out, marking no pixel of the photograph: a.jpg (dog)"
    assert left_out in caplog.text
    (annotations,) = prompts_file.read(out).annotations()
    first, second, mask = annotations["cat"]
    assert (first, second) == (Box(25, 3, 30, 8), Box(25, 3, 30, 8))
    assert mask[:, 2:].any() and prompts_file.read(out).classes == ("dog", "cat")


@pytest.mark.parametrize("below", ["", "annotations"])
def test_a_bad_entry_points_to_the_command_that_lists_all(below, images, tmp_path):
    (tmp_path / "my set" / below).mkdir(parents=True)
    runs = {"size": [20, 30], "counts": [5, 10]}
    for entry in ({"bbox": [0, 0, 1]}, {"segmentation": runs}):
        path = coco_file(tmp_path / "my set" / below / "boxes.json", [entry])
        with pytest.raises(UserError) as error:
            read_annotations(path, images)
        hint = f"all such entries: python -m la data '{tmp_path}/my set'"
        assert str(error.value).endswith(f"; {hint}")


def test_prompts_are_not_made_for_a_place_that_cannot_be_written(images, tmp_path, capsys):
    path = coco_file(tmp_path / "boxes.json", [{"bbox": [2, 3, 10, 5]}])
    words = ["prompts", str(path), "--images", str(images), "--out"]
    assert main([*words, str(tmp_path)]) == 2
    said = f"la prompts: {tmp_path}: Is a directory; give the name of a file\n"
    assert capsys.readouterr().err == said
    assert main([*words, str(path / "prompts.json")]) == 2
    assert capsys.readouterr().err.startswith(f"la prompts: {path}: Not a directory; a file has")


def empty_coco(**lists):
    return json.dumps(CocoWriter(CLASSES).content | lists)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "instances.json is not JSON"),
        ("[]", "neither annotations .COCO. nor shapes .LabelMe."),
        ('{"annotations": []}', "instances.json has no list 'images'; a COCO file has"),
        (empty_coco(), "no annotation of these classes"),
        (empty_coco(annotations=[{"image_id": 5, "bbox": [0, 0, 1, 1]}]), r"annotations\[0\] can"),
        (empty_coco(annotations=[{"bbox": [0, 0, 1]}]), r"annotations\[0\] cannot be used"),
        (
            empty_coco(annotations=[{"segmentation": [[0.1, 0.1, 0.5, 0.1, 0.5, 0.5]]}]),
            "all coordinates of polygons lie between 0 and 1; .* multiply x by the image's width",
        ),
        (empty_coco(annotations=[None]), r"annotations\[0\] cannot be used"),
        (
            '{"shapes": [{}], "imagePath": "a.jpg"}',
            r"shapes\[0\] cannot be used .it has no 'points'",
        ),
    ],
)
def test_what_cannot_be_used_is_named(content, message, images, tmp_path):
    path = tmp_path / "instances.json"
    path.write_text(content)
    with pytest.raises(UserError, match=message):
        read_annotations(path, images)


def test_annotations_that_do_not_fit_their_photographs_are_refused(images, photo, tmp_path):
    path = coco_file(tmp_path / "boxes.json", [{"bbox": [2, 3, 10, 5]}])
    with pytest.raises(UserError, match="has no class 'bird'; it has dog, cat"):
        read_annotations(path, images, classes=["bird"])
    photo(1, (9, 9)).save(images / "a.jpg")
    with pytest.raises(UserError, match="has 9 x 9 pixels, its annotations are for 30 x 20"):
        read_annotations(path, images)
    (images / "a.jpg").unlink()
    with pytest.raises(MissingFile, match="no file a.jpg under"):
        read_annotations(path, images)
    runs = {"size": [20, 30], "counts": [5, 10]}
    photo(1, SIZE).save(images / "a.jpg")
    path = coco_file(tmp_path / "runs.json", [{"segmentation": runs}])
    with pytest.raises(UserError, match="a mask of cat cannot be drawn .run lengths do not sum up"):
        read_annotations(path, images)
    with pytest.raises(UserError, match="no file or folder .*none"):
        read_annotations(tmp_path / "none", images)
    (tmp_path / "nothing").mkdir()
    with pytest.raises(UserError, match="holds no COCO or LabelMe file"):
        read_annotations(tmp_path / "nothing", images)


def test_of_a_thousand_classes_some_have_to_be_chosen(images, tmp_path):
    path = coco_file(tmp_path / "boxes.json", [{"bbox": [2, 3, 10, 5]}])
    content = json.loads(path.read_text())
    content["categories"] += [{"id": n, "name": f"class {n}"} for n in range(10, 1000)]
    path.write_text(json.dumps(content))
    assert read_annotations(path, images).classes == ("cat",)  # what the photograph shows
    with pytest.raises(UserError, match="no class 'bird'; it has dog, .* class 17 and 982 more$"):
        read_annotations(path, images, classes=["bird"])
    box = content["annotations"][0]
    content["annotations"] = [box | {"category_id": n} for n in range(10, 1000)]
    path.write_text(json.dumps(content))
    with pytest.raises(UserError, match="has 990 classes on these photographs, .* at most 254"):
        read_annotations(path, images)
    assert read_annotations(path, images, classes=["class 80"]).classes == ("class 80",)


def test_the_editor_loads_annotations(images, tmp_path):
    from la.widgets import PromptEditor

    path = coco_file(tmp_path / "boxes.json", [{"bbox": [2, 3, 10, 5]}])
    editor = PromptEditor()
    editor.load(path, images=images)
    assert editor.classes == ["dog", "cat"]
    assert editor.prompts == [{"img": 0, "cls": 2, "type": "box", "pts": [[2, 3], [12, 8]]}]
    editor.close()
