"""A fixed support set scored on a folder, against loops over pixels."""

import json
import unicodedata
from dataclasses import replace

import numpy as np
import pytest
from PIL import ExifTags, Image, ImageOps

from la.__main__ import main
from la.data.coco.index import CocoIndex
from la.errors import UserError
from la.formats.label_maps import LabelMap, coco
from la.predict.iou import SupportScores, count
from la.predict.prompts import prompts_file
from la.predict.prompts.drawing import Drawing, DrawnImage
from la.predict.prompts.vector_prompts import BoxPrompt, mask_prompt
from la.predict.scoring import evaluate
from la.predict.support_file import SupportFile, read_support_file
from la.predict.truth import scored_classes, target_rows
from la.types import IGNORE

SIZE = (20, 30)
CLASSES = ("cat", "dog", "cow")  # in another order than the prompts have them


def labels(seed: int) -> np.ndarray:
    coarse = np.random.default_rng(seed).choice([0, 0, 1, 2, 3], (5, 6))
    return coarse.repeat(4, 0).repeat(5, 1).astype(np.uint8)


@pytest.fixture
def folder(photo, tmp_path):
    """Four annotated photographs in COCO format; the first two carry prompts."""
    (tmp_path / "annotations").mkdir()
    maps = []
    for n in range(4):
        photo(n, SIZE).save(tmp_path / f"{n}.png")
        maps.append(LabelMap.of(f"{n}.png", labels(n), np.ones(SIZE)))
    content = json.dumps(coco(maps, CLASSES))
    (tmp_path / "annotations" / "instances_all.json").write_text(content)
    images = tuple(DrawnImage(str(tmp_path / f"{n}.png"), 30, 20) for n in range(2))
    prompts = (
        mask_prompt(labels(0) == 2, 0, 1),
        BoxPrompt(1, 1, ((3, 3), (20, 12))),
        BoxPrompt(1, 2, ((10, 5), (20, 20))),
    )
    prompts_file.write(Drawing(images, ("dog", "cat"), prompts), tmp_path / "prompts.json")
    return tmp_path


@pytest.fixture
def support(folder) -> SupportFile:
    return read_support_file(folder / "prompts.json")


def test_a_predictor_scores_files_as_the_function_scores_what_they_hold(
    folder, support, index, predictor
):
    expected = evaluate(predictor, support, index, progress=False)
    assert predictor.evaluate(folder / "prompts.json", folder).to_json() == expected.to_json()


@pytest.fixture
def index(folder) -> CocoIndex:
    return CocoIndex.from_json(folder / "annotations" / "instances_all.json", folder)


def test_pixels_are_counted_as_loops_count_them():
    rng = np.random.default_rng(0)
    predicted = rng.integers(0, 4, SIZE).astype(np.uint8)
    target = rng.choice([IGNORE, 0, 1, 2, 3], SIZE).astype(np.int16)
    expected = np.zeros((3, 3), int)
    for row, true in zip(predicted.ravel(), target.ravel(), strict=True):
        for n in range(1, 4):
            if true != IGNORE:
                expected[0, n - 1] += row == n and true == n
                expected[1, n - 1] += row == n or true == n
                expected[2, n - 1] += true == n
    assert np.array_equal(count(predicted, target, 3), expected)


def test_the_target_has_the_rows_of_the_support_sets_classes(index):
    renumbered = np.array([0, 2, 1, 0])[labels(2)]  # cat is row 2, dog row 1, cow unknown
    assert np.array_equal(target_rows(index, 3, ("dog", "cat")), renumbered)
    crowds = replace(index, annotation_crowd=np.ones_like(index.annotation_crowd))
    ignored = np.where(renumbered > 0, IGNORE, 0)
    assert np.array_equal(target_rows(crowds, 3, ("dog", "cat")), ignored)


def test_every_image_that_is_no_support_is_a_query(predictor, support, index):
    evaluation = evaluate(predictor, support, index, progress=False)
    scores = evaluation.scores
    assert (scores.classes, scores.file_names) == (("dog", "cat"), ("2.png", "3.png"))
    assert evaluation.left_out == 2
    support_set = support.support(predictor)
    for i, image_id in enumerate((3, 4)):
        predicted = predictor.predict(index.read_image(image_id), support_set).labels
        target = target_rows(index, image_id, ("dog", "cat"))
        for n in (1, 2):
            hits = ((predicted == n) & (target == n)).sum()
            either = ((predicted == n) | (target == n)).sum()
            assert (scores.intersection[i, n - 1], scores.union[i, n - 1]) == (hits, either)


def test_leaving_a_photograph_out_is_a_support_set_of_the_others(predictor, support, index):
    evaluation = evaluate(predictor, support, index, progress=False)
    assert list(evaluation.without) == ["0.png", "1.png"]
    for left_out, kept in ((0, 1), (1, 0)):
        alone = SupportFile(support.classes, (support.photos[kept],))
        expected = evaluate(predictor, alone, index.subset([3, 4]), progress=False).scores
        scores = evaluation.without[f"{left_out}.png"]
        assert scores.classes == expected.classes  # only 1.png shows a cat
        assert np.array_equal(scores.intersection, expected.intersection)
        assert np.array_equal(scores.union, expected.union)
    entry = evaluation.to_json()["leave_one_out"][1]
    whole, without = evaluation.scores.iou[0], evaluation.without["1.png"].iou[0]
    assert entry["file_name"] == "1.png"
    assert entry["gain"] == entry["classes"]["dog"] == pytest.approx(whole - without, abs=1e-4)


def scores(intersection, union, truth=None) -> SupportScores:
    arrays = [np.array(values) for values in (intersection, union, truth or union)]
    names = tuple(f"{i}.png" for i in range(len(intersection)))
    return SupportScores(("dog", "cat"), names, *arrays)


def test_sums_are_divided_once_and_the_worst_image_comes_first():
    made = scores([[1, 0], [8, 0], [0, 0]], [[4, 0], [10, 5], [0, 0]])
    np.testing.assert_allclose(made.iou, [9 / 14, 0])
    assert made.miou == pytest.approx(9 / 28)
    content = made.to_json()
    assert [image["file_name"] for image in content["images"]] == ["0.png", "1.png", "2.png"]
    assert [image["iou"] for image in content["images"]] == [0.25, 0.4, None]
    assert content["images"][0]["classes"] == {"dog": 0.25}
    # A single image has pixels of the cat, which is no sample.
    assert content["classes"]["cat"] == {"iou": 0.0, "images": 1}
    assert len(content["classes"]["dog"]["interval"]) == len(content["interval"]) == 2
    json.dumps(content, allow_nan=False)


def test_a_single_query_has_no_interval():
    content = scores([[1, 0]], [[4, 2]]).to_json()
    assert "interval" not in content and content["miou"] == 0.125
    assert content["classes"] == {
        "dog": {"iou": 0.25, "images": 1},
        "cat": {"iou": 0.0, "images": 1},
    }


def test_a_class_without_truth_is_left_out_of_every_mean():
    made = scores([[1, 0], [8, 0]], [[4, 3], [10, 0]], truth=[[3, 0], [9, 0]])
    assert made.miou == pytest.approx(9 / 14)
    content = made.to_json()
    assert content["not_scored"] == ["cat"] and list(content["classes"]) == ["dog"]
    assert [image["iou"] for image in content["images"]] == [0.25, 0.8]
    assert content["images"][0]["classes"] == {"dog": 0.25}
    low, high = content["interval"]
    assert 0.25 <= low <= content["miou"] <= high <= 0.8


def test_the_interval_holds_nineteen_of_twenty_resamples():
    rng = np.random.default_rng(0)
    union = rng.integers(1, 100, (40, 2))
    made = scores((union * rng.random((40, 2))).astype(int), union)
    (low, high), by_class = made.intervals()
    other = np.random.default_rng(1)
    drawn = other.integers(0, 40, (2000, 40))
    ious = made.intersection[drawn].sum(1) / made.union[drawn].sum(1)
    means = ious.mean(1)
    assert 0.93 < ((means >= low) & (means <= high)).mean() < 0.97
    inside = (ious >= by_class[0]) & (ious <= by_class[1])
    assert ((inside.mean(0) > 0.93) & (inside.mean(0) < 0.97)).all()


def test_classes_and_images_that_are_not_there_are_named(predictor, support, index):
    renamed = replace(index, category_names=("lynx", "hound", "cow"))
    with pytest.raises(UserError, match="has no mask of dog, cat to score; it has masks of lynx"):
        evaluate(predictor, support, renamed, progress=False)
    crowds = replace(index, annotation_crowd=np.ones_like(index.annotation_crowd))
    with pytest.raises(
        UserError, match="has no mask of dog, cat to score; it has masks of no class"
    ):
        evaluate(predictor, support, crowds, progress=False)
    with pytest.raises(UserError, match="every image is a support"):
        evaluate(predictor, support, index.subset([1, 2]), progress=False)
    with pytest.raises(
        UserError, match="instances_all.json is left to be scored: the file lists no image"
    ):
        evaluate(predictor, support, index.subset([]), progress=False)


def test_a_class_that_the_truth_lacks_is_not_scored(predictor, support, index, caplog):
    whole = evaluate(predictor, support, index, progress=False).scores
    renamed = replace(index, category_names=("cat", "hound", "cow"))
    evaluation = evaluate(predictor, support, renamed, progress=False)
    assert "has no mask of dog: not scored" in caplog.text
    content = evaluation.to_json()
    assert content["not_scored"] == ["dog"] and list(content["classes"]) == ["cat"]
    assert content["miou"] == pytest.approx(whole.iou[1], abs=1e-4)
    json.dumps(content, allow_nan=False)


def test_a_class_that_only_supports_show_is_named_with_what_to_do(predictor, folder, caplog):
    path = folder / "annotations" / "instances_all.json"
    content = json.loads(path.read_text())
    queries = {e["id"] for e in content["images"] if e["file_name"] in ("2.png", "3.png")}
    numbers = {e["name"]: e["id"] for e in content["categories"]}

    def without(*names: str) -> None:
        absent = [numbers[name] for name in names]
        kept = [
            entry
            for entry in content["annotations"]
            if entry["image_id"] not in queries or entry["category_id"] not in absent
        ]
        path.write_text(json.dumps(content | {"annotations": kept}))
        predictor.evaluate(folder / "prompts.json", folder)

    without("dog")
    assert "instances_all.json (supports left out) has no mask of dog: not scored" in caplog.text
    with pytest.raises(UserError, match="supports left out. has no mask of dog, cat to score"):
        without("dog", "cat")


def test_the_command_prints_the_scores(folder, capsys):
    support = ["evaluate", "--support", str(folder / "prompts.json")]
    assert main(support) == 2
    assert "--support needs --data" in capsys.readouterr().err
    assert main([*support, "--data", str(folder)]) == 0
    content = json.loads(capsys.readouterr().out)
    assert content["queries"] == 2 and set(content["classes"]) == {"dog", "cat"}


@pytest.mark.parametrize("spelling", ["{}.png", "{}.PNG", "queries/{}.png", "C:\\\\set\\\\{}.png"])
def test_predictions_of_annotated_photographs_have_their_iou(spelling, folder, caplog):
    out = folder / "out"
    (folder / "queries").mkdir()
    for name in ("2.png", "3.png"):
        (folder / name).rename(folder / "queries" / name)
    annotations = folder / "annotations" / "instances_all.json"
    text = annotations.read_text()
    for number in (2, 3):
        text = text.replace(f'"{number}.png"', f'"{spelling.format(number)}"')
    annotations.write_text(text)
    words = ["predict", "--support", folder / "prompts.json", "--images", folder / "queries"]
    assert main([*map(str, words), "--out", str(out), "--truth", str(annotations)]) == 0
    content = json.loads((out / "predictions.json").read_text())
    for seed, entry in zip((2, 3), content["images"], strict=True):
        with Image.open(out / "masks" / f"{entry['file_name']}.png") as png:
            predicted = np.array(png)
        truth = np.array([0, 2, 1, 0])[labels(seed)]
        for n, name in enumerate(("dog", "cat"), 1):
            hits = ((predicted == n) & (truth == n)).sum()
            either = ((predicted == n) | (truth == n)).sum()
            assert entry["iou"][name] == pytest.approx(hits / either, abs=1e-4)
    assert "annotates none" not in caplog.text
    annotations.write_text(
        text.replace(spelling.format(2), "8.png").replace(spelling.format(3), "9.png")
    )
    assert main([*map(str, words), "--out", str(out), "--truth", str(annotations)]) == 0
    assert "instances_all.json annotates none of the photographs" in caplog.text


@pytest.mark.parametrize("turn", [1, 3, 5, 6, 7, 8])
def test_truth_on_stored_pixels_scores_as_truth_on_upright_ones(turn, folder, photo):
    """The IoU of a rotated photograph does not depend on the program that annotated it."""
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = turn
    (folder / "queries").mkdir()
    photo(7, SIZE).save(folder / "queries" / "q.png", exif=exif)
    turned = Image.fromarray(labels(7))
    turned.getexif()[ExifTags.Base.Orientation] = turn
    upright = np.asarray(ImageOps.exif_transpose(turned))
    ious = []
    for frame, pixels in (("upright", upright), ("stored", labels(7))):
        if frame == "stored" and turn == 3:  # of the upright size: then it counts as upright
            continue
        truth = folder / f"{frame}.json"
        label_map = LabelMap.of("q.png", pixels, np.ones(pixels.shape))
        truth.write_text(json.dumps(coco([label_map], CLASSES)))
        out = folder / "out"  # whose masks the second call keeps
        words = ["predict", "--support", folder / "prompts.json", "--images", folder / "queries"]
        assert main([*map(str, words), "--out", str(out), "--truth", str(truth)]) == 0
        (entry,) = json.loads((out / "predictions.json").read_text())["images"]
        ious.append(entry["iou"])
    with Image.open(out / "masks" / "q.png.png") as png:
        predicted = np.array(png)
    hits, either = (
        join(predicted == 1, upright == 2).sum() for join in (np.logical_and, np.logical_or)
    )
    assert ious[0]["dog"] == pytest.approx(hits / either, abs=1e-4)
    assert ious[-1] == ious[0]


def test_truth_of_another_photograph_is_refused(folder, photo, capsys):
    (folder / "queries").mkdir()
    photo(7, (30, 20)).save(folder / "queries" / "2.png")  # of exchanged sides, without EXIF
    truth = folder / "annotations" / "instances_all.json"
    words = ["predict", "--support", folder / "prompts.json", "--images", folder / "queries"]
    out = str(folder / "out")
    assert main([*map(str, words), "--out", out, "--truth", str(truth)]) == 2
    said = capsys.readouterr().err
    assert "2.png has 20 x 30 pixels, its annotations are for 30 x 20; put back the pho" in said
    assert not (folder / "out" / "masks").exists()


def test_names_of_classes_compare_as_they_look(index):
    stored, typed = (unicodedata.normalize(form, "pr\u00e9") for form in ("NFD", "NFC"))
    other = replace(index, category_names=(stored, *index.category_names[1:]))
    assert scored_classes([typed], other) == [typed]
    image_id = int(index.image_ids[0])
    expected = target_rows(index, image_id, index.category_names[:1])
    assert expected.any()
    assert np.array_equal(target_rows(other, image_id, [typed]), expected)


def test_predictions_of_a_class_that_the_truth_lacks_have_no_iou(folder, caplog):
    path = folder / "annotations" / "instances_all.json"
    content = json.loads(path.read_text())
    content["annotations"] = [a for a in content["annotations"] if a["category_id"] != 1]  # a cat
    path.write_text(json.dumps(content))
    out = folder / "predictions"
    words = ["predict", "--support", folder / "prompts.json", "--images", folder, "--out", out]
    assert main([*map(str, words), "--truth", str(path)]) == 0
    assert "has no mask of cat: not scored" in caplog.text
    predictions = json.loads((out / "predictions.json").read_text())
    assert predictions["not_scored"] == ["cat"]
    assert all(set(entry["iou"]) <= {"dog"} for entry in predictions["images"])
    marked = [entry["file_name"] for entry in predictions["images"] if entry.get("support")]
    assert marked == ["0.png", "1.png"]
