"""The drawing on disk: taken up by another editor of its cell, whatever became of the first."""

import errno
import json
import os
import shlex
import sys

import pytest
from ipywidgets import Widget
from stub_predictor import Stub
from widget_page import photo

from la.predict.prompts import prompts_file
from la.widgets import PromptEditor
from la.widgets.saved import autosave, keeping

BOX = {"img": 0, "cls": 1, "type": "box", "pts": [[2, 3], [20, 18]]}
POINT = {"img": 1, "cls": 2, "type": "point", "pts": [[4, 5]], "label": 1}


@pytest.fixture
def path(tmp_path):
    photo(40, 30).save(tmp_path / "dog.png")
    return tmp_path / "work.drawings" / "cell.json"


def make(path, **changes) -> PromptEditor:
    arguments = {"support": [path.parents[1] / "dog.png"], "queries": [photo(32, 20, 2)]}
    arguments |= {"classes": ["dog", "cat"]} | changes
    return PromptEditor(**arguments, autosave_file=path)


def written(editor: PromptEditor) -> PromptEditor:
    assert editor._keeper.wait(60)
    return editor


def drawn(editor: PromptEditor) -> tuple:
    names = [(entry["file_name"], entry["role"]) for entry in editor.images]
    return names, editor.classes, editor.prompts, editor.query


def test_a_new_kernel_takes_up_photographs_classes_and_prompts(path):
    editor = make(path)
    editor.add(photo(24, 24, 1), name="added <1>.png")
    editor.set_state({"classes": ["dog", "cat", "cow"], "prompts": [BOX, POINT], "seq": 4})
    assert written(editor).saved == 4
    before, pixels = drawn(editor), [image.tobytes() for image in editor.photos]
    keeping._live.clear()  # as in another kernel
    again = make(path)
    assert drawn(again) == before
    assert [image.tobytes() for image in again.photos] == pixels
    assert again.status["text"].startswith("Restored the drawing of 20")
    assert again.saved_before == pytest.approx(path.stat().st_mtime, abs=60)


def test_a_new_kernel_takes_up_the_threshold_and_the_photographs_that_undo_brings_back(path):
    editor = make(path, prompts=[BOX])
    editor.add(photo(24, 24, 1), name="added.png")
    before, pixels = list(editor.images), editor.photos[2].tobytes()
    editor.remove(2)
    editor.threshold = 1.5
    written(editor)
    keeping._live.clear()  # as in another kernel
    again = make(path, prompts=[BOX])
    assert again.threshold == 1.5 and len(again.images) == 2
    again.set_state({"listed": before, "added": []})  # as undo in the page
    assert again.images == before and again.photos[2].tobytes() == pixels
    assert again.notice == ""


def test_the_command_line_reads_the_file_as_it_is(path):
    editor = make(path, prompts=[BOX])
    written(editor)
    drawing = prompts_file.read(path)
    assert drawing.annotations() == editor.drawing.annotations()
    assert (path.parent / drawing.images[0].file_name).resolve() == path.parents[1] / "dog.png"
    assert all((path.parent / image.file_name).is_file() for image in drawing.images)


def test_a_run_of_the_cell_closes_its_former_editor_and_keeps_the_encodings(path):
    predictor = Stub()
    editor = make(path, predictor=predictor)
    editor.prompts = [BOX]
    assert editor.wait(60)
    again = make(path, predictor=predictor)
    assert again.wait(60) and again.prompts == [BOX] and predictor.encoded == 2
    assert editor.comm is None and editor._library == {}
    assert again.comm is not None


def test_a_widget_is_open_at_every_moment_of_a_re_run(path, monkeypatch):
    """JupyterLab deletes the subshell that all widgets share with the last of them."""
    earlier, left = {*Widget.widgets}, []
    editor = make(path)
    close = Widget.close

    def closed(widget):
        close(widget)
        left.append(len({*Widget.widgets} - earlier))

    monkeypatch.setattr(Widget, "close", closed)
    again = make(path)
    assert editor.comm is None and again.comm is not None
    assert len(left) >= 2 and min(left) >= 1  # the former editor and its layout


def test_new_arguments_are_added_and_nothing_is_taken_away(path):
    make(path).prompts = [BOX]
    photo(24, 24, 1).save(path.parents[1] / "cat.png")
    again = make(path, support=[path.parents[1] / "cat.png"], classes=["cat", "cow"])
    names = [entry["file_name"] for entry in again.images]
    assert names == ["dog.png", "query-2.png", "cat.png"] and again.prompts == [BOX]
    assert again.classes == ["dog", "cat", "cow"] and again.query == 1
    again.remove(2)
    third = make(path, support=[path.parents[1] / "cat.png"], classes=["cat", "cow"])
    assert len(third.images) == 2  # what was removed in the editor does not come back


def test_other_prompts_as_argument_begin_anew_and_keep_the_former_file(path):
    editor = make(path, prompts=[BOX])
    editor.prompts = [BOX, BOX]
    written(editor)
    keeping._live.clear()
    again = make(path, prompts=[{**BOX, "cls": 2}])
    assert again.prompts == [{**BOX, "cls": 2}] and "cell-earlier.json" in again.status["text"]
    earlier = json.loads((path.parent / "cell-earlier.json").read_text())
    assert earlier["prompts"] == [BOX, BOX]


@pytest.mark.parametrize("error", [errno.ENOSPC, errno.EACCES, errno.EROFS])
def test_what_cannot_be_saved_is_one_sentence_and_stays_in_memory(path, monkeypatch, error):
    editor = written(make(path))
    write = autosave.write_whole

    def refuse(*_):
        raise OSError(error, os.strerror(error))

    monkeypatch.setattr(autosave, "write_whole", refuse)
    editor.set_state({"prompts": [BOX], "seq": 1})
    written(editor)
    assert editor.notice.startswith(f"The drawing is not saved ({os.strerror(error)}")
    assert editor.prompts == [BOX] and editor.saved == 0
    monkeypatch.setattr(autosave, "write_whole", write)
    editor.set_state({"prompts": [BOX, BOX], "seq": 2})
    assert written(editor).saved == 2 and editor.notice == ""
    assert len(json.loads(path.read_text())["prompts"]) == 2


def test_a_photograph_that_is_gone_takes_its_prompts_along_and_leaves_the_others(path):
    editor = make(path, prompts=[BOX, {**POINT, "cls": 1}])
    written(editor)
    keeping._live.clear()
    (path.parents[1] / "dog.png").unlink()
    state = autosave.read(path)
    assert [place.photo.name for place in state.photos] == ["query-2.png"]
    assert state.prompts == [{**POINT, "cls": 1, "img": 0}] and state.query == 0


def test_a_damaged_file_is_kept_and_said(path):
    written(make(path)).close()
    path.write_text('{"images": [')
    again = make(path)
    assert "cell-damaged.json" in again.status["text"]
    assert (path.parent / "cell-damaged.json").read_text() == '{"images": ['


def test_removed_photographs_come_back_by_the_ids_that_undo_sends(path):
    editor = make(path, prompts=[BOX])
    before = {"listed": editor.images, "prompts": editor.prompts, "query": editor.query}
    editor.remove(0)
    editor.set_state(before | {"seq": 1})
    assert editor.prompts == [BOX] and len(editor.images) == 2 and editor.notice == ""
    editor.set_state({"listed": [{**editor.images[0], "id": "none"}], "prompts": [], "seq": 2})
    assert "dog.png is not a photograph of this editor" in editor.notice
    assert editor.prompts == [BOX]


def test_outside_of_a_notebook_nothing_is_written(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    editor = PromptEditor([photo(9, 9)])
    editor.prompts = [{**BOX, "pts": [[0, 0], [5, 5]]}]
    assert editor.file == "" and list(tmp_path.iterdir()) == []


def test_each_cell_of_a_notebook_has_its_file_and_each_editor_of_a_run(tmp_path, monkeypatch):
    monkeypatch.setenv("JPY_SESSION_NAME", str(tmp_path / "birds.ipynb"))
    run = {"header": {"msg_id": "1"}, "metadata": {"cellId": "a1"}}
    monkeypatch.setattr(autosave, "_parent", lambda: run)
    folder = tmp_path / "birds.drawings"
    assert [autosave.cell_file() for _ in range(2)] == [folder / "a1.json", folder / "a1-2.json"]
    run = {"header": {"msg_id": "2"}, "metadata": {"cellId": "a1"}}
    assert autosave.cell_file() == folder / "a1.json"


def test_the_command_names_model_and_file_so_that_it_runs_in_any_folder(path):
    editor = make(path, predictor=Stub(), prompts=[BOX])
    python, *words = shlex.split(editor.command)
    assert python == sys.executable and words[:3] == ["-m", "la", "predict"]
    assert words[words.index("--support") + 1] == str(path)
    assert words[words.index("--model") + 1] == "stub"
    assert PromptEditor().command.startswith("python -m la predict --model")


def test_a_click_computes_the_support_of_its_photograph_alone(path):
    predictor = Stub()
    supports = [photo(40, 30, seed) for seed in range(5)]
    prompts = [{**BOX, "img": img} for img in range(5)]
    editor = make(path, support=supports, prompts=prompts, predictor=predictor)
    assert editor.wait(60) and predictor.supports == 5 and predictor.encoded == 6
    editor.prompts = [*prompts, {**BOX, "img": 3, "pts": [[1, 1], [9, 9]]}]
    assert editor.wait(60) and predictor.supports == 6
    assert [len(prompts["dog"]) for _, prompts in predictor.asked[-1]] == [1, 1, 1, 2, 1]
    editor.prompts = [*editor.prompts, {**BOX, "img": 0, "cls": 2}]
    assert editor.wait(60) and predictor.supports == 11  # all have another row


def test_only_photographs_with_prompts_and_the_query_are_encoded(path):
    predictor = Stub()
    many = [photo(20, 20, seed) for seed in range(30)]
    editor = make(path, support=many, prompts=[{**BOX, "img": 7}], predictor=predictor)
    assert editor.wait(60) and predictor.encoded == 2 and editor.status["state"] == "done"
