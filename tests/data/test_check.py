"""The report on a folder names each fault that was planted, and nothing else."""

import csv
import io
import json
import os
import re
import shlex
import shutil
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from la import profiles
from la.__main__ import main
from la.data.check import check
from la.data.dataset import open_data
from la.errors import MissingFile
from la.experiment.setup.workbench import Workbench
from la.learn.weights.hub import SHIPPED
from la.rng import stream

NAMES = ("ant", "bee", "cat", "dog", "eel", "fox", "gnu", "hen")


def picture(path, seed, size=(30, 20), **options):
    noise = stream(seed, "picture").integers(256, size=size[::-1], dtype=np.uint8)
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(noise).save(path, **options)


@pytest.fixture
def folder(tmp_path):
    """Write n images with two classes each, of the first c names; `edit` may change the lists."""

    def folder(n_images=24, n_classes=8, edit=lambda content: None):
        content = {"images": [], "annotations": [], "categories": []}
        for i in range(1, n_images + 1):
            name = f"{i:03}.png"
            picture(tmp_path / "data/images" / name, i)
            content["images"].append({"id": i, "file_name": name, "width": 30, "height": 20})
            for k in range(min(2, n_classes)):
                x = 3 + 12 * k
                annotation = {
                    "id": 2 * i + k,
                    "image_id": i,
                    "category_id": 1 + (i + k) % n_classes,
                }
                annotation["segmentation"] = [[x, 4, x + 9, 4, x + 9, 13, x, 13]]
                content["annotations"].append(annotation)
        for c in range(n_classes):
            content["categories"].append({"id": c + 1, "name": NAMES[c % 8] + str(c // 8 or "")})
        edit(content)
        path = tmp_path / "data/annotations/instances_default.json"
        path.parent.mkdir(exist_ok=True)
        path.write_text(json.dumps(content))
        return tmp_path / "data"

    return folder


def report_of(path, tmp_path):
    return str(checked(path, tmp_path))


def checked(path, tmp_path, profile="quick"):
    config = profiles.profile(profile)
    return check(open_data(path, tmp_path / "cache"), path, config, SHIPPED)


def next_step(path, tmp_path, profile="quick"):
    return str(checked(path, tmp_path, profile)).splitlines()[-1]


def test_a_healthy_folder_has_counts_and_no_fault(folder, tmp_path):
    path = folder()
    lines = report_of(path, tmp_path).splitlines()
    data = open_data(path, tmp_path / "cache")
    can_be_query = [0] * 8
    for row, name in enumerate(NAMES):
        images = []
        for index in (data.train, data.test):
            of_class = index.annotation_category == row
            images.append(len(set(index.annotation_image[of_class].tolist())))
        assert lines[1 + row].split() == [str(row + 1), name, *map(str, images), "6", "0"]
        can_be_query[row] = images[1] >= 2
    ways = [can_be_query[fold] + can_be_query[fold + 4] for fold in range(4)]
    listed = ", ".join(map(str, ways))
    assert lines[9] == f"1-shot episodes: N is at most {listed} in folds 0, 1, 2, 3"
    next_line = f"next: python -m la evaluate --data {path} --checkpoint quick --ways {min(ways)}"
    assert lines[-1] == next_line
    assert not any(line.startswith(("fault", "note")) for line in lines)


FAULTS = (
    "have no file", "cannot be read", "have another size than", "have several files"
)  # fmt: skip


def faults(path):
    """Plant one fault of each kind; returns what the report says of it."""
    images = path / "images"
    for name in ("001.png", "002.png", "003.png", "004.png"):
        (images / name).unlink()
    (images / "005.png").write_bytes(b"hello")
    picture(images / "006.png", 6, size=(31, 20))
    shutil.copy(images / "007.png", images / "008.png")
    exif = Image.Exif()
    for name, orientation, size in (
        ("009", 3, (30, 20)),
        ("010", 6, (20, 30)),
        ("011", 6, (30, 20)),
    ):
        exif[0x112] = orientation
        picture(images / f"{name}.png", int(name), size=size, exif=exif)
    Image.fromarray(np.arange(600, dtype=np.uint16).reshape(20, 30)).save(images / "012.png")
    Image.new("RGB", (30, 20), (9, 9, 9)).save(images / "013.png")
    picture(images / "more/014.png", 99)
    picture(images / "new.jpg", 100)
    return (
        "have no file: 4 .001.png, 002.png, 003.png and 1 more.; put each where its ",
        "cannot be read: 1 .005.png: .*; replace each file",
        "have another size than the file states: 1 .006.png: 31 x 20, stated 30 x 20.; export",
        "have several files of their name: 1 .014.png.; keep one",
        "show a picture that an earlier entry shows: 1 .008.png.; each is merged",
        "stored rotated .*: 1 .010.png.; the stated size is the upright one",
        "stored rotated .* fits both ways: 1 .009.png.; each is read upright",
        "stored rotated .* is that of the stored pixels: 1 .011.png.; each stays as it is",
        "are greys of more than 8 bits: 1 .012.png.; each is scaled",
        "have one colour: 1 .013.png.$",
        "have no annotation: 1 .024.png.; left out of",
        r"in no entry of the list `images`: \d .*new.jpg.*; none is used",
    )


def test_every_fault_is_named_with_a_count_and_its_mend(folder, tmp_path):
    def edit(content):
        content["annotations"] = [a for a in content["annotations"] if a["image_id"] != 24]
        for i in range(5):
            content["annotations"].append({"id": 900 + i, "image_id": 77, "category_id": 1})

    path = folder(edit=edit)
    said = faults(path)
    report = report_of(path, tmp_path)
    for sentence in said:
        (line,) = [line for line in report.splitlines() if re.search(sentence, line)]
        file = "data" if "in no entry" in line else "annotations/instances_default.json"
        is_fault = any(f"images that {what}" in line for what in FAULTS)
        assert line.startswith(f"{'fault' if is_fault else 'note'}: {file}: ")
    assert (
        "fault: annotations/instances_default.json: entries are left out (reference): 5, such as\n"
        "    annotations[46]: "
    ) in report
    assert report.count("    annotations[") == 3
    assert report.splitlines()[-1] == (
        "next: mend the entries that are left out (5) and the images that have no file (4) and the "
        "images that have several files of their name (1) and the images that cannot be read (1) "
        f"and the images that have another size than the file states (1), and check again: "
        f"python -m la data {path}"
    )
    assert not checked(path, tmp_path).is_usable


def test_the_table_has_every_entry_of_every_finding(folder, tmp_path):
    def edit(content):
        for i in range(5):
            content["annotations"].append({"id": 900 + i, "image_id": 77, "category_id": 1})

    path = folder(edit=edit)
    for name in ("001.png", "002.png", "003.png", "004.png"):
        (path / "images" / name).unlink()
    rows = list(csv.DictReader(io.StringIO(checked(path, tmp_path).to_csv())))
    assert {row["kind"] for row in rows} == {"fault"}
    missing = [row["entry"] for row in rows if row["what"] == "images that have no file"]
    assert missing == ["001.png", "002.png", "003.png", "004.png"]
    references = [row["entry"] for row in rows if "(reference)" in row["what"]]
    assert [entry.split(":")[0] for entry in references] == [
        f"annotations[{n}]" for n in range(48, 53)
    ]


def test_notes_alone_leave_a_folder_usable(folder, tmp_path):
    path = folder()
    picture(path / "images/new.jpg", 100)
    shutil.copy(path / "images/007.png", path / "images/008.png")
    report = checked(path, tmp_path)
    assert [finding.is_fault for finding in report.findings] == [False, False]
    assert report.is_usable


def test_masks_and_images_of_the_other_file_are_not_unlisted(folder, tmp_path):
    path = folder()
    for name in ("masks", "labels"):
        picture(path / name / "001.png", 1)
    source = path / "annotations/instances_default.json"
    content = json.loads(source.read_text())
    for split, images in (("train", content["images"][:12]), ("val", content["images"][12:])):
        ids = {image["id"] for image in images}
        annotations = [a for a in content["annotations"] if a["image_id"] in ids]
        part = content | {"images": images, "annotations": annotations}
        source.with_name(f"instances_{split}.json").write_text(json.dumps(part))
    source.unlink()
    assert checked(path, tmp_path).findings == ()


def test_boxes_alone_are_recommended_as_prompts(folder, tmp_path):
    def edit(content):
        for annotation in content["annotations"]:
            annotation |= {"segmentation": [], "bbox": [3, 4, 9, 9]}

    report = checked(folder(edit=edit), tmp_path)
    assert not report.is_usable
    assert "48 annotations with a box and no mask" in str(report)
    assert "boxes can be prompts: python -m la prompts " in str(report).splitlines()[-1]


def test_what_keeps_a_file_from_being_found_is_named(folder, tmp_path):
    def edit(content):
        names = ("https://host/x/901.png", "002.jpg", "90\n3.png")
        for entry, name in zip(content["images"], names, strict=False):
            entry["file_name"] = name

    path = folder(edit=edit)
    (path / "images/004.png").unlink()
    (path / "images/004.png").symlink_to("nowhere.png")
    report = checked(path, tmp_path)
    assert {finding.what: finding.entries for finding in report.findings if finding.is_fault} == {
        "images that have no file": ("90\n3.png",),
        "images whose file is a link to a file that does not exist": ("004.png",),
        "images that have no file and whose file_name is a web address": (
            "https://host/x/901.png",
        ),
        "images whose file has another suffix than file_name": ("002.jpg",),
    }
    assert "have no file: 1 ('90\\n3.png'); put each where" in str(report)


def test_a_test_file_without_images_is_named_with_the_way_out(folder, tmp_path):
    path = folder()
    (path / "annotations/instances_default.json").rename(path / "annotations/instances_train.json")
    empty = {"images": [], "annotations": [], "categories": [{"id": 1, "name": "ant"}]}
    (path / "annotations/instances_val.json").write_text(json.dumps(empty))
    assert next_step(path, tmp_path) == (
        "next: annotate images in instances_val.json, which has none to test on, or take it away, "
        "so that instances_train.json is split by image"
    )


def test_crowds_alone_may_be_objects_whose_field_is_wrong(folder, tmp_path):
    def edit(content):
        for annotation in content["annotations"]:
            annotation["iscrowd"] = 1

    step = next_step(folder(edit=edit), tmp_path)
    assert "or set iscrowd to 0 where a mask is that of one object; boxes can be" in step


def test_entries_that_are_left_out_are_to_be_mended_first(folder, tmp_path):
    def edit(content):
        for annotation in content["annotations"]:
            annotation["segmentation"] = "none"

    path = folder(edit=edit)
    mend = "next: mend the entries that are left out (48), and check again: python -m la data"
    assert next_step(path, tmp_path) == f"{mend} {path}"


def test_some_entries_that_are_left_out_need_not_stop_the_work(folder, tmp_path):
    def edit(content):
        content["annotations"].append({"id": 900, "image_id": 77, "category_id": 1})

    mend = "next: mend the entries that are left out (1), "
    step = next_step(folder(edit=edit), tmp_path)
    assert step.startswith(f"{mend}or go on without them: python -m la evaluate --data ")
    assert next_step(folder(3, edit=edit), tmp_path).startswith(f"{mend}and annotate more images")

    def boxes(content):
        for annotation in content["annotations"]:
            annotation |= {"segmentation": [], "bbox": [3, 4, 9, 9]}
        edit(content)

    assert next_step(folder(edit=boxes), tmp_path).startswith(f"{mend}and add masks, without which")


@pytest.mark.parametrize(
    ("size", "profile", "words"),
    [
        ((30, 20), "quick", "--checkpoint quick"),
        ((192, 96), "quick", "--checkpoint quick"),  # twice the 96 pixels of the drawings
        ((193, 96), "quick", "--profile photos --checkpoint photos"),
        ((400, 300), "photos", "--profile photos --checkpoint photos"),
        ((30, 20), "photos", "--profile photos --checkpoint photos"),
        ((400, 300), "paper-mae", "--profile paper-mae"),  # which has no shipped model
    ],
)
def test_the_profile_that_is_recommended_fits_the_pictures(folder, tmp_path, size, profile, words):
    def edit(content):
        for entry in content["images"]:
            entry |= {"width": size[0], "height": size[1]}

    path = folder(12, 3, edit)
    for image in (path / "images").iterdir():
        picture(image, int(image.stem), size=size)
    command = f"next: python -m la evaluate --data {path} {words} --ways 3"
    assert next_step(path, tmp_path, profile) == command


def test_no_more_ways_are_recommended_than_table_2_has(folder, tmp_path):
    step = next_step(folder(600, 60), tmp_path)
    assert step.startswith("next, with N = 5 as in Table 2: python -m la evaluate --data ")
    assert step.endswith(" --ways 5")


def test_links_to_a_listed_file_and_hidden_files_are_no_further_pictures(folder, tmp_path):
    path = folder()
    (path / "images/link.png").symlink_to(path / "images/003.png")
    for name in ("._001.png", ".hidden.jpg", "__MACOSX/x.png", ".ipynb_checkpoints/003.png"):
        picture(path / "images" / name, 99)
    assert checked(path, tmp_path).findings == ()
    picture(path / "images/new.jpg", 100)
    (path / "images/other.jpg").symlink_to(path / "images/new.jpg")
    (finding,) = checked(path, tmp_path).findings
    assert finding.entries == ("images/new.jpg",)


def test_links_of_one_name_to_one_file_are_one_file(folder, tmp_path):
    path = folder()
    (path / "images/more").mkdir()
    (path / "images/more/003.png").symlink_to(path / "images/003.png")
    assert checked(path, tmp_path).findings == ()


def test_annotations_that_leave_their_image_are_counted_and_named(folder, tmp_path):
    def edit(content):
        first, second, third, fourth, fifth = content["annotations"][:5]
        first["segmentation"] = [[3, 4, 30.9, 4, 30.9, 13]]  # as tools round
        second["segmentation"] = [[3, 4, 31.1, 4, 31.1, 13]]
        third["segmentation"] = [[3, 4, 20, 4, 20, 21.1]]  # beyond the height, not the width
        fourth["segmentation"] = [[3, -1.1, 9, 4, 9, 13]]
        fifth |= {"segmentation": [], "bbox": [20, 4, 12, 9]}
        content["annotations"][5]["segmentation"] = [[3, 4, 29, 4, 29, 13]]

    (boxes, beyond) = checked(folder(edit=edit), tmp_path).findings
    assert beyond.what == (
        "4 annotations cut at the border of the image: annotations[1], annotations[2], "
        "annotations[3] and 1 more"
    )
    assert boxes.what.startswith("1 annotation with a box") and not beyond.is_fault


def test_a_replaced_picture_is_named(folder, tmp_path):
    path = folder()
    assert "were replaced" not in report_of(path, tmp_path)
    picture(path / "images/003.png", 333)
    assert "were replaced since they were first read: 1 (003.png); " in report_of(path, tmp_path)


@pytest.mark.parametrize(
    ("n_images", "n_classes", "said"),
    [
        (12, 3, "1-shot episodes: N is at most 3\n"),
        (5, 1, "1-shot episodes: N is at most 1\n"),
        (200, 8, "N is at most 2, 2, 2, 2 in folds 0, 1, 2, 3\n"),
        (200, 4, "N is at most 1, 1, 1, 1 in folds 0, 1, 2, 3\n"),
        (3, 8, "next: annotate more images of each class, or score a fixed set of examples"),
    ],
)
def test_the_possible_n_fit_small_sets(folder, tmp_path, n_images, n_classes, said):
    assert said in report_of(folder(n_images, n_classes), tmp_path)


def test_a_thousand_classes_make_a_short_report(folder, tmp_path):
    report = report_of(folder(1000, 1000), tmp_path)
    assert len(report) < 20_000
    assert re.search(r"and 900 classes with \d+ test images or more", report)


def test_classes_without_annotations_do_not_count_for_folds(folder, tmp_path):
    def edit(content):
        content["categories"] += [{"id": i, "name": f"unused {i}"} for i in range(9, 81)]

    data = open_data(folder(edit=edit), tmp_path / "cache")
    assert data.test.category_names == data.train.category_names == data.whole.category_names
    assert data.test.category_names == NAMES
    assert "72 listed classes without an annotation are left out" in data.note
    for index in (data.train, data.test):
        for a in range(len(index.annotation_area)):
            image_id = int(index.image_ids[index.annotation_image[a]])
            shown = {1 + (image_id + k) % 8 for k in range(2)}
            assert int(index.category_ids[index.annotation_category[a]]) in shown


def test_entries_without_file_and_annotation_are_left_out(folder, tmp_path):
    def edit(content):
        for i in range(900, 930):
            content["images"].append({"id": i, "file_name": f"{i}.png", "width": 3, "height": 2})

    right = open_data(folder(), tmp_path / "cache")
    data = open_data(folder(edit=edit), tmp_path / "cache")
    assert data.test.image_ids.tolist() == right.test.image_ids.tolist()
    assert "30 images of instances_default.json without a file or annotations" in data.note


def test_an_error_about_a_missing_file_counts_the_others(folder, tmp_path):
    path = folder()
    for i in range(1, 24, 2):
        (path / f"images/{i:03}.png").unlink()
    index = open_data(path, tmp_path / "cache").whole
    said = "image 3 of .*; 12 of 24 images have no file; python -m la data lists them"
    with pytest.raises(MissingFile, match=said):
        index.read_image(3)


@pytest.fixture
def opened_here(tmp_path, monkeypatch):
    def opened(cls, profile, data=None):
        return cls(profiles.profile(profile), data, tmp_path / "home")

    monkeypatch.setattr(Workbench, "open", classmethod(opened))


def test_one_class_is_too_few_in_the_singular(folder, capsys, opened_here):
    main(["data", str(folder(12, 1))])
    said = capsys.readouterr().err
    assert "1 class is too few to hold any out, so it is trained and tested on, and" in said


def test_one_fault_is_counted_in_the_singular(folder, tmp_path):
    def edit(content):
        content["annotations"].append({"id": 900, "image_id": 77, "category_id": 1})

    report = report_of(folder(edit=edit), tmp_path)
    assert "entries are left out (reference): 1\n    annotations[" in report


def test_the_command_prints_the_report(folder, capsys, opened_here):
    path = folder(12, 3)
    assert main(["data", str(path)]) == 0
    out, err = capsys.readouterr()
    assert "train: 6 images, 12 instances of 3 classes" in out
    assert "generated:" not in err and "`tiny`, is made for drawings, not photographs" in err
    assert out.splitlines()[-1].startswith("next: python -m la evaluate")
    assert "3 classes are too few to hold any out" in err
    assert "the background's scalar is, is fitted on test images" in err


def test_a_check_imports_neither_pandas_nor_accelerate(folder, tmp_path):
    """They take as long as the check of a small folder."""
    code = "import sys; from la.__main__ import main; main(sys.argv[1:]); print(*sys.modules)"
    words = [sys.executable, "-c", code, "data", str(folder())]
    home = os.environ | {"LA_HOME": str(tmp_path / "home")}
    done = subprocess.run(words, env=home, capture_output=True, text=True, check=True)
    imported = set(done.stdout.splitlines()[-1].split())
    assert "la.data.check" in imported
    assert imported.isdisjoint({"pandas", "accelerate", "matplotlib", "transformers"})


def test_the_status_of_the_command_tells_of_faults(folder, capsys, opened_here, tmp_path):
    path = folder()
    (path / "images/003.png").unlink()
    table = tmp_path / "faults.csv"
    assert main(["data", str(path), "--faults", str(table)]) == 1
    assert "images that have no file,003.png" in table.read_text()
    assert main(["data", str(path), "--faults", str(tmp_path)]) == 2
    said = capsys.readouterr().err.splitlines()[-1]
    assert said == f"la data: {tmp_path}: Is a directory; give the name of a file"
    shutil.rmtree(path / "annotations")
    assert main(["data", str(path)]) == 2
    assert "no annotations/instances_*.json in" in capsys.readouterr().err


def test_the_command_to_go_on_with_can_be_copied(folder, tmp_path):
    path = folder().rename(tmp_path / "o'brien's $set")
    words = shlex.split(str(checked(path, tmp_path)).splitlines()[-1].removeprefix("next: "))
    assert words[:5] == ["python", "-m", "la", "evaluate", "--data"]
    assert words[5] == str(path)
