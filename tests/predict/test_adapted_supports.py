"""Support sets that adapt the decoder: in Python, on disk, and from the command line."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

import la
from la.__main__ import main
from la.errors import UserError
from la.formats.label_maps import LabelMap, coco
from la.predict.folder import predict_folder
from la.predict.predictor import Predictor
from la.predict.prompts import prompts_file
from la.predict.prompts.drawing import Drawing, DrawnImage
from la.predict.prompts.vector_prompts import BoxPrompt, mask_prompt
from la.predict.support_file import read_support, read_support_file
from la.predict.support_set import SupportSet
from la.profiles import profile
from la.types import Box, Point
from tests.conftest import fresh_model
from tests.conftest import noise_photo as photo

EXACT = replace(
    profile("quick").model,
    mode="exact",
    norm_first=False,
    first_residual=False,
    background="unprompted",
    start="usual",
)
SIZE = (40, 60)


def mask(left: int = 10, size=SIZE) -> np.ndarray:
    marked = np.zeros(size, bool)
    marked[5:25, left : left + 20] = True
    return marked


def examples():
    both = {"dog": [mask(), Point(12, 8)], "cat": [mask(35)]}
    return [(photo(1), both), (photo(2, (50, 30)), {"dog": [mask(5, (50, 30))]})]


@pytest.fixture(scope="module")
def adapted(predictor) -> SupportSet:
    return predictor.support(examples(), adapt_steps=3)


def test_no_steps_are_a_support_set_without_a_decoder(predictor, adapted):
    plain = predictor.support(examples())
    without = predictor.support(examples(), adapt_steps=0)
    assert without.adapt_steps == 0 and not without.decoder
    # The decoder alone is adapted, so that the prototypes are those without it.
    for support in (without, adapted):
        assert torch.equal(support.value.prototypes, plain.value.prototypes)


def test_a_saved_support_set_predicts_what_the_one_in_memory_does(predictor, adapted, tmp_path):
    adapted.save(tmp_path / "adapted.safetensors")
    loaded = SupportSet.load(tmp_path / "adapted.safetensors")
    assert loaded.adapt_steps == 3 and list(loaded.decoder) == sorted(adapted.decoder)
    query = predictor.encode(photo(3))
    expected = predictor.predict(query, adapted)
    prediction = predictor.predict(query, loaded)
    assert torch.equal(prediction.logits, expected.logits)
    assert np.array_equal(prediction.labels, expected.labels)
    plain = predictor.predict(query, predictor.support(examples()))
    assert not torch.allclose(plain.logits, expected.logits, atol=1e-3)


def test_the_same_examples_give_the_same_bits_and_leave_the_predictor_alone(predictor, adapted):
    before = {name: weight.clone() for name, weight in predictor.model.state_dict().items()}
    again = predictor.support(examples(), adapt_steps=3)
    for name, weight in adapted.decoder.items():
        assert torch.equal(again.decoder[name], weight)
    predictor.predict(photo(3), again)
    for name, weight in predictor.model.state_dict().items():
        assert torch.equal(weight, before[name])


@pytest.mark.parametrize("size", [(24, 400), (400, 24)])
def test_wide_and_high_photographs_are_adapted_to(size, predictor):
    marked = np.zeros(size, bool)
    marked[4:20, 4:20] = True
    support = predictor.support([(photo(1, size), {"dog": [marked]})], adapt_steps=2)
    assert predictor.predict(photo(3, size), support).labels.shape == size


def test_a_predictor_in_bfloat16_adapts_weights_in_float32(predictor):
    narrow = Predictor(predictor.model, predictor.card, bfloat16=True)
    support = narrow.support(examples(), adapt_steps=3)
    assert {weight.dtype for weight in support.decoder.values()} == {torch.float32}
    query = narrow.encode(photo(3))
    plain = narrow.predict(query, narrow.support(examples()))
    assert not torch.allclose(narrow.predict(query, support).logits, plain.logits, atol=1e-3)


def test_an_adapted_support_set_cannot_be_extended_or_joined(predictor, adapted):
    with pytest.raises(UserError, match="an adapted support set cannot be extended; make it of"):
        predictor.extend(adapted, examples())
    plain = predictor.support(examples())
    for supports in ([adapted, plain], [plain, adapted]):
        with pytest.raises(UserError, match="an adapted support set cannot be extended"):
            predictor.join(supports)


def unencoded(monkeypatch) -> None:
    """From here on, an image that is encoded fails the test."""
    monkeypatch.setattr(Predictor, "encode", lambda *words: pytest.fail("it was encoded"))


def test_what_cannot_be_adapted_is_refused_before_an_image_is_encoded(predictor, monkeypatch):
    unencoded(monkeypatch)
    with pytest.raises(UserError, match="adapt_steps is -1; give 0"):
        predictor.support(examples(), adapt_steps=-1)
    with pytest.raises(UserError, match="the authors' models cannot be adapted"):
        Predictor(fresh_model(EXACT)).support(examples(), adapt_steps=3)
    unmasked = [*examples(), (photo(4), {"dog": [mask()], "cow": [Box(3, 3, 20, 12), Point(5, 5)]})]
    with pytest.raises(UserError, match="class 'cow' has no mask on support image 3; adaptation"):
        predictor.support(unmasked, adapt_steps=3)
    bare = [(photo(4), {"dog": Box(3, 3, 20, 12)})]  # not in a list
    with pytest.raises(UserError, match="class 'dog' has no mask on support image 1"):
        predictor.support(bare, adapt_steps=3)


def test_masks_of_all_types_are_masks(predictor):
    marked = mask()
    expected = predictor.support([(photo(1), {"dog": [marked]})], adapt_steps=1)
    for same in (torch.from_numpy(marked), Image.fromarray(marked)):
        support = predictor.support([(photo(1), {"dog": [same]})], adapt_steps=1)
        for name, weight in expected.decoder.items():
            assert torch.equal(support.decoder[name], weight)


def test_a_file_in_place_of_examples_is_told_from_them(predictor):
    with pytest.raises(UserError, match="prompts.json is not a list of examples; .*read_support"):
        predictor.support("prompts.json")


def test_a_folder_of_predictions_is_not_continued_with_other_steps(predictor, adapted, tmp_path):
    (tmp_path / "photos").mkdir()
    photo(5).save(tmp_path / "photos" / "a.png")
    out = tmp_path / "out"
    predict_folder(predictor, adapted, tmp_path / "photos", out, progress=False)
    predict_folder(predictor, adapted, tmp_path / "photos", out, progress=False)
    for steps in (0, 4):
        other = predictor.support(examples(), adapt_steps=steps)
        with pytest.raises(UserError, match="holds predictions with --adapt-steps"):
            predict_folder(predictor, other, tmp_path / "photos", out, progress=False)


@pytest.fixture
def folder(tmp_path):
    """Four annotated photographs in COCO format; the first two carry masks in `prompts.json`.

    In `boxes.json` the second one has a box for the cat.
    """
    (tmp_path / "annotations").mkdir()
    maps = []
    for n in range(4):
        photo(n).save(tmp_path / f"{n}.png")
        rows = mask() + 2 * mask(35)
        maps.append(LabelMap.of(f"{n}.png", rows.astype(np.uint8), np.ones(SIZE)))
    content = json.dumps(coco(maps, ("dog", "cat")))
    (tmp_path / "annotations" / "instances_all.json").write_text(content)
    images = tuple(DrawnImage(str(tmp_path / f"{n}.png"), 60, 40) for n in range(2))
    masks = [mask_prompt(mask(25 * row - 15), n, row) for n in range(2) for row in (1, 2)]
    drawing = Drawing(images, ("dog", "cat"), tuple(masks))
    prompts_file.write(drawing, tmp_path / "prompts.json")
    box = BoxPrompt(1, 2, ((35, 5), (55, 25)))
    prompts_file.write(replace(drawing, prompts=(*masks[:3], box)), tmp_path / "boxes.json")
    return tmp_path


def test_a_class_without_a_mask_is_named_with_its_photograph(folder, predictor, monkeypatch):
    unencoded(monkeypatch)
    with pytest.raises(UserError, match=f"class 'cat' has no mask on {folder / '1.png'}; adapt"):
        read_support(predictor, folder / "boxes.json", adapt_steps=3)


def test_a_saved_support_set_is_not_adapted(adapted, predictor, tmp_path):
    path = tmp_path / "adapted.safetensors"
    adapted.save(path)
    assert read_support(predictor, path).adapt_steps == 3
    with pytest.raises(UserError, match="holds no images to adapt the decoder on; give the prompt"):
        read_support(predictor, path, adapt_steps=3)


def test_the_commands_adapt(folder, capsys):
    predictor = Predictor(la.load("quick"))
    words = ["--support", str(folder / "prompts.json"), "--adapt-steps", "2"]
    (folder / "queries").mkdir()
    (folder / "3.png").rename(folder / "queries" / "3.png")
    into = ["--images", str(folder / "queries"), "--out", str(folder / "out")]
    assert main(["predict", *words, *into, "--model", "quick"]) == 0
    support = read_support_file(folder / "prompts.json").support(predictor, 2)
    labels = predictor.predict(folder / "queries" / "3.png", support).labels
    with Image.open(folder / "out" / "masks" / "3.png.png") as png:
        assert np.array_equal(np.array(png), labels)
    assert SupportSet.load(folder / "out" / "support.safetensors").adapt_steps == 2
    capsys.readouterr()

    assert main(["evaluate", *words, "--data", str(folder), "--checkpoint", "quick"]) == 0
    printed = json.loads(capsys.readouterr().out)
    expected = predictor.evaluate(folder / "prompts.json", folder, adapt_steps=2)
    assert printed == expected.to_json()
    assert printed != predictor.evaluate(folder / "prompts.json", folder).to_json()


@pytest.mark.parametrize("command", ["predict", "evaluate"])
def test_the_commands_name_what_is_wrong_with_the_steps(command, folder, capsys):
    rest = {
        "predict": ["--images", str(folder), "--out", str(folder / "out")],
        "evaluate": ["--data", str(folder)],
    }

    def said(*words: str) -> str:
        assert main([command, *words, *rest[command]]) == 2
        return capsys.readouterr().err

    prompts = ["--support", str(folder / "prompts.json")]
    assert "--adapt-steps" in said(*prompts, "--adapt-steps", "-1")
    boxes = said("--support", str(folder / "boxes.json"), "--adapt-steps", "2")
    assert f"class 'cat' has no mask on {folder / '1.png'};" in boxes and boxes.count("\n") == 1


def test_steps_without_a_support_set_are_refused(capsys):
    assert main(["evaluate", "--adapt-steps", "30"]) == 2
    assert "--adapt-steps is for a support set; give --support" in capsys.readouterr().err
