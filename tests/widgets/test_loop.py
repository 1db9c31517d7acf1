"""The loop in Python: threshold, preview, predictions as masks, how sure the model is."""

import numpy as np
import pytest
from stub_predictor import Stub
from widget_page import photo

from la.widgets import PromptEditor

POINT = {"img": 0, "cls": 1, "type": "point", "pts": [[5, 5]], "label": 1}


@pytest.fixture
def editor():
    queries = [photo(80, 60, 1), photo(60, 80, 2)]
    editor = PromptEditor([photo(80, 60)], queries, ["dog", "cat"], predictor=Stub())
    yield editor
    editor.close()


def drawn(editor: PromptEditor) -> None:
    editor.prompts = [POINT, POINT | {"cls": 2}]
    assert editor.wait(60)


def test_a_prediction_becomes_masks_that_can_be_edited(editor):
    drawn(editor)
    editor.adopt(1)
    masks = editor.drawing.annotations()[1]
    bands = Stub.labels((60, 80), 2)
    assert list(masks) == ["dog", "cat"]
    for row, (mask,) in enumerate(masks.values(), 1):
        assert np.array_equal(mask, bands == row)
    assert editor.drawing.annotations()[0].keys() == {"dog", "cat"}  # the other prompts stay
    editor.wait(60)
    assert len(editor.predictor.asked[-1]) == 2  # the query is an example now


def test_what_cannot_become_masks_is_refused_with_a_sentence(editor):
    with pytest.raises(ValueError, match="draw a prompt first"):
        editor.adopt(1)
    drawn(editor)
    editor.threshold = 3.0  # bands lead by 2
    with pytest.raises(ValueError, match="lower the threshold"):
        editor.adopt(1)


def test_the_threshold_calls_no_model_and_counts_for_what_python_keeps(editor):
    drawn(editor)
    calls = len(editor.predictor.asked)
    assert editor._labels.max() == 2
    editor.threshold = 3.0
    assert editor._labels.max() == 0 and len(editor.predictor.asked) == calls


def test_ranking_tells_how_sure_the_model_is_of_each_photograph(editor):
    drawn(editor)
    editor.rank()
    editor._ranking.wait(60)
    ids = [image["id"] for image in editor.images if image["role"] == "query"]
    assert editor.sure == dict.fromkeys(ids, 0.5)


def test_ranking_without_a_prompt_says_what_is_missing(editor):
    editor.rank()
    editor._ranking.wait(60)
    assert "draw a prompt first" in editor.notice


def test_a_preview_has_one_more_prompt_and_changes_nothing(editor, monkeypatch):
    drawn(editor)
    messages = []
    monkeypatch.setattr(editor, "send", lambda *message: messages.append(message))
    prompt = POINT | {"pts": [[9.0, 9.0]]}
    editor._answer({"do": "preview", "prompt": prompt})
    editor._previews.wait(60)
    ((content, (data,)),) = messages
    assert content["prompt"] == prompt and content["size"] == [80, 60] and data
    asked = editor.predictor.asked[-1]
    assert len(asked[0][1]["dog"]) == 2 and len(editor.prompts) == 2
