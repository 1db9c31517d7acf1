"""The paper profiles from an empty disk to a notebook, at reduced size; see tests/rehearsal.py."""

from dataclasses import replace

import pytest

from la.model.backbones import BACKBONES, MAE
from tests.conftest import write_coco
from tests.published_backbones import small_mae
from tests.rehearsal import PHOTOS, rehearse
from tests.rehearsal_published import rehearse_published, stand_ins

pytestmark = pytest.mark.slow  # starts whole commands


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    """Annotation file and images; drawn ones where the photographs are not at hand."""
    if (PHOTOS / "images").is_dir():
        return PHOTOS / "annotations" / "instances_visible.json", PHOTOS / "images"
    folder = tmp_path_factory.mktemp("drawn") / "coco"
    return write_coco(folder, n_images=40, class_ids=[*range(1, 9)]), folder / "images"


@pytest.mark.parametrize("profile", ["paper-sam-short", "dinov2"])
def test_one_command_goes_from_an_empty_disk_to_a_notebook(tmp_path, photos, profile):
    options = {"reduced": True, "in_stages": False, "notebook": "own_method"}
    assert [*rehearse(profile, tmp_path / "disk", *photos, **options)] == ["notebook"]


def test_every_stage_has_a_command_of_its_own(tmp_path, photos):
    stages = rehearse("paper-mae-short", tmp_path / "disk", *photos, reduced=True)
    assert [*stages] == [
        "plan", "fetch backbone", "fetch coco", "index", "features", "train", "evaluate",
    ]  # fmt: skip


def test_the_published_models_are_fetched_and_scored_in_one_command(tmp_path, monkeypatch):
    monkeypatch.setitem(BACKBONES, "mae_vit_b", replace(MAE, build=small_mae))
    write_coco(tmp_path / "coco", n_images=240, class_ids=[*range(1, 81)])
    models = stand_ins(tmp_path / "made")
    page = rehearse_published(tmp_path / "disk", tmp_path / "coco", models)
    shown = page.read_text()
    for setting in ("1-way 1-shot", "2-way 1-shot", "5-way 1-shot"):
        assert setting in shown
    assert "the authors' weights" in shown
