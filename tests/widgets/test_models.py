"""The models that an editor offers, and how it loads one."""

import json
import time

import pytest
from stub_predictor import Stub
from widget_page import photo

from la import folders
from la.data.download import PUBLISHED
from la.learn.weights import hub
from la.predict import pace
from la.widgets import PromptEditor, models


@pytest.fixture
def editor():
    editor = PromptEditor([photo(20, 20)], [photo(20, 20, 1)], predictor=Stub())
    yield editor
    editor.close()


def choose(editor: PromptEditor, name: str) -> None:
    editor._on_message(editor, {"do": "model", "name": name}, [])
    assert editor._models.wait(120)


def test_all_known_models_are_offered_with_size_licence_and_training_data(editor):
    assert [model["name"] for model in editor.models] == [model.name for model in hub.KNOWN]
    here = {model["name"]: model["here"] for model in editor.models}
    assert here["photos"] and here["quick"]
    for model in editor.models:
        assert model["megabytes"] > 0 and model["licence"] and model["trained_on"]


def test_a_chosen_model_segments_from_then_on(editor):
    choose(editor, "quick")
    assert editor.about.startswith("quick · ")
    point = {"img": 0, "cls": 1, "type": "point", "pts": [[4, 4]], "label": 1}
    editor.prompts = [point]
    assert editor.wait(120) and editor.overlay["img"] == 1


def test_the_seconds_an_image_are_measured_when_a_model_is_first_loaded(
    editor, monkeypatch, tmp_path
):
    monkeypatch.setattr(folders, "HOME", tmp_path)
    choose(editor, "quick")
    seconds = {model["name"]: model["seconds"] for model in editor.models}
    assert 0 < seconds["quick"] < 60 and seconds["photos"] is None
    (tmp_path / "cache" / pace.FILE).write_text(json.dumps({"quick": 12.5}))
    choose(editor, "photos")
    seconds = {model["name"]: model["seconds"] for model in editor.models}
    assert seconds["photos"] > 0 and seconds["quick"] == 12.5
    (tmp_path / "cache" / pace.FILE).write_text("{")
    assert pace.kept() == {}


def test_offline_a_model_of_the_hub_is_one_sentence_within_three_seconds(editor, monkeypatch):
    """A session that waits as long as it is told, as one without a network does."""

    class Nowhere:
        def head(self, _url, timeout):
            time.sleep(timeout)
            raise ConnectionError

    monkeypatch.setattr("huggingface_hub.get_session", Nowhere)
    monkeypatch.setattr(models, "is_here", lambda name: name in hub.SHIPPED)
    start = time.monotonic()
    choose(editor, PUBLISHED[0])
    assert time.monotonic() - start < 3
    assert editor.notice.startswith(f"{PUBLISHED[0]} is not loaded: {PUBLISHED[0]} is not on this")
    assert "choose a model that is here" in editor.notice and "\n" not in editor.notice
    assert editor.about.startswith("stub") and editor.status["state"] == "idle"


def test_what_is_no_model_is_refused_by_name_and_the_former_one_stays(editor, tmp_path):
    path = tmp_path / "notes.safetensors"
    path.write_text("no weights")
    choose(editor, str(path))
    assert "notes.safetensors" in editor.notice and editor.about.startswith("stub")


def test_a_download_says_how_far_it_is(editor, monkeypatch):
    said = []
    editor.observe(lambda change: said.append(change.new["text"]), "status")
    monkeypatch.setattr(models, "is_here", lambda _name: False)
    monkeypatch.setattr(models, "check_reachable", lambda _name: None)
    monkeypatch.setattr(models, "downloaded", lambda _name: 120.4)
    load = models.checkpoints.load
    monkeypatch.setattr(models.checkpoints, "load", lambda _: time.sleep(1.2) or load("quick"))
    choose(editor, PUBLISHED[0])
    assert f"Downloading {PUBLISHED[0]}: 120 of 381 MB" in said
