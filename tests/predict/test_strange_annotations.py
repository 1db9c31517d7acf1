"""Habits of other programs and systems: each is read to the right value, or named with its mend."""

import base64
import io
import json
import unicodedata
from pathlib import Path

import numpy as np
import pytest
from PIL import ExifTags, Image

from la.__main__ import main
from la.errors import MissingFile, UserError
from la.formats.png_masks import read_masks
from la.predict.prompts import prompts_file
from la.predict.prompts.from_annotations import read_annotations
from la.predict.prompts.photos import open_photo
from la.predict.support_file import read_support_file
from la.types import Box

SIZE = (20, 30)
RING = [2, 3, 12, 3, 12, 9, 2, 9]  # a rectangle, drawn as rows 3 to 8 and columns 2 to 11

PAIRS = [[2, 3], [12, 3], [12, 9], [2, 9]]
POINTS = [{"x": x, "y": y} for x, y in PAIRS]


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
        ({"segmentation": PAIRS}, {}, {}),
        ({"segmentation": [PAIRS]}, {}, {}),
        ({"segmentation": POINTS}, {}, {}),
        ({"segmentation": [POINTS]}, {}, {}),
        ({"bbox": None, "area": "none"}, {}, {}),
        ({}, {"file_name": "A.JPG"}, {}),
        ({}, {"file_name": "https://x.org/images/a.jpg?sig=1"}, {}),
        ({}, {"file_name": "C:\\set\\images\\a.jpg"}, {}),
        ({"image_id": 10**30}, {"id": 10**30}, {}),
        ({"category_id": 0}, {}, {"id": 0}),
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
        (
            {"segmentation": [[1, 1, 9, 1, float("nan"), 9]]},
            "a polygon holds nan, which is not a finite number",
        ),
        (
            {"segmentation": [{"x": 1, "y": 1}, {"x": 9, "y": float("inf")}, {"x": 9, "y": 9}]},
            "a polygon holds inf, which is not a finite number",
        ),
        (
            {"segmentation": [[[1, 1, 0], [9, 1, 0], [9, 9, 0]]]},
            r"a polygon holds \[1, 1, 0\], which is not a pair of x and y",
        ),
        (
            {"segmentation": [[1, 1, 9, 1, 9]]},
            "a polygon has 5 numbers, which are no pairs of x and y",
        ),
        ({"segmentation": [[1, 1, 10**9, 1, 5, 9]]}, "a polygon leaves the image"),
        ({"segmentation": [[1, 1, None, 1, 5, 9]]}, "a polygon holds None, no number"),
        ({"segmentation": {"size": [20, 30], "counts": "zzzz0"}}, "run lengths do not sum up"),
        ({"segmentation": {"size": [30, 20], "counts": [600]}}, "run lengths are of size"),
        ({"segmentation": {"counts": [600]}}, "run lengths are of size None"),
        ({"segmentation": "[[1, 1]]"}, r"annotations\[0\] .* is neither polygons nor runs"),
        ({}, r"annotations\[0\] cannot be used .it has neither a mask nor a box"),
        (
            {"bbox": [float("nan"), 1, 5, 5]},
            r"bbox \[nan, 1, 5, 5\] holds nan, which is not a finite number",
        ),
        (
            {"bbox": [1, 1, None, 5]},
            r"bbox \[1, 1, None, 5\] holds None, which is not a finite number",
        ),
        ({"bbox": [1, 1, 5, 5], "image_id": 8}, "no entry has the id that its image_id says, 8"),
        ({"bbox": [1, 1, 5, 5], "category_id": None}, "its category_id says, 'None'"),
        ({"bbox": "1 1 5 5"}, "bbox '1 1 5 5' is not a list of x, y, width and height"),
        ({"bbox": [0.1, 0.1, 0.5, 0.5]}, "all coordinates of boxes lie between 0 and 1"),
    ],
)
def test_a_damaged_annotation_of_coco_is_named(annotation, message, images, tmp_path):
    with pytest.raises(UserError, match=message):
        read_annotations(coco(tmp_path, annotation), images)


@pytest.mark.parametrize(
    ("field", "entries", "message"),
    [
        ("categories", [{"id": 4, "name": None}], "categories cannot be used .name is None, no te"),
        (
            "categories",
            [{"id": 4, "name": "dog"}, {"id": "4", "name": "cat"}],
            "the id 4 belongs to 'dog' and 'cat'; give each its own",
        ),
        (
            "categories",
            [{"id": 4, "name": "dog"}, {"id": 5, "name": "dog "}],
            "instances.json has two classes named 'dog'; merge them",
        ),
        (
            "images",
            [{"id": 7, "file_name": "a.jpg"}, {"id": 7, "file_name": "b.jpg"}],
            "the id 7 belongs to 'a.jpg' and 'b.jpg'; give each its own",
        ),
        ("images", [{"id": 7, "file_name": None}], "file_name is None, no text"),
    ],
)
def test_ids_and_names_that_contradict_are_refused(field, entries, message, images, tmp_path):
    path = coco(tmp_path, {"bbox": [1, 1, 5, 5]})
    path.write_text(json.dumps(json.loads(path.read_text()) | {field: entries}))
    with pytest.raises(UserError, match=message):
        read_annotations(path, images)


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-32"])
def test_json_of_windows_is_read(encoding, images, tmp_path):
    path = coco(tmp_path, {"segmentation": [RING]}, category={"name": "Ma\u00dfband"})
    path.write_text(path.read_text(), encoding=encoding)
    drawing = read_annotations(path, images)
    assert drawing.classes == ("Ma\u00dfband",)
    saved = tmp_path / "prompts.json"
    prompts_file.write(drawing, saved)
    saved.write_text(saved.read_text(), encoding=encoding)
    assert prompts_file.read(saved).prompts == drawing.prompts


@pytest.mark.parametrize("content", ["", '{"a": 1}\n{"a": 2}', f'{{"annotations": {"1" * 5000}}}'])
def test_what_is_no_json_is_named(content, images, tmp_path):
    path = tmp_path / "instances.json"
    path.write_text(content)
    fault = "not JSON" if content else "empty"
    with pytest.raises(UserError, match=f"instances.json is {fault}.*; download or export"):
        read_annotations(path, images)
    with pytest.raises(UserError, match=f"instances.json is {fault}"):
        prompts_file.read(path)


def test_a_picture_in_the_place_of_a_text_is_called_so(images, tmp_path):
    for name in ("prompts.json", "data.yaml"):
        Image.new("RGB", (9, 9)).save(tmp_path / name, "JPEG")
    with pytest.raises(UserError, match="prompts.json does not hold text but bytes, as pictures"):
        prompts_file.read(tmp_path / "prompts.json")
    with pytest.raises(MissingFile, match="is a folder; draw_prompts.ipynb saves a prompts.json"):
        read_support_file(tmp_path)
    (tmp_path / "prompts.json").unlink()
    (tmp_path / "a.txt").write_text("0 0.1 0.1 0.2 0.1 0.2 0.2")
    with pytest.raises(UserError, match="data.yaml does not hold text but bytes"):
        read_annotations(tmp_path, images)


@pytest.mark.parametrize(
    "content",
    [
        "\ud800",
        {"images": [], "categories": [{"name": "\ud800"}], "prompts": []},
        {
            "images": [{"file_name": "\ud800", "width": 9, "height": 9}],
            "categories": [],
            "prompts": [],
        },
    ],
)
def test_half_a_character_in_prompts_json_is_named(content, tmp_path):
    path = tmp_path / "prompts.json"
    path.write_text(json.dumps(content))
    with pytest.raises(UserError, match="prompts.json: a text holds half a character"):
        prompts_file.read(path)


@pytest.mark.parametrize("content", [{"_via_settings": {}}, [{"id": 1, "annotations": []}], 5])
def test_json_of_another_program_is_named_with_what_to_do(content, images, tmp_path):
    path = tmp_path / "project.json"
    path.write_text(json.dumps(content))
    with pytest.raises(UserError, match="neither .* nor shapes .LabelMe.; export the annotations"):
        read_annotations(path, images)


@pytest.mark.parametrize(
    ("stated", "stored"),
    [("my%20photo.jpg", "my photo.jpg"), ("Shot 9 PM.jpg", "Shot 9\u202fPM.JPG")],
)
def test_a_photograph_is_found_as_in_a_data_set(stated, stored, photo, tmp_path):
    (tmp_path / "photos").mkdir()
    photo(1, SIZE).save(tmp_path / "photos" / stored)
    path = coco(tmp_path, {"segmentation": [RING]}, image={"file_name": stated})
    (entry,) = read_annotations(path, tmp_path / "photos").images
    assert Path(entry.file_name).name == stored


def test_a_photograph_of_another_folder_is_not_taken(photo, tmp_path):
    (tmp_path / "photos" / "cam2").mkdir(parents=True)
    photo(1, SIZE).save(tmp_path / "photos" / "cam2" / "a.jpg")
    path = coco(tmp_path, {"segmentation": [RING]}, image={"file_name": "cam1/a.jpg"})
    with pytest.raises(MissingFile, match=r"no file cam1/a.jpg .*cam2/a.jpg lies in another"):
        read_annotations(path, tmp_path / "photos")


@pytest.mark.parametrize("name", ["a", "A", "scan.tif"])
def test_labels_name_a_photograph_without_its_suffix(name, photo, tmp_path):
    (tmp_path / "photos" / "masks").mkdir(parents=True)
    photo(1, SIZE).save(tmp_path / "photos" / f"{name.lower()}.JPG")
    photo(1, SIZE).save(tmp_path / "photos" / "masks" / f"{name}.png")  # is no photograph
    source = yolo(tmp_path / "yolo", "0 0.5 0.5 0.2 0.4", "names: [dog]")
    (source / "a.txt").rename(source / f"{name}.txt")
    (entry,) = read_annotations(source, tmp_path / "photos").images
    assert Path(entry.file_name).name == f"{name.lower()}.JPG"
    photo(1, SIZE).save(tmp_path / "photos" / f"{name}.png")
    with pytest.raises(UserError, match=f"are both named {name}; keep one"):
        read_annotations(source, tmp_path / "photos")


def test_a_web_address_is_the_name_of_a_photograph_in_lvis(images, tmp_path):
    path = coco(tmp_path, {"segmentation": [RING]}, image={"coco_url": "http://x.org/train/a.jpg"})
    content = json.loads(path.read_text())
    del content["images"][0]["file_name"]
    path.write_text(json.dumps(content))
    assert np.array_equal(the_mask(read_annotations(path, images)), rectangle())


def test_files_that_are_not_annotated_are_named(images, tmp_path):
    path = coco(tmp_path, {"segmentation": [RING]})
    assert read_annotations(path, images, files=["A"]).prompts
    with pytest.raises(UserError, match="no annotation on a photograph 'b.jpg'; it annotates a.jp"):
        read_annotations(path, images, files=["a.jpg", "b.jpg"])


@pytest.mark.parametrize("orientation", [5, 6, 7, 8])
def test_what_was_marked_on_stored_pixels_is_turned_with_the_photograph(orientation, tmp_path):
    """Two corners tell all turns apart; the photograph itself is the oracle."""
    pixels = np.zeros((*SIZE, 3), np.uint8)
    pixels[3:9, 2:12] = 255
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = orientation
    (tmp_path / "photos").mkdir()
    Image.fromarray(pixels).save(tmp_path / "photos" / "a.png", exif=exif)
    upright = np.asarray(open_photo(tmp_path / "photos" / "a.png"))[..., 0] > 0
    stated = {"file_name": "a.png"}
    path = coco(tmp_path, {"segmentation": [RING]}, image=stated)
    drawing = read_annotations(path, tmp_path / "photos")
    assert (drawing.images[0].height, drawing.images[0].width) == upright.shape == SIZE[::-1]
    assert np.array_equal(the_mask(drawing), upright)
    path = coco(tmp_path, {"bbox": [2, 3, 10, 6]}, image=stated)
    box = the_mask(read_annotations(path, tmp_path / "photos"))
    rows, columns = np.nonzero(upright)
    assert box == Box(columns.min(), rows.min(), columns.max() + 1, rows.max() + 1)
    shape = {"label": "dog", "shape_type": "point", "points": [[2.5, 3.5]]}
    drawing = read_annotations(labelme(tmp_path, shape, imagePath="a.png"), tmp_path / "photos")
    point = the_mask(drawing)
    corner = np.zeros((*SIZE, 3), np.uint8)
    corner[3, 2] = 255
    Image.fromarray(corner).save(tmp_path / "photos" / "a.png", exif=exif)
    marked = np.asarray(open_photo(tmp_path / "photos" / "a.png"))[..., 0] > 0
    assert np.argwhere(marked).tolist() == [[int(point.y), int(point.x)]]


@pytest.fixture
def prompts(photo, tmp_path):
    """Writes a prompts.json beside `photos/`, whose one photograph is a.jpg, with another name."""
    (tmp_path / "photos").mkdir()
    photo(1, SIZE).save(tmp_path / "photos" / "pr\u00e9 1.jpg")

    def write(name: str) -> Path:
        path = coco(tmp_path, {"segmentation": [RING]}, image={"file_name": "pr\u00e9 1.jpg"})
        drawing = read_annotations(path, tmp_path / "photos")
        prompts_file.write(drawing, tmp_path / "prompts.json")
        content = json.loads((tmp_path / "prompts.json").read_text())
        assert content["images"][0]["file_name"] == "photos/pr\u00e9 1.jpg"
        content["images"][0]["file_name"] = name
        (tmp_path / "prompts.json").write_text(json.dumps(content))
        return tmp_path / "prompts.json"

    return write


@pytest.mark.parametrize(
    "name",
    [
        "photos\\pr\u00e9 1.jpg",
        "photos/pre\u0301 1.JPG",
        "Photos/pr\u00e9 1.jpg",
        "photos/pr\u00e9%201.jpg",
        "C:\\work\\photos\\pr\u00e9 1.jpg",
        "/Users/me/photos/pr\u00e9 1.jpg",
    ],
)
def test_a_photograph_of_prompts_json_may_be_spelled_otherwise(name, prompts, tmp_path):
    """As in a data set; the command line and the editor find the same file."""
    from la.widgets import PromptEditor

    path = prompts(name)
    (support,) = read_support_file(path).photos
    assert support.path.samefile(tmp_path / "photos" / "pr\u00e9 1.jpg")
    editor = PromptEditor()
    editor.load(path)
    assert editor.drawing.images[0].file_name == str(support.path)
    editor.close()


def test_a_photograph_of_prompts_json_in_another_folder_is_not_taken(prompts, tmp_path):
    for name in ("pr\u00e9 1.jpg", "other/pr\u00e9 1.jpg", "photos/sub/pr\u00e9 1.jpg"):
        (tmp_path / "photos" / "sub").mkdir(exist_ok=True)
        with pytest.raises(MissingFile, match=f"no photograph {tmp_path}/{name}, which"):
            read_support_file(prompts(name))
    prompts("photos/pr\u00e9 1.jpg")
    photo = tmp_path / "photos" / "pr\u00e9 1.jpg"
    photo.rename(photo.parent / "sub" / photo.name)
    with pytest.raises(MissingFile, match="no photograph"):
        read_support_file(tmp_path / "prompts.json")
    for name in ("A.jpg", "a.JPG"):
        (photo.parent / name).write_bytes((photo.parent / "sub" / photo.name).read_bytes())
    content = json.loads((tmp_path / "prompts.json").read_text())
    content["images"][0]["file_name"] = "photos/a.jpg"
    (tmp_path / "prompts.json").write_text(json.dumps(content))
    with pytest.raises(UserError, match="are both named photos/a.jpg; keep one"):
        read_support_file(tmp_path / "prompts.json")


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


@pytest.mark.parametrize("points", [PAIRS, POINTS, RING])
def test_labelme_may_leave_out_the_size_and_write_points_otherwise(points, images, tmp_path):
    shape = {"label": "dog", "points": points}
    path = labelme(tmp_path, shape, imageHeight=None, imageWidth=None)
    assert np.array_equal(the_mask(read_annotations(path, images)), rectangle())


@pytest.mark.parametrize(
    ("shape", "fields", "message"),
    [
        (
            {"points": [[1, 1]], "shape_type": "circle"},
            {},
            "shape_type is .circle.; make it",
        ),
        ({"points": [], "shape_type": "point"}, {}, r"shapes\[0\] cannot be used"),
        ({"points": [], "shape_type": "rectangle"}, {}, r"shapes\[0\] cannot be used"),
        (
            {"points": [[float("nan"), 1], [2, 3]], "shape_type": "rectangle"},
            {},
            "points holds nan, which is not a finite number",
        ),
        (
            {"points": [[1, 1, 0], [9, 1, 0], [9, 9, 0]]},
            {},
            r"points is \[\[1, 1, 0\], .* not a list of \[x, y\]",
        ),
        ({"points": [[1, 1], [9, 9]]}, {}, "no polygon of the segmentation has three points"),
        ({"points": [[1, 1]], "shape_type": "mask", "mask": "?"}, {}, "cannot be used"),
        (
            {"points": [[1, 1]], "shape_type": "mask", "mask": ""},
            {"imageHeight": None, "imageWidth": None},
            "it needs imageHeight and imageWidth",
        ),
        ({"points": [[1, 1]]}, {"imageHeight": "tall"}, "'tall' is not a whole number"),
        ({"points": [[1, 1]]}, {"shapes": None}, "shapes is not a list, as LabelMe writes it"),
        ({"points": [[1, 1], [5, 1], [5, 5]], "label": None}, {}, "label is None, no text"),
        ({"points": [[1, 1], [5, 1], [5, 5]], "label": ""}, {}, "label is '', no text"),
        ({"points": [[1, 1], [5, 1], [5, 5]]}, {"imagePath": []}, r"imagePath is \[\], no text"),
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


def test_an_export_of_label_studio_has_notes_in_json_beside_labels(images, tmp_path):
    export = tmp_path / "export"
    yolo(export / "labels", "1 0.5 0.5 0.2 0.4", "")
    (export / "labels" / "data.yaml").rename(export / "classes.txt").write_text("dog\ncat\n")
    (export / "notes.json").write_text('{"categories": [], "info": {"year": 2024}}')
    (annotations,) = read_annotations(export, images).annotations()
    assert list(annotations) == ["cat"]
    labelme(export, {"label": "dog", "points": [[2, 3], [12, 9]], "shape_type": "rectangle"})
    (annotations,) = read_annotations(export, images).annotations()
    assert annotations == {"dog": [Box(2, 3, 12, 9)]}
    for path in (export / "a.json", export / "labels" / "a.txt"):
        path.unlink()
    with pytest.raises(UserError, match="notes.json has neither annotations"):
        read_annotations(export, images)


def test_masks_of_cvat_are_named_with_what_to_do(images, tmp_path):
    mask_files(tmp_path / "export" / "SegmentationClass", np.zeros((*SIZE, 3), np.uint8))
    (tmp_path / "export" / "labelmap.txt").write_text("# label:color_rgb:parts:actions\n")
    with pytest.raises(UserError, match="the colours of CVAT's labelmap.txt; export the annot"):
        read_annotations(tmp_path / "export", images)


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
    assert main([*words, "--classes", '"dog, brown"', "--files", "a.jpg, A"]) == 0
    assert prompts_file.read(out).classes == ("dog, brown",)
    assert main([*words, "--classes", "dog, brown"]) == 2


@pytest.mark.parametrize("name", ["export.zip", "a.xml", "instances"])
def test_a_file_of_another_format_is_named(name, images, tmp_path):
    (tmp_path / name).write_bytes(b"PK\3\4\xff")
    with pytest.raises(UserError, match=f"{name} is not a .json file; give COCO or LabelMe"):
        read_annotations(tmp_path / name, images)


def mask_files(folder: Path, pixels: np.ndarray, legend: str = "") -> Path:
    folder.mkdir(parents=True)
    Image.fromarray(pixels).save(folder / "a.png")
    if legend:
        (folder / "legend.csv").write_bytes(legend.encode("utf-8-sig"))
    return folder


def test_a_black_and_white_mask_of_one_class_is_that_class(images, tmp_path):
    masks = mask_files(tmp_path / "masks", 255 * rectangle().astype(np.uint8))
    drawing = read_annotations(masks, images, classes=["dog"])
    assert np.array_equal(the_mask(drawing), rectangle())
    ones = rectangle().astype(np.uint8)
    ones[0, 0] = 255  # with class numbers, 255 belongs to no class
    masks = mask_files(tmp_path / "numbers", ones)
    drawing = read_annotations(masks, images, classes=["dog"])
    assert np.array_equal(the_mask(drawing), rectangle())


def test_a_mask_of_each_form_is_decoded_once(images, tmp_path, monkeypatch):
    read = []
    monkeypatch.setattr(
        Image, "open", lambda path, open=Image.open: read.append(path) or open(path)
    )
    for name, value in (("white", 255), ("ones", 1)):
        masks = mask_files(tmp_path / name, value * rectangle().astype(np.uint8))
        read.clear()
        (shape,) = read_masks(masks, [masks / "a.png"], ["dog"])[1]
        assert np.array_equal(shape.shape, rectangle()) and read == [masks / "a.png"]


@pytest.mark.parametrize("channels", ["grey", "grey, alpha", "alpha"])
def test_grey_masks_with_several_channels_are_masks(channels, images, tmp_path):
    white = np.full(SIZE, 255, np.uint8)
    shown = np.where(rectangle(), 255, 0).astype(np.uint8)
    layers = [white if channels == "alpha" else shown] * 3
    if channels != "grey":
        layers.append(shown if channels == "alpha" else white)
    mask_files(tmp_path / "masks" / "dog", np.dstack(layers))
    assert np.array_equal(the_mask(read_annotations(tmp_path / "masks", images)), rectangle())


@pytest.mark.parametrize(
    "legend",
    [
        "index,name\r\n0,background\r\n3,cat\r\n7,dog\r\n",
        "index,name\n3,cat\n7,dog\n",  # without background
        "name,index\ndog,7\ncat,3\n",
        "index;name\r\n0;background\r\n3;cat, small\r\n7;dog\r\n",  # of a spreadsheet
        'index,name,colour\n0,background,\n3,"cat\n(big)",\n7,dog,\n',
    ],
)
def test_a_legend_says_which_number_a_class_has(legend, images, tmp_path):
    masks = mask_files(tmp_path / "masks", 7 * rectangle().astype(np.uint16), legend)
    drawing = read_annotations(masks, images)
    ((name, (mask,)),) = drawing.annotations()[0].items()
    assert name == "dog" and np.array_equal(mask, rectangle())
    assert drawing.classes[0].startswith("cat") and len(drawing.classes) == 2
    (masks / "legend.csv").write_text("index,name\n0,background\n1,cat\n")
    with pytest.raises(UserError, match="has the value 7 for 1 class .1."):
        read_annotations(masks, images)
    (masks / "legend.csv").write_text("index,name\nseven,dog\n")
    with pytest.raises(UserError, match="legend.csv, line 2 has no number and name of a class"):
        read_annotations(masks, images)


@pytest.mark.parametrize("legend", ["index;class\n1;dog\n", "", "0,background\n"])
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


def test_labelme_files_may_leave_out_the_photograph_that_lies_beside_them(images, tmp_path):
    shape = {"label": "dog", "points": np.reshape(RING, (-1, 2)).tolist()}
    drawing = read_annotations(labelme(tmp_path, shape, imagePath=None), images)
    assert np.array_equal(the_mask(drawing), rectangle())


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
@pytest.mark.parametrize("suffix", [".yaml", ".yml"])
def test_texts_of_windows_are_read(encoding, suffix, images, tmp_path):
    folder = tmp_path / "yolo"
    yolo(folder, "", "")
    (folder / "data.yaml").unlink()
    (folder / f"data{suffix}").write_bytes("names: [Ka\u0308fer]\r\n".encode(encoding))
    line = " ".join(map(str, np.divide(RING, [30, 20] * 4)))
    (folder / "a.txt").write_bytes(f"0 {line}\r\n".encode(encoding))
    drawing = read_annotations(folder, images)
    assert np.array_equal(the_mask(drawing), rectangle())
    assert drawing.classes == ("Ka\u0308fer",)


@pytest.mark.parametrize("names", ["nc: 2", "names: dog", "names: []", "names: {}"])
def test_a_data_yaml_without_names_is_named(names, images, tmp_path):
    folder = tmp_path / "yolo"
    yolo(folder, "0 0.1 0.1 0.2 0.1 0.2 0.2", names)
    with pytest.raises(UserError, match="data.yaml has no list `names`; add it, with the names"):
        read_annotations(folder, images)


@pytest.mark.parametrize(
    ("names", "classes"),
    [
        ('names:\n  0: "ant: red"\n  1: no\n', ("ant: red", "no")),
        ('names: ["ant: red", 7, true]', ("ant: red", "7", "true")),
    ],
)
def test_names_of_yolo_are_texts_whatever_they_mean_in_yaml(names, classes, images, tmp_path):
    line = " ".join(map(str, np.divide(RING, [30, 20] * 4)))
    drawing = read_annotations(yolo(tmp_path / "yolo", f"0 {line}", names), images)
    assert drawing.classes == classes


@pytest.mark.parametrize(
    ("names", "message"),
    [
        ("names:\n  0: ant: red\n", "is not YAML: mapping values .* line 2, column 9: "),
        ("names:\n  - ant: red\n  - bee\n", "names holds {'ant': 'red'}, which is not a text"),
        ("names: {0: [ant]}\n", r"names holds \['ant'\], which is not a text"),
    ],
)
def test_a_colon_in_a_name_of_yolo_needs_quotes(names, message, images, tmp_path):
    with pytest.raises(UserError, match=f"data.yaml.*{message}.*; put a name .* in quotes"):
        read_annotations(yolo(tmp_path / "yolo", "0 0.1 0.1 0.2 0.1 0.2 0.2", names), images)


def test_files_of_another_format_in_a_folder_are_named(images, tmp_path):
    folder = tmp_path / "voc"
    folder.mkdir()
    with pytest.raises(UserError, match=r"or masks \(\.png\)$"):
        read_annotations(folder, images)
    for number in range(5):
        (folder / f"{number}.xml").write_text("<annotation/>")
    with pytest.raises(UserError, match="but 0.xml, 1.xml, 2.xml and 2 more; export the an"):
        read_annotations(folder, images)


def test_black_and_white_masks_of_several_classes_are_refused(images, tmp_path):
    masks = mask_files(tmp_path / "masks", 255 * rectangle().astype(np.uint8))
    with pytest.raises(UserError, match="hold only 255, which belongs to none of 2 classes; give"):
        read_annotations(masks, images, classes=["dog", "cat"])


def test_names_of_prompts_json_that_look_alike_are_refused(prompts):
    path = prompts("photos/pr\u00e9 1.jpg")
    content = json.loads(path.read_text())
    for names in (["\u00e9", "e\u0301"], ["dog", " dog"], [" "]):
        content["categories"] = [{"name": name} for name in names]
        path.write_text(json.dumps(content))
        with pytest.raises(UserError, match="classes need different names"):
            prompts_file.read(path)


def test_numbers_of_prompts_json_may_be_text_or_floats(prompts):
    path = prompts("photos/pr\u00e9 1.jpg")
    expected = prompts_file.read(path)
    content = json.loads(path.read_text())
    content["images"][0] |= {"width": "30", "height": 20.0}
    content["prompts"][0] |= {"img": "0", "cls": 1.0}
    path.write_text(json.dumps(content))
    assert prompts_file.read(path) == expected
    for value in (30.5, True, None, "wide"):
        content["images"][0]["width"] = value
        path.write_text(json.dumps(content))
        with pytest.raises(UserError, match=r"Expected `int`, got `\w+` - at `images\[0\].width`"):
            prompts_file.read(path)
