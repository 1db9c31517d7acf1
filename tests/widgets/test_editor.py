"""The editor's Python side, with a predictor that remembers what it was asked."""

import gc
import json
import threading
import time
import weakref
import zlib
from io import BytesIO

import numpy as np
import pytest
from ipywidgets.widgets.widget import _instances
from PIL import Image
from pycocotools import mask as coco_mask
from stub_predictor import Stub
from traitlets import TraitError
from widget_page import photo

from la.errors import MissingFile
from la.predict.prompts import prompts_file
from la.predict.prompts.strokes import rasterize
from la.predict.prompts.vector_prompts import from_json
from la.types import Box
from la.widgets import PromptEditor
from la.widgets.page.browser import plane
from la.widgets.photographs.photos import Photo
from la.widgets.photographs.supply import PixelSupply

BOX = {"img": 0, "cls": 1, "type": "box", "pts": [[2, 3], [20, 18]]}
BRUSH = {"img": 1, "cls": 2, "type": "brush", "pts": [[4, 4], [9, 9]], "r": 3, "erase": False}


def make(predictor=None, prompts=(BOX, BRUSH)) -> PromptEditor:
    supports = [photo(40, 30), photo(24, 24, 1)]
    return PromptEditor(supports, [photo(32, 20, 2)], ["dog", "cat"], prompts, predictor)


def labels(editor) -> np.ndarray:
    width, height = editor.overlay["size"]
    data = zlib.decompress(editor.overlay["data"])
    return np.frombuffer(data, np.uint8).reshape(height, width)


def test_prompts_reach_the_predictor_by_image_and_class_and_its_labels_come_back():
    predictor = Stub()
    editor = make(predictor)
    assert editor.wait(60)
    (first, second) = predictor.asked[-1]
    assert first[1] == {"dog": [Box(2, 3, 20, 18)]}
    assert list(second[1]) == ["cat"] and second[1]["cat"][0].shape == (24, 24)
    assert np.array_equal(labels(editor), Stub.labels((20, 32), 2))
    assert editor.status["state"] == "done" and "Segmented query-3.png in" in editor.status["text"]
    assert editor.about == "stub · 0123abcd · trained on nothing"
    editor.close()


def test_a_label_map_speaks_of_the_editor_s_classes_when_only_some_are_prompted():
    editor = make(Stub(), [BRUSH])
    editor.wait(60)
    assert set(np.unique(labels(editor))) == {0, 2}
    editor.close()


def test_each_image_is_encoded_once():
    predictor = Stub()
    editor = make(predictor)
    editor.wait(60)
    for x in range(3, 8):
        editor.prompts = [*editor.prompts, {**BOX, "pts": [[x, 3], [20, 18]]}]
        editor.wait(60)
    assert predictor.encoded == 3 and len(predictor.asked) == 6
    assert predictor.supports == 2 + 5  # of both photographs, and then of the one that changed
    editor.close()


def test_progress_of_encoding_is_said():
    said = []
    predictor = Stub()
    editor = make(predictor, [])
    editor.wait(60)
    editor.observe(lambda change: said.append(change.new["text"]), "status")
    editor.load_example()
    editor.wait(60)
    names = [f"example-{number}.png" for number in (1, 2, 3)]
    assert [text for text in said if "Encoding" in text] == [f"Encoding {name}" for name in names]
    assert "Segmenting example-3.png" in said
    editor.close()


def test_while_the_predictor_works_only_the_newest_prompts_wait():
    predictor = Stub()
    editor = make(predictor, [BOX])
    assert editor.wait(60)
    before = len(predictor.asked)
    predictor.go.clear()
    for x in range(10):
        editor.prompts = [*editor.prompts, {**BOX, "pts": [[x, 0], [30, 25]]}]
        while len(predictor.asked) == before:  # until it works on the first
            time.sleep(0.01)
    predictor.go.set()
    assert editor.wait(60)
    assert [len(asked[0][1]["dog"]) for asked in predictor.asked[before:]] == [2, 11]
    editor.close()


def test_clicks_from_many_threads_end_with_the_newest():
    predictor = Stub()
    editor = make(predictor, [])
    lock = threading.Lock()

    def click(x: int) -> None:
        with lock:
            editor.prompts = [*editor.prompts, {**BOX, "pts": [[x, 0], [30, 25]]}]

    threads = [threading.Thread(target=click, args=(x,)) for x in range(12)]
    [t.start() for t in threads]
    [t.join() for t in threads]
    assert editor.wait(60)
    assert len(predictor.asked[-1][0][1]["dog"]) == 12
    editor.close()


def test_an_exception_of_the_predictor_is_said_and_the_next_click_works():
    predictor = Stub()
    editor = make(predictor)
    editor.wait(60)
    predictor.fail = ValueError("no such prompt")
    editor.prompts = [BOX]
    editor.wait(60)
    text = "Prediction failed: ValueError: no such prompt"
    assert editor.status == {"state": "error", "text": text} and editor.overlay == {}
    with pytest.raises(RuntimeError, match="no such prompt"):
        _ = editor.support
    predictor.fail = None
    editor.prompts = [BOX, BRUSH]
    assert editor.support == ("dog", "cat") and editor.status["state"] == "done"
    editor.close()


def test_another_predictor_encodes_anew_and_is_named():
    first, second = Stub(), Stub()
    second.describe = lambda: {"name": "other", "hash": "ff", "trained_on": "all"}
    editor = make(first)
    editor.wait(60)
    editor.predictor = second
    editor.wait(60)
    assert (first.encoded, second.encoded, len(second.asked)) == (3, 3, 1)
    assert editor.about == "other · ff · trained on all"
    editor.close()


def test_every_message_is_acknowledged_at_once():
    editor = make(Stub(seconds=0.5))
    editor.set_state({"seq": 7})
    assert editor.ack == 7
    editor.close()


def test_bad_prompts_from_the_browser_end_in_a_notice():
    editor = make()
    editor.set_state({"prompts": [{**BOX, "cls": 9}], "seq": 1})
    assert "cls is 9; the list `categories` has 2 entries" in editor.notice
    assert editor.prompts == [BOX, BRUSH]
    editor.close()


def test_classes_and_prompts_change_together():
    editor = make()
    editor.set_state({"classes": ["cat"], "prompts": [{**BRUSH, "cls": 1}], "seq": 1})
    assert editor.classes == ["cat"] and not editor.notice
    with pytest.raises(TraitError, match="has 1 entry, and the first is number 1"):
        editor.prompts = [{**BRUSH, "cls": 2}]
    with pytest.raises(TraitError, match="different names"):
        editor.classes = ["cat", "cat"]
    editor.close()


def test_the_example_has_two_supports_a_query_and_every_kind_of_prompt():
    editor = make(Stub())
    editor._on_message(editor, {"do": "example"}, [])
    assert [image["role"] for image in editor.images] == ["support", "support", "query"]
    assert {p["type"] for p in editor.prompts} == {"point", "box", "mask"}
    assert editor.wait(60) and set(np.unique(labels(editor))) == {0, 1, 2, 3}
    editor.close()


def test_a_photo_is_added_from_its_bytes_in_pieces_and_a_broken_one_gives_a_sentence(tmp_path):
    editor = make(Stub())
    path = tmp_path / "new.png"
    photo(50, 20).save(path)
    whole = path.read_bytes()
    add = {"do": "add", "role": "query", "name": "new.png"}
    editor._on_message(editor, add | {"last": False}, [memoryview(whole[:100])])
    assert len(editor.images) == 3
    editor._on_message(editor, add | {"last": True}, [memoryview(whole[100:])])
    assert editor.images[-1]["file_name"] == "new.png" and editor.photos[-1].size == (50, 20)
    assert editor.query == 3 and editor.prompts == [BOX, BRUSH]
    broken = add | {"name": "broken.jpg", "last": True}
    editor._on_message(editor, broken, [memoryview(b"\xff\xd8 no photo")])
    assert "broken.jpg cannot be read as an image" in editor.notice
    editor._on_message(editor, broken | {"name": "notes.jpg"}, [memoryview(b"no photo")])
    first, second = editor.notice.splitlines()  # one message does not replace the other
    assert first.startswith("broken.jpg cannot be") and second.startswith("notes.jpg cannot be")
    assert editor.status["state"] == "idle"  # and no longer "Sending notes.jpg"
    assert len(editor.images) == 4 and editor.wait(60)
    editor.close()


def test_an_export_says_that_it_is_under_way_and_where_its_files_are(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    editor = make(Stub())
    assert editor.wait(60)
    said: list[tuple[str, bool]] = []
    editor.observe(
        lambda change: said.append((change.new["state"], (tmp_path / "masks").exists())), "status"
    )
    editor._on_message(editor, {"do": "export"}, [])
    assert said[0] == ("busy", False) and said[-1] == ("done", True)
    editor.close()


def test_a_folder_stands_for_its_photographs_and_one_of_a_kind_needs_no_list(tmp_path):
    for name in ("b.png", "a.jpg", ".hidden.jpg"):
        photo(40, 30).save(tmp_path / name)
    (tmp_path / "notes.txt").write_text("no picture")
    (tmp_path / "empty").mkdir()
    editor = PromptEditor(tmp_path / "b.png", [tmp_path], "dog")
    shown = [(image["file_name"], image["role"]) for image in editor.images]
    assert shown == [("b.png", "support"), ("a.jpg", "query"), ("b.png", "query")]
    assert editor.classes == ["dog"]
    editor.close()
    with pytest.raises(MissingFile, match="no picture in the folder .*empty"):
        PromptEditor([tmp_path / "empty"])


def test_an_editor_with_wrong_arguments_is_closed_without_a_further_word(capsys, recwarn):
    before = set(_instances)
    with pytest.raises(TraitError, match="different names"):
        PromptEditor([photo(40, 30)], classes=["dog", "dog"])
    gc.collect()
    assert set(_instances) == before
    assert capsys.readouterr() == ("", "") and not recwarn.list


def test_loading_prompts_that_were_never_saved_is_one_sentence(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    editor = make()
    editor._on_message(editor, {"do": "load"}, [])
    expected = "no file prompts.json; save a drawing there, or give another path"
    assert editor.notice == expected and editor.prompts == [BOX, BRUSH]
    editor.close()


def test_a_picture_that_is_on_its_way_is_not_sent_again():
    sent, began, go = [], threading.Event(), threading.Event()

    def send(content, _buffers):
        sent.append((content["id"], content["side"]))
        began.set()
        assert go.wait(60)

    a, b, c = ("a", 1024), ("b", 128), ("c", 128)
    shown = Photo.open(photo(20, 20), "shown.png")
    supply = PixelSupply(lambda _id: shown, send, threading.RLock())
    supply.ask([a, b])
    assert began.wait(60)
    supply.ask([c, a, b], before=[a, b])
    go.set()
    assert supply.wait(60) and sent == [a, c, b]
    supply.ask([a])  # the page has not got it
    assert supply.wait(60) and sent == [a, c, b, a]


def test_a_photo_that_is_added_is_sent_without_the_list_of_the_others(monkeypatch):
    editor = make(Stub())
    listed, sent = list(editor.listed), []
    monkeypatch.setattr(editor, "_send", lambda message, buffers=None: sent.append(message))
    editor.add(photo(10, 10), "support", "new.png")
    states = [message["state"] for message in sent if message["method"] == "update"]
    lists = [key for state in states for key in state if key in ("listed", "added")]
    assert lists == ["added"]
    assert editor.listed == listed and [image["file_name"] for image in editor.added] == ["new.png"]
    assert editor.images == [*listed, *editor.added]
    editor.remove(0)
    assert editor.images == editor.listed and editor.added == []
    assert editor.wait(60)
    editor.close()


def test_a_removed_photo_takes_its_prompts_along_and_the_others_stay():
    editor = make(Stub())
    editor.add(photo(10, 10), "query", "second.png")
    editor.remove(0)
    assert [i["file_name"] for i in editor.images] == ["support-2.png", "query-3.png", "second.png"]
    assert editor.prompts == [{**BRUSH, "img": 0}] and editor.query == 2
    editor.remove(2)
    assert editor.query == 1 and editor.wait(60) and editor.overlay["img"] == 1
    editor.remove(1)
    assert editor.query == -1 and editor.wait(60) and "Waiting for a query" in editor.status["text"]
    editor.remove(0)
    assert editor.images == editor.prompts == [] and editor.wait(60)
    editor.close()


def test_what_is_no_image_is_refused_by_name(tmp_path):
    (tmp_path / "broken.jpg").write_bytes(b"\xff\xd8\xff")
    with pytest.raises(
        ValueError,
        match="broken.jpg cannot be read as an image: the file is damaged; copy it again",
    ):
        PromptEditor([tmp_path / "broken.jpg"])
    with pytest.raises(FileNotFoundError, match="no image file at .*none.png"):
        PromptEditor([tmp_path / "none.png"])


def test_photos_are_turned_upright_and_kept_at_their_size():
    image = Image.new("RGB", (40, 30))
    image.getexif()[0x0112] = 6  # rotated by a quarter
    assert Photo.open(image, "").image.size == (30, 40)
    file = BytesIO()
    image.save(file, "JPEG", exif=image.getexif())
    turned = Photo.open(file.getvalue(), "turned.jpg")
    assert turned.size == (40, 30) and turned.image.size == turned.reduced(99).size == (30, 40)
    editor = PromptEditor([photo(4000, 3000), photo(1, 1)])
    assert [(i["width"], i["height"]) for i in editor.images] == [(4000, 3000), (1, 1)]
    large = editor._placed[0].photo.jpeg(1024)
    assert Image.open(BytesIO(large)).size == (1024, 768)
    assert plane(np.zeros((3000, 4000)))["size"] == [1024, 768]
    assert plane(np.zeros((3, 4000)))["size"] == [1024, 1]
    editor.close()


def test_saved_prompts_load_into_another_editor_with_the_same_masks(tmp_path):
    editor = make()
    path = editor.save(tmp_path / "work" / "prompts.json")
    other = PromptEditor()
    other.load(path)
    assert other.drawing.classes == ("dog", "cat") and other.prompts == editor.prompts
    for mine, theirs in zip(editor.drawing.annotations(), other.drawing.annotations(), strict=True):
        assert str(mine) == str(theirs)
    assert [p.tobytes() for p in other.photos] == [p.tobytes() for p in editor.photos]
    assert prompts_file.read(path).images[0].file_name == "prompts-support-1.png"
    editor.close()
    other.close()


def test_photos_of_one_name_are_told_apart_when_they_are_saved(tmp_path):
    (tmp_path / "other").mkdir()
    for folder, seed in ((tmp_path, 1), (tmp_path / "other", 2)):
        photo(9, 9, seed).save(folder / "photo.png")
    editor = PromptEditor([tmp_path / "photo.png", tmp_path / "other" / "photo.png"])
    for seed in (3, 4):
        out = BytesIO()
        photo(9, 9, seed).save(out, "PNG")
        editor.add(out.getvalue(), name="photo.png")
    editor.save(tmp_path / "prompts.json")
    editor.remove(2)
    editor.add(photo(9, 9, 5), name="photo.png")
    pixels = [image.tobytes() for image in editor.photos]
    other = PromptEditor()
    other.load(editor.save(tmp_path / "prompts.json"))
    assert [image.tobytes() for image in other.photos] == pixels
    editor.from_coco(editor.to_coco())
    assert [image.tobytes() for image in editor.photos] == pixels
    assert np.array_equal(editor.photos[0], photo(9, 9, 1))


def test_coco_goes_out_and_in():
    editor = make()
    data = json.loads(json.dumps(editor.to_coco()))
    editor.prompts = []
    editor.from_coco(data)
    assert editor.prompts == [BOX, BRUSH]
    data["images"][0]["width"] = 41
    with pytest.raises(ValueError, match="has 40 x 30 pixels, the drawing says 41 x 30"):
        editor.from_coco(data)
    editor.close()


def test_export_writes_drawn_and_predicted_masks_under_the_names_of_the_photographs(tmp_path):
    editor = make(Stub())
    folder = editor.export(tmp_path / "masks")
    # A box is no mask: the support that has one is segmented like a query.
    expected = [
        Stub.labels((30, 40), 2),
        rasterize(from_json([BRUSH]), (24, 24)) * 2,
        Stub.labels((20, 32), 2),
    ]
    names = ("support-1.png", "support-2.png", "query-3.png")
    data = json.loads((folder / "masks.json").read_text())
    assert [image["file_name"] for image in data["images"]] == list(names)
    for number, (name, labels) in enumerate(zip(names, expected, strict=True), 1):
        picture = Image.open(folder / f"{number}-{name}")
        assert picture.mode == "P" and np.array_equal(np.asarray(picture), labels)
        read = np.zeros(labels.shape, int)
        for annotation in data["annotations"]:
            if annotation["image_id"] == number:
                inside = coco_mask.decode(annotation["segmentation"]) > 0
                read[inside] = annotation["category_id"]
        assert np.array_equal(read, labels)
    editor.close()


def test_export_without_a_model_has_only_the_images_with_drawn_masks(tmp_path):
    editor = make()
    data = json.loads((editor.export(tmp_path / "masks") / "masks.json").read_text())
    assert [image["file_name"] for image in data["images"]] == ["support-2.png"]
    assert [path.name for path in (tmp_path / "masks").glob("*.png")] == ["2-support-2.png"]
    editor.close()


def test_the_static_form_is_a_picture_with_a_line_that_says_where_it_lives():
    editor = make(Stub())
    data, _ = editor._repr_mimebundle_()
    assert "application/vnd.jupyter.widget-view+json" in data
    assert data["text/plain"] == "PromptEditor, live in JupyterLab: run this cell"
    assert data["image/png"].startswith("iVBOR") and len(data["image/png"]) < 200_000
    bare, _ = PromptEditor()._repr_mimebundle_()
    assert bare["image/png"].startswith("iVBOR")
    editor.close()


def test_closing_frees_images_encodings_and_model():
    predictor = Stub()
    editor = make(predictor)
    editor.wait(60)
    held = weakref.ref(predictor), weakref.ref(editor), weakref.ref(editor._placed[0].photo.content)
    editor.close()
    del editor, predictor
    gc.collect()
    assert [ref() for ref in held] == [None, None, None]
