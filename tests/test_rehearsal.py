"""The paper profiles from an empty disk to a notebook, at reduced size; see tests/rehearsal.py."""

import pytest

from tests.conftest import write_coco
from tests.rehearsal import PHOTOS, rehearse


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    """Annotation file and images; drawn ones where the photographs are not at hand."""
    if (PHOTOS / "images").is_dir():
        return PHOTOS / "annotations" / "instances_visible.json", PHOTOS / "images"
    folder = tmp_path_factory.mktemp("drawn") / "coco"
    return write_coco(folder, n_images=12, class_ids=[*range(1, 9)]), folder / "images"


def test_one_command_goes_from_an_empty_disk_to_a_notebook(tmp_path, photos):
    options = {"reduced": True, "in_stages": False, "notebook": "train"}
    assert [*rehearse("paper-sam", tmp_path / "disk", *photos, **options)] == ["notebook"]


def test_every_stage_has_a_command_of_its_own(tmp_path, photos):
    stages = rehearse("paper-mae", tmp_path / "disk", *photos, reduced=True)
    assert [*stages] == [
        "plan", "fetch backbone", "fetch coco", "index", "features", "train", "evaluate",
    ]  # fmt: skip
