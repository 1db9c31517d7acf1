"""The first line of a command: what it says of classes that cannot be scored."""

import json

import pytest

from la.__main__ import main
from la.experiment.setup.workbench import Workbench
from tests.conftest import write_coco


@pytest.fixture
def opened(tmp_path):
    """Writes a set of four classes in which some have boxes alone, and opens it."""
    path = write_coco(tmp_path / "set", n_images=30, class_ids=[2, 3, 5, 7])
    content = json.loads(path.read_text())

    def open_with_boxes(*class_ids: int) -> tuple[Workbench, dict[int, int]]:
        n_boxes = dict.fromkeys(class_ids, 0)
        for entry in content["annotations"]:
            if entry["category_id"] in class_ids:
                entry.pop("segmentation", None)
                n_boxes[entry["category_id"]] += 1
        path.write_text(json.dumps(content))
        return Workbench.open("smoke", tmp_path / "set"), n_boxes

    return open_with_boxes


def test_a_class_that_has_boxes_alone_is_named_with_their_number_and_the_way_to_masks(opened):
    bench, n_boxes = opened(3)
    assert n_boxes[3] > 9
    said = bench.headline()
    assert (
        "1 class of boxes or crowds (iscrowd 1) alone can be neither trained on nor scored: "
        f"class 3 ({n_boxes[3]}). `python -m la prompts` makes prompts of boxes"
    ) in said


def test_of_many_classes_three_are_named(opened):
    bench, n_boxes = opened(2, 3, 5, 7)
    first = ", ".join(f"class {i} ({n_boxes[i]})" for i in (2, 3, 5))
    assert "4 classes of boxes or crowds (iscrowd 1) alone" in bench.headline()
    assert f"scored: {first} and 1 more. `python" in bench.headline()


def test_a_class_with_masks_beside_its_boxes_is_not_named(opened):
    bench, _ = opened()
    assert "boxes or crowds" not in bench.headline()


def test_boxes_become_prompts_and_prompts_masks_that_are_scored(opened, tmp_path, capsys):
    """The way that the first line names, as a user goes it; each image shows other noise."""
    opened(2, 3, 5, 7)
    folder, out = tmp_path / "set", tmp_path / "out"
    file = folder / "annotations" / "instances_tiny.json"
    prompts = str(tmp_path / "prompts.json")
    words = ["prompts", str(file), "--images", str(folder), "--out", prompts]
    assert main([*words, "--files", "000005.png,000010.png"]) == 0
    words = ["predict", "--support", prompts, "--images", str(folder), "--model", "quick"]
    assert main([*words, "--out", str(out)]) == 0
    made = json.loads((out / "predictions.json").read_text())
    assert made["annotations"] and all("counts" in a["segmentation"] for a in made["annotations"])
    file.write_text(json.dumps(made))
    capsys.readouterr()
    assert main(["data", str(folder)]) in (0, 1)
    assert "boxes or crowds" not in capsys.readouterr().err
