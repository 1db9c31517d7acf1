"""Files and command lines that people brought: each kind of fault has its right answer.

`shared/cases/handed` holds an input for each; `_base` beside it is the healthy data set from which
most were made. A harmless oddity has the episodes, masks and pixels of `_base`.
"""

import json
import logging
import os
import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from la import profiles
from la.__main__ import main
from la.config import Protocol
from la.data.check import check
from la.data.dataset import Data, open_data
from la.data.sampling.episodes import EpisodeSampler, episode_list, list_sha256
from la.data.sampling.truth import painted_rows
from la.errors import UserError
from la.experiment.setup.drawable import drawable
from la.experiment.setup.measurements import Measurement
from la.experiment.setup.workbench import Workbench
from la.learn.weights.hub import SHIPPED
from la.predict.folder import predict_folder
from la.predict.predictor import Predictor
from la.predict.prompts.photos import open_photo
from la.predict.support_file import read_classes, read_support
from la.report.scores.tables import measurements
from la.types import IGNORE

REPOSITORY = Path(__file__).resolve().parent.parent
CASES = Path(os.environ.get("LA_SHARED", REPOSITORY.parent / "shared")) / "cases"
HANDED = CASES / "handed"
needs_files = pytest.mark.skipif(not HANDED.is_dir(), reason="the inputs are not at hand")

# Inputs that are a README alone: a test that makes the input itself.
MADE_ELSEWHERE = {
    "class_named_with_dollars": "report/test_lettering.py::test_a_name_is_shown_letter_by_letter",
    "cut_mask_left_by_another_program": "predict/test_folder.py::"
    "test_masks_are_made_again_for_a_replaced_photograph_and_where_they_are_damaged",
    "file_name_of_252_characters": "predict/test_folder.py::"
    "test_no_photograph_is_passed_over_without_a_word",
    "list_of_a_thousand_classes": "data/test_episodes.py::"
    "test_the_way_out_is_one_that_exists_and_a_long_list_is_cut",
    "make_after_a_change": "test_make.py::test_an_edited_annotation_file_is_noticed",
    "mask_prompts_that_are_not_masks": "predict/test_predictor.py::"
    "test_a_support_set_that_cannot_be_is_refused_with_a_sentence",
    "odd_arguments": "test_main.py::test_a_mistake_is_one_sentence_and_status_2",
    "one_file_of_thirty_unlisted_pictures": "data/test_check.py::"
    "test_entries_without_file_and_annotation_are_left_out",
}
HARMLESS = (
    "annotation_ids_per_image",
    "area_zero",
    "bbox_null",
    "eight_classes_table1_of_one_fold",
    "eight_classes_table2",
    "exif_180",
    "file_name_other_case",
    "file_name_url_encoded",
    "image_ids_strings",
    "masks_beside_images",
    "no_bbox",
    "rle_counts_str_of_bytes",
    "screenshot_name_u202f",
    "segmentation_flat",
    "sizes_are_floats",
)
REFUSED = {
    "normalised_coordinates": "coordinates of polygons lie between 0 and 1; COCO's are pixels, so ",
    "same_class_name_twice": "has two classes named 'ant'; merge them, or give each a name",
}
FAULTS = {  # by the report on the folder
    "folder_cam1_is_missing": "images that have no file: 24 .cam1/img_0001.png, cam1/img_0002.png",
    "half_of_the_images_missing": "images that have no file: 12 .img_0001.png, img_0003.png",
    "segmentation_empty": "96 annotations with a box and no mask: not scored",
}
SMALL = {"twelve_images_three_classes": 3, "twenty_four_images_five_classes": 5}  # classes


@pytest.fixture
def case(tmp_path):
    """A copy of an input; where a file of it names a folder, as links do, the folder is copied."""

    def case(name: str) -> Path:
        source = CASES / name
        for path in sorted(source.rglob("*")):
            copy = tmp_path / name / path.relative_to(source)
            copy.parent.mkdir(parents=True, exist_ok=True)
            if path.is_dir():
                shutil.copytree(path, copy, dirs_exist_ok=True, copy_function=shutil.copyfile)
                continue
            content = path.read_bytes()
            linked = path.parent / content.decode("latin-1") if content[:2] == b".." else None
            if linked is not None and linked.is_dir():
                copy.unlink(missing_ok=True)
                shutil.copytree(linked, copy, copy_function=shutil.copyfile)
            else:
                shutil.copyfile(path, copy)
        return tmp_path / name

    return case


@pytest.fixture
def opened(case, tmp_path):
    def opened(name: str) -> Data:
        return open_data(case(name), tmp_path / "cache")

    return opened


def facts(data: Data) -> list:
    """Episodes, masks, pixels and names of the test images: all that a score depends on."""
    ids = data.test.category_ids.tolist()
    sampler = EpisodeSampler(data.test, ids, Protocol(small_area=0), [(2, 1)])
    episodes = episode_list(sampler, n_ways=2, k_shots=1, episodes=40, seed=0)
    masks = [data.test.mask(a).tobytes() for a in range(len(data.test.annotation_area))]
    pixels = [data.test.read_image(i).tobytes() for i in data.test.image_ids.tolist()]
    return [list_sha256(episodes), masks, pixels, data.test.category_names]


def test_every_input_has_a_test():
    source = Path(__file__).read_text()
    named = {*HARMLESS, *REFUSED, *FAULTS, *SMALL, *MADE_ELSEWHERE}
    named |= set(re.findall(r"def test_(\w+)\(", source))
    if HANDED.is_dir():
        assert {path.name for path in HANDED.iterdir()} <= named
    for place in MADE_ELSEWHERE.values():
        file, name = place.split("::")
        assert f"def {name}(" in (REPOSITORY / "tests" / file).read_text()


@needs_files
@pytest.mark.parametrize("name", HARMLESS)
def test_a_harmless_oddity_scores_as_the_healthy_set(name, opened):
    assert facts(opened(f"handed/{name}")) == facts(opened("_base"))


@needs_files
@pytest.mark.parametrize("name", REFUSED)
def test_a_contradiction_is_refused_with_its_place_and_mend(name, case, capsys):
    path = case(f"handed/{name}")
    assert main(["data", str(path)]) == 2
    said = capsys.readouterr().err.splitlines()[-1]
    assert REFUSED[name] in said and "instances_default.json" in said


@needs_files
@pytest.mark.parametrize("name", FAULTS)
def test_the_report_names_the_fault(name, case, tmp_path):
    path = case(f"handed/{name}")
    report = check(open_data(path, tmp_path / "cache"), path, profiles.profile("quick"), SHIPPED)
    assert re.search(FAULTS[name], str(report))
    assert not report.is_usable
    assert "n_ways <= 0" not in str(report)


@needs_files
def test_pictures_of_another_folder_are_not_taken(opened):
    """folder_cam1_is_missing: reading stops with the file that lies elsewhere."""
    data = opened("handed/folder_cam1_is_missing")
    (first, *_) = data.whole.image_ids.tolist()
    with pytest.raises(UserError, match=r"cam1/img_0001.png .*cam2.img_0001.png lies in another"):
        data.whole.read_image(first)


@needs_files
def test_half_of_the_objects_box_only(opened):
    data = opened("handed/half_of_the_objects_box_only")
    assert data.test.annotation_crowd.sum() + data.train.annotation_crowd.sum() == 48
    ids = tuple(data.test.category_ids.tolist())
    a = int(np.flatnonzero(data.test.annotation_crowd)[0])
    image_id = int(data.test.image_ids[data.test.annotation_image[a]])
    painted = dict(painted_rows(data.test, Protocol(small_area=0), image_id, ids, ids))
    assert painted[a] == IGNORE


@needs_files
def test_layout_roboflow(opened):
    data = opened("handed/layout_roboflow")
    assert data.note == "12 training and 12 test images, two files"
    assert {data.train.path(i).parent.name for i in data.train.image_ids.tolist()} == {"train"}
    assert {data.test.path(i).parent.name for i in data.test.image_ids.tolist()} == {"valid"}


@needs_files
def test_same_names_in_train_and_val_folders(opened):
    data = opened("handed/same_names_in_train_and_val_folders")
    assert (len(data.train.image_ids), len(data.test.image_ids)) == (24, 24)
    assert data.train.path(1).parts[-2:] == ("train", "img_0001.png")
    assert data.test.path(1).parts[-2:] == ("val", "img_0001.png")


@needs_files
def test_train_file_numbers_classes_otherwise(opened):
    data = opened("handed/train_file_numbers_classes_otherwise")
    assert "8 classes of instances_train.json renumbered by name" in data.note
    raw = json.loads(data.train.source.read_text())
    name_of = {entry["id"]: entry["name"] for entry in raw["categories"]}
    written = sorted((a["image_id"], name_of[a["category_id"]]) for a in raw["annotations"])
    read = []
    for image, category in zip(
        data.train.annotation_image, data.train.annotation_category, strict=True
    ):
        class_id = data.train.category_ids[category]
        read.append((int(data.train.image_ids[image]), data.test.class_name(class_id)))
    assert sorted(read) == written


@needs_files
def test_train_file_has_fewer_classes(opened):
    data = opened("handed/train_file_has_fewer_classes")
    assert "2 classes are not in instances_train.json (gnu, hen)" in data.note
    assert data.train.category_names == data.test.category_names


@needs_files
def test_one_picture_under_two_ids(opened):
    data = opened("handed/one_picture_under_two_ids")
    assert set(data.train.pictures).isdisjoint(data.test.pictures)
    assert "12 repeated pictures of instances_default.json are merged" in data.note
    ids = data.test.category_ids.tolist()
    sampler = EpisodeSampler(data.test, ids, Protocol(small_area=0), [(1, 1)])
    picture = dict(zip(data.test.image_ids.tolist(), data.test.pictures, strict=True))
    for episode in episode_list(sampler, n_ways=1, k_shots=1, episodes=200, seed=0):
        assert picture[episode.query_id] not in {picture[i] for i in episode.support_ids}


@needs_files
def test_other_pictures_same_json(case, tmp_path):
    path = case("handed/other_pictures_same_json")
    first = open_data(path, tmp_path / "cache")
    before = first.fingerprint
    shutil.rmtree(path / "images")
    shutil.copytree(CASES / "_grey", path / "images", copy_function=shutil.copyfile)
    second = open_data(path, tmp_path / "cache")
    assert second.fingerprint != before  # which names features and results
    assert facts(second)[2] != facts(open_data(case("_base"), tmp_path / "cache"))[2]


@needs_files
@pytest.mark.parametrize("name", SMALL)
def test_small_sets_are_scored(name, case, tmp_path):
    bench = Workbench(profiles.profile("smoke"), case(f"handed/{name}"), home=tmp_path)
    assert len(bench.data.test.category_ids) == SMALL[name]
    for table in ("table1", "table2", "table3"):
        possible = drawable(bench, measurements(table, "smoke", folds=[0, 1, 2, 3]))
        assert possible
        for measurement in possible:
            assert bench.episodes(measurement)


@needs_files
def test_the_plan_counts_what_small_sets_allow(case, capsys):
    path = case("handed/twelve_images_three_classes")
    assert main(["plan", "--profile", "smoke", "--data", str(path), "--no-measure"]) == 0
    n_models = profiles.profile("smoke").evaluation.trainings  # of the one fold
    assert f" steps of {n_models} models" in capsys.readouterr().out


@needs_files
@pytest.mark.parametrize("table", ["curves", "table1", "table2", "protocol"])
def test_curves_of_eight_classes(table, case, tmp_path, caplog):
    bench = Workbench(profiles.profile("smoke"), case("_base"), home=tmp_path)
    planned = measurements(table, "smoke", folds=[0])
    with caplog.at_level(logging.WARNING):
        possible = drawable(bench, planned)
    assert possible and max(m.n_ways for m in possible) <= 2
    assert "n_ways <= 0" not in caplog.text


@needs_files
def test_small_objects_protocol_page(case, tmp_path):
    bench = Workbench(profiles.profile("smoke"), case("_base"), home=tmp_path)
    with pytest.raises(UserError, match="objects below 2048 square pixels do not count") as error:
        bench.episodes(Measurement("la", 0, 1, 1, 0, 4, protocol="paper"))
    assert "n_ways <= 0" not in str(error.value)


@needs_files
def test_grey_16_bit_holding_12():
    photo = open_photo(HANDED / "grey_16_bit_holding_12" / "a.tif")
    with Image.open(HANDED / "grey_16_bit_holding_12" / "a.tif") as stored:
        values = np.asarray(stored).astype(int)
    assert np.array_equal(np.asarray(photo)[..., 0], values * 255 // 4095)


@needs_files
def test_class_numbers_change(case, predictor, tmp_path):
    path = case("handed/class_numbers_change")
    content = predicted(path, predictor, tmp_path / "out")
    assert [c["name"] for c in content["categories"]] == ["disc", "square"]
    assert [c["id"] for c in content["categories"]] == [1, 2]
    support = read_support(predictor, path / "prompts.json")
    assert support.class_names == ("square", "disc")  # in the order of the photographs
    labels = predictor.predict(path / "images/q.png", support).labels
    with Image.open(tmp_path / "out/masks/q.png.png") as png:
        assert np.array_equal(np.array(png), np.array([0, 2, 1])[labels])


@needs_files
def test_photos_passed_over(case, predictor, tmp_path):
    path = case("handed/photos_passed_over")
    (path / "images/link").unlink() if (path / "images/link").is_file() else None
    content = predicted(path, predictor, tmp_path / "out")
    names = {entry["file_name"] for entry in content["images"]}
    assert {"a.jfif", "b.gif", "q.png"} <= names
    assert [entry["file_name"] for entry in content["skipped"]] == ["c.heic"]


@needs_files
def test_prompts_of_a_resized_photo(case, predictor, caplog):
    path = case("handed/prompts_of_a_resized_photo")
    with caplog.at_level(logging.WARNING):
        support = read_support(predictor, path / "prompts.json")
    assert "says 400 x 300: its prompts are scaled" in caplog.text
    assert support.class_names == ("disc", "square")


@needs_files
def test_prompts_with_backslash(case, predictor, tmp_path):
    content = predicted(case("handed/prompts_with_backslash"), predictor, tmp_path / "out")
    assert [entry["file_name"] for entry in content["images"]] == ["q.png"]


@pytest.mark.parametrize(
    "folder", ["o'brien", "two words", "$HOME", '"quoted"', "a;b & c", "ümläut 猫", "-- x", "a\\b"]
)
def test_apostrophe_in_the_path(folder):
    """Make passes any path to the program as it is."""
    command = ["make", "-s", "reproduce-table2", "PY=printf '%s\\n'", "PROFILE=quick"]
    done = subprocess.run(
        [*command, f"DATA=/x/{folder}"], cwd=REPOSITORY, text=True, capture_output=True, check=True
    )
    words = done.stdout.splitlines()
    assert words[words.index("--data") + 1] == f"/x/{folder}"


def predicted(folder: Path, predictor: Predictor, out: Path) -> dict:
    """What `la predict` writes for the photographs of a handed folder."""
    prompts = folder / "prompts.json"
    path = predict_folder(
        predictor,
        read_support(predictor, prompts),
        folder / "images",
        out,
        classes=read_classes(prompts),
        progress=False,
    )
    return json.loads(path.read_text())
