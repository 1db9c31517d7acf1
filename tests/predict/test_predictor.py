import json
from dataclasses import replace
from io import BytesIO

import numpy as np
import pytest
import torch
from PIL import Image
from pycocotools import mask as coco_mask

from la.data.sampling.geometry import Frame
from la.errors import UserError
from la.learn.weights import checkpoints
from la.model.backbone import build_backbone
from la.predict.predictor import Predictor
from la.predict.prompts import prompts_file
from la.predict.prompts.drawing import Drawing, DrawnImage
from la.predict.prompts.photos import open_photo
from la.predict.prompts.vector_prompts import BoxPrompt, mask_prompt
from la.predict.support_file import read_support
from la.predict.support_set import SupportSet
from la.profiles import profile
from la.types import Batch, Box, Features, ModelCard, Point, Prompts
from tests.conftest import fresh_model
from tests.conftest import noise_photo as photo

QUICK = profile("quick").model
EXACT = replace(
    QUICK,
    mode="exact",
    norm_first=False,
    first_residual=False,
    background="unprompted",
    start="usual",
)


def mask(size=(40, 60)) -> np.ndarray:
    marked = np.zeros(size, bool)
    marked[5:20, 10:30] = True
    return marked


def examples():
    first = {"dog": [Box(10, 5, 30, 20), Point(12, 8), Point(50, 30, positive=False)]}
    second = {"cat": [mask((50, 30))], "dog": [Point(3, 4)]}
    return [(photo(1), first | {"bird": [Point(40, 10)]}), (photo(2, (50, 30)), second)]


@pytest.fixture(scope="module")
def support(predictor) -> SupportSet:
    return predictor.support(examples())


@pytest.mark.parametrize("config", [QUICK, EXACT], ids=["la", "exact"])
def test_a_prediction_is_what_the_model_says_of_the_batch_written_out_by_hand(config):
    model = fresh_model(config)
    made = Predictor(model)
    prediction = made.predict(photo(3), made.support(examples()))

    sx, sy = 96 / 60, 64 / 40  # images of 40 x 60 fill the input's width
    tx, ty = 58 / 30, 96 / 50  # the second support image fills its height: 58 = round(30 * 1.92)
    backbone = build_backbone(config)
    sampled = torch.from_numpy(Frame((50, 30), 96, "pad").mask(mask((50, 30)), 48)).float()
    features = [
        backbone(Frame((i.height, i.width), 96, "pad").image(i)[None])
        for i in (photo(3), photo(1), photo(2, (50, 30)))
    ]
    points = torch.zeros(4, 2, 2)  # examples: dog and bird on image 0, cat and dog on image 1
    # A prompt is a pixel's index: its centre less half a pixel.
    points[0] = torch.tensor([[11.5 * sx, 7.5 * sy], [49.5 * sx, 29.5 * sy]])
    points[1, 0] = torch.tensor([39.5 * sx, 9.5 * sy])
    points[3, 0] = torch.tensor([2.5 * tx, 3.5 * ty])
    batch = Batch(
        source=Features(features[0], torch.cat(features[1:])),
        support_episode=torch.zeros(2, dtype=torch.int64),
        prompts=Prompts(
            masks=sampled[None],
            mask_example=torch.tensor([2]),
            points=points,
            point_labels=torch.tensor([[1, -1], [1, 0], [0, 0], [1, 0]]),
            boxes=torch.tensor([[[10 * sx, 5 * sy, 30 * sx, 20 * sy]]] + [[[0.0] * 4]] * 3),
            boxes_valid=torch.tensor([[True], [False], [False], [False]]),
            example_support=torch.tensor([0, 0, 1, 1]),
            example_row=torch.tensor([1, 2, 3, 1]),
        ),
        token_rows=torch.tensor([[0, 1, 2, 3]]),
        class_valid=torch.ones(1, 4, dtype=torch.bool),
        target=torch.zeros(1, 40, 60, dtype=torch.int64),
        query_size=torch.tensor([[40, 60]]),
    )
    with torch.no_grad():
        torch.testing.assert_close(prediction.logits, model(batch)[0], atol=2e-5, rtol=1e-4)
    assert prediction.class_names == ("dog", "bird", "cat")


def test_labels_are_the_likeliest_rows_at_the_original_size(predictor, support):
    prediction = predictor.predict(photo(3, (37, 91)), support)
    assert prediction.labels.shape == (37, 91) and prediction.labels.dtype == np.uint8
    assert prediction.probabilities.shape == (4, 37, 91)
    np.testing.assert_allclose(prediction.probabilities.sum(0), 1, atol=1e-5)
    assert np.array_equal(prediction.probabilities.argmax(0), prediction.labels)
    assert len(np.unique(prediction.labels)) > 1  # else the other comparisons would say little


def test_the_margin_is_how_far_the_first_probability_exceeds_the_second(predictor, support):
    prediction = predictor.predict(photo(3, (37, 91)), support)
    assert prediction.margins.shape == (37, 91)
    # A constant map has the same margin at any resolution.
    logits = torch.tensor([0.0, 2.0, 1.0, -1.0]).view(4, 1, 1).expand_as(prediction.logits)
    ordered = np.exp([2, 1]) / np.exp([0, 2, 1, -1]).sum()
    constant = replace(prediction, logits=logits).margins
    np.testing.assert_allclose(constant, ordered[0] - ordered[1], rtol=1e-5)


def test_paths_pictures_arrays_tensors_and_encoded_images_are_all_images(
    predictor, support, tmp_path
):
    picture = photo(3)
    picture.save(tmp_path / "photo.png")
    array = np.array(picture)
    tensor = torch.from_numpy(array).permute(2, 0, 1)
    alpha = np.dstack([array, np.full(array.shape[:2], 7, np.uint8)])
    same = [tmp_path / "photo.png", str(tmp_path / "photo.png"), array, array / 255, alpha, tensor]
    same += [tensor / 255, predictor.encode(picture)]
    wanted = predictor.predict(picture, support).logits
    for source in same:
        assert torch.equal(predictor.predict(source, support).logits, wanted)


def test_grey_images_are_images(predictor):
    grey = np.array(photo(3))[..., 0]
    for source in (grey, grey[..., None], torch.from_numpy(grey), torch.from_numpy(grey)[None]):
        assert np.array_equal(
            np.array(predictor.encode(source).image), np.repeat(grey[..., None], 3, 2)
        )


def test_a_photo_is_turned_upright_as_its_camera_says(predictor, tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was turned: rotate by 90 degrees clockwise
    photo(3).save(tmp_path / "turned.png", exif=exif)
    upright = predictor.encode(tmp_path / "turned.png").image
    assert np.array_equal(np.array(upright), np.rot90(np.array(photo(3)), k=-1))


@pytest.mark.parametrize("size", [(1, 1), (1, 300), (500, 2)])
def test_images_of_any_shape_are_segmented(predictor, size):
    support = predictor.support([(photo(1, size), {"dog": [np.ones(size, bool)]})])
    assert predictor.predict(photo(3, size), support).labels.shape == size


def test_an_image_is_encoded_once_however_often_it_is_used(support):
    made, calls = Predictor(fresh_model(QUICK), ModelCard("fresh", "ab" * 32, "nothing")), []
    made._backbone.register_forward_pre_hook(lambda module, args: calls.append(len(args[0])))
    encoded = made.encode(photo(1))
    for classes in ({"dog": [Point(1, 2)]}, {"dog": [Point(1, 2)], "cat": [Box(1, 2, 9, 9)]}):
        made.predict(encoded, made.support([(encoded, classes)]))
    assert calls == [1]


@pytest.mark.parametrize("config", [QUICK], ids=["la"])
def test_an_extended_support_set_is_one_made_of_all_examples_at_once(config):
    made = Predictor(fresh_model(config))
    more = [(photo(4), {"fish": [Point(5, 6)], "cat": [Box(1, 2, 30, 20)]})]
    grown = made.extend(made.support(examples()), more)
    whole = made.support(examples() + more)
    assert grown.class_names == whole.class_names == ("dog", "bird", "cat", "fish")
    torch.testing.assert_close(grown.value.prototypes, whole.value.prototypes, atol=1e-5, rtol=1e-4)
    before = made.support(examples()).value.prototypes
    assert not torch.allclose(before[:, 3], grown.value.prototypes[:, 3], atol=1e-4)  # "cat"


def test_joined_support_sets_of_single_images_are_one_made_of_all_at_once(predictor):
    whole = predictor.support(examples())
    parts = [predictor.support([example], whole.class_names) for example in examples()]
    joined = predictor.join(parts)
    assert joined.class_names == whole.class_names and not predictor.examples_interact
    torch.testing.assert_close(
        joined.value.prototypes, whole.value.prototypes, atol=1e-5, rtol=1e-4
    )
    with pytest.raises(ValueError, match="different classes cannot be joined"):
        predictor.join([whole, predictor.support([examples()[0]])])


def test_an_image_encoded_for_display_is_predicted_at_that_size_with_the_same_logits(predictor):
    large = photo(3).resize((300, 200))
    support = predictor.support(examples())
    shown = predictor.predict(predictor.encode(large, long_side=60), support)
    whole = predictor.predict(large, support)
    assert shown.labels.shape == (40, 60) and shown.image.size == (60, 40)
    assert whole.labels.shape == (200, 300) and torch.equal(shown.logits, whole.logits)
    on_shown = predictor.support(
        [(predictor.encode(large, long_side=60), {"dog": [Point(290, 190)]})]
    )
    on_whole = predictor.support([(large, {"dog": [Point(290, 190)]})])
    assert torch.equal(on_shown.value.prototypes, on_whole.value.prototypes)


@pytest.mark.parametrize("brand", [b"heic", b"mif1"])
def test_a_heic_photograph_gets_a_sentence_and_no_address(brand):
    with pytest.raises(
        ValueError, match="IMG_1.HEIC cannot be read .* HEIC photograph; save it as"
    ):
        open_photo(b"\0\0\0\x18ftyp" + brand + bytes(40), "IMG_1.HEIC")
    with pytest.raises(ValueError, match="its format is unknown; use JPEG or PNG"):
        open_photo(b"no image", "notes.txt")


@pytest.mark.parametrize("suffix", ["jpeg", "png"])
def test_a_damaged_photograph_is_to_be_copied_again(photo, suffix):
    with BytesIO() as file:
        photo(1).save(file, suffix)
        whole = file.getvalue()
    assert open_photo(whole).size == (60, 40)
    with pytest.raises(UserError, match=r"the file is damaged \(.*\); copy it again$"):
        open_photo(whole[: len(whole) // 2])
    with pytest.raises(UserError, match=r"the file is damaged.*; copy it again$"):
        open_photo(whole[:12])
    with pytest.raises(UserError, match="the file is empty; copy it again$"):
        open_photo(b"")


@pytest.mark.parametrize("config", [QUICK, EXACT], ids=["la", "exact"])
def test_a_saved_support_set_is_the_same_and_can_be_extended(config, tmp_path):
    made = Predictor(fresh_model(config))
    support = made.support(examples())
    support.save(tmp_path / "support.safetensors")
    loaded = SupportSet.load(tmp_path / "support.safetensors")
    assert (loaded.class_names, loaded.model) == (support.class_names, support.model)
    query = made.encode(photo(3))
    assert torch.equal(made.predict(query, loaded).logits, made.predict(query, support).logits)
    more = [(photo(4), {"cat": [Point(5, 6)]})]
    grown = [made.extend(s, more).value.prototypes for s in (loaded, support)]
    assert torch.equal(*grown)


def test_prompts_matter_and_a_negative_point_is_not_a_positive_one(predictor):
    def prototype(*prompts):
        return predictor.support([(photo(1), {"dog": list(prompts)})]).value.prototypes[0, 1]

    point = prototype(Point(20, 10))
    assert not torch.allclose(point, prototype(Point(20, 10, positive=False)), atol=1e-4)
    assert not torch.allclose(point, prototype(Point(50, 30)), atol=1e-4)


def test_several_masks_of_a_class_are_their_union(predictor):
    left, right = mask(), np.fliplr(mask())
    apart = predictor.support([(photo(1), {"dog": [left, Image.fromarray(right)]})])
    joined = predictor.support([(photo(1), {"dog": [torch.from_numpy(left | right)]})])
    assert torch.equal(apart.value.prototypes, joined.value.prototypes)


def test_the_background_bias_of_the_card_moves_background_alone(support):
    model, query = fresh_model(QUICK), photo(3)
    plain, moved = (
        Predictor(model, ModelCard("fresh", "ab" * 32, "nothing", bias)).predict(query, support)
        for bias in (0.0, 1.5)
    )
    torch.testing.assert_close(moved.logits[0], plain.logits[0] + 1.5)
    assert torch.equal(moved.logits[1:], plain.logits[1:])
    assert (moved.labels == 0).sum() > (plain.labels == 0).sum()


def test_bfloat16_is_near_and_its_support_set_works_in_either_precision(tmp_path):
    model = checkpoints.load("quick")  # fresh weights have logits too close to 0 to compare
    half, whole = Predictor(model, bfloat16=True), Predictor(model)
    support = whole.support(examples())
    half.support(examples()).save(tmp_path / "half.safetensors")
    made = SupportSet.load(tmp_path / "half.safetensors")
    wanted = whole.predict(photo(3), support).logits
    for found in (p.predict(photo(3), s).logits for p, s in ((half, made), (whole, made))):
        assert 0 < (found - wanted).abs().max() < 0.05 * wanted.std()
    half.predict(photo(3), half.extend(made, examples()))


def test_exports_hold_the_label_map(predictor, support, tmp_path):
    prediction = predictor.predict(photo(3), support)
    assert np.array_equal(np.array(prediction.to_png(tmp_path / "a.png")), prediction.labels)
    with Image.open(tmp_path / "a.png") as picture:
        assert picture.mode == "P" and np.array_equal(np.array(picture), prediction.labels)
    content = json.loads(json.dumps(prediction.to_coco("a.jpg")))
    (image,) = content["images"]
    assert image["margin"] == pytest.approx(prediction.margins.mean(), abs=1e-4)
    assert image | {"margin": 0} == {
        "id": 1,
        "file_name": "a.jpg",
        "width": 60,
        "height": 40,
        "margin": 0,
    }
    painted = np.zeros((40, 60), np.uint8)
    for annotation in content["annotations"]:
        found = coco_mask.decode(annotation["segmentation"])
        assert annotation["area"] == found.sum() and not painted[found > 0].any()
        painted[found > 0] = annotation["category_id"]
    assert np.array_equal(painted, prediction.labels)
    assert [c["name"] for c in content["categories"]] == ["dog", "bird", "cat"]
    shown = np.array(prediction.overlay(opacity=0))
    clear = prediction.labels > 0  # where the image is seen through the colour, unchanged
    assert np.array_equal(shown[clear], np.array(photo(3))[clear])


REFUSED = [
    ([], "a prompt for at least one class"),
    ([(photo(1), {})], "a prompt for at least one class"),
    ([(photo(1), {"dog": []})], "class 'dog' of support image 1 needs a list with at least one"),
    ([(photo(1), {"dog": Point(1, 2)})], "needs a list"),
    ([(photo(1), {"dog": [Box(1, 2, 61, 9)]})], "not inside the 60 x 40 pixels"),
    ([(photo(1), {"dog": [Box(9, 2, 1, 9)]})], "is empty; it needs x0 < x1"),
    ([(photo(1), {"dog": [Point(5, 41)]})], "not inside the 60 x 40 pixels"),
    ([(photo(1), {"dog": [Point(float("nan"), 4)]})], r"nan.* is not a finite number"),
    ([(photo(1), {"dog": [Box(1, 2, float("inf"), 4)]})], r"inf.* is not a finite number"),
    ([(photo(1), {"dog": [mask((10, 20))]})], "a mask of 20 x 10 pixels, the image 60 x 40"),
    ([(photo(1), {"dog": [np.zeros((40, 60))]})], "marks no pixel"),
    ([(photo(1), {"dog": ["box"]})], "has a str; a prompt is a Point"),
    ([(photo(1), {"dog": [None]})], "has a NoneType; a prompt is a Point"),
    ([(photo(1), ["dog"])], 'support image 1 has a list of prompts; give {"dog"'),
    ([(photo(1), {"dog": [Box("1", 2, 3, 4)]})], "needs numbers as coordinates"),
    ([(photo(1), {"dog": [np.full((40, 60), 0.2)]})], "values other than 0 and 1; use mask > 0.5"),
    ([(photo(1), {"dog": [np.full((40, 60), np.nan)]})], "values other than 0 and 1"),
    ([(np.zeros((2, 3, 9), np.uint8), {"dog": [Point(1, 1)]})], r"not one of shape \(2, 3, 9\)"),
    ([(np.full((4, 4, 3), 255.0), {"dog": [Point(1, 1)]})], r"values in \[0, 1\]"),
    ([(np.zeros((4, 4, 3), np.int64), {"dog": [Point(1, 1)]})], "not int64"),
    ([(photo(1), {str(n): [Point(1, 1)] for n in range(200)})], "at most 127"),
]


@pytest.mark.parametrize("given, message", REFUSED, ids=[m for _, m in REFUSED])
def test_a_support_set_that_cannot_be_is_refused_with_a_sentence(predictor, given, message):
    with pytest.raises(ValueError, match=message):
        predictor.support(given)


def test_files_that_are_no_images_are_refused_with_a_sentence(predictor, tmp_path):
    with pytest.raises(FileNotFoundError, match="no image file at .*nowhere.png"):
        predictor.encode(tmp_path / "nowhere.png")
    (tmp_path / "broken.png").write_bytes(b"\x89PNG no more")
    with pytest.raises(ValueError, match="broken.png cannot be read as an image"):
        predictor.encode(tmp_path / "broken.png")
    with pytest.raises(ValueError, match="is not a saved support set"):
        SupportSet.load(tmp_path / "broken.png")


def test_a_support_set_of_other_weights_is_refused(support):
    other = Predictor(fresh_model(QUICK, seed=1))
    with pytest.raises(ValueError, match="made by the weights abababababab"):
        other.predict(photo(3), support)


def test_weights_are_told_apart_by_their_hash_and_described_by_their_card(predictor):
    assert predictor.describe() == {
        "name": "fresh",
        "hash": "ab" * 6,
        "trained_on": "nothing (for drawings, not photographs)",
    }
    hashes = [Predictor(fresh_model(QUICK, seed)).describe()["hash"] for seed in (0, 0, 1)]
    assert hashes[0] == hashes[1] != hashes[2]


def test_a_model_from_a_file_predicts_as_the_one_that_was_saved(tmp_path):
    model = fresh_model(QUICK)
    checkpoints.save(model, tmp_path / "quick.safetensors")
    made = [Predictor(m) for m in (model, checkpoints.load(tmp_path / "quick.safetensors"))]
    maps = [p.predict(photo(3), p.support(examples())).logits for p in made]
    assert torch.equal(*maps)


def test_a_drawn_prompts_file_gives_the_support_set_of_its_prompts(predictor, tmp_path):
    photo(1).save(tmp_path / "one.png")
    prompts = (mask_prompt(mask(), 0, 1), BoxPrompt(0, 2, ((30, 20), (10, 5))))
    images = (DrawnImage("one.png", 60, 40), DrawnImage("query.png", 9, 9, "query"))
    drawing = Drawing(images, ("dog", "cat"), prompts)
    (tmp_path / "prompts.json").write_text(json.dumps(prompts_file.to_coco(drawing)))
    read = read_support(predictor, tmp_path / "prompts.json")
    wanted = predictor.support([(photo(1), {"dog": [mask()], "cat": [Box(10, 5, 30, 20)]})])
    assert read.class_names == ("dog", "cat")
    assert torch.equal(read.value.prototypes, wanted.value.prototypes)
    wanted.save(tmp_path / "kept.safetensors")
    assert read_support(predictor, tmp_path / "kept.safetensors").class_names == ("dog", "cat")
    with pytest.raises(FileNotFoundError, match="draw_prompts.ipynb saves"):
        read_support(predictor, tmp_path / "none.json")


def test_a_model_that_knows_drawings_warns_once_of_photographs(caplog):
    predictor = Predictor(fresh_model(QUICK), ModelCard("drawn", "cd" * 32, "nothing"))
    drawing = Image.new("RGB", (2 * QUICK.image_size, 40))
    predictor.encode(drawing)
    assert not caplog.messages
    larger = Image.new("RGB", (2 * QUICK.image_size + 1, 40))
    predictor.encode(larger)
    predictor.encode(larger)
    (message,) = caplog.messages
    assert "drawn" in message and 'la.load("photos")' in message
