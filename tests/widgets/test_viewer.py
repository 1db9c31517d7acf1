"""The viewer's records, order and payload, and its JavaScript in a plain page."""

import base64
import gc
import weakref
import zlib
from dataclasses import replace

import numpy as np
import pytest
from widget_page import colour, mount, photo

from la.data.sampling.prompts import Drawn
from la.report.figures.pictures import EpisodePicture, SupportPicture
from la.types import IGNORE
from la.widgets import EpisodeRecord, PredictionViewer


def record(number: int, shift: int = 0, kind="mask", classes=("dog", "cat")) -> EpisodeRecord:
    """Truth is two bars; the prediction is moved to the right by `shift` pixels."""
    truth = np.zeros((60, 80), int)
    truth[10:30, 10:40] = 1
    truth[35:55, 10:40] = 2
    prediction = np.roll(truth, shift, axis=1)
    truth[:, :2] = IGNORE
    mask = np.zeros((40, 50), bool)
    mask[5:20, 5:20] = True
    drawn = Drawn(mask=mask) if kind == "mask" else Drawn(boxes=[np.array([5, 5, 20, 20])])
    supports = tuple(SupportPicture(photo(50, 40, i), {i: drawn}) for i in (1, 2))
    return EpisodeRecord(
        EpisodePicture(number, classes, supports, photo(80, 60), truth, prediction),
        probabilities=np.stack([(prediction == n) * 0.75 + 0.1 for n in range(3)]),
        attention=np.random.default_rng(0).random((2, 5, 6)),
        prototypes=np.array([[0.0, 0.0], [1.0, 2.0], [-1.0, 1.0]]),
    )


def records() -> list[EpisodeRecord]:
    return [record(0, 1), record(1, 12, "box"), record(2, 5, classes=("dog", "<b>elk</b>"))]


def test_the_iou_of_an_episode_is_the_mean_over_its_classes_and_1_where_there_was_nothing():
    empty = np.zeros((60, 80), int)
    assert EpisodeRecord(replace(record(0).picture, target=empty, prediction=empty)).iou == 1.0
    assert record(0, 10).iou == pytest.approx(20 / 40)


def test_episodes_come_worst_first_and_none_is_refused():
    viewer = PredictionViewer(records())
    assert [row["name"] for row in viewer.table] == ["episode 1", "episode 2", "episode 0"]
    assert viewer.table[0]["kind"] == "box"
    viewer.close()
    with pytest.raises(ValueError, match="no episodes to show"):
        PredictionViewer([])


def test_the_maps_reach_the_browser_unchanged():
    viewer = PredictionViewer([record(0, 3)])
    for name in ("truth", "prediction"):
        data = zlib.decompress(viewer.episode[name]["data"])
        sent = np.frombuffer(data, np.uint8).reshape(60, 80)
        want = getattr(record(0, 3).picture, "target" if name == "truth" else name)
        assert np.array_equal(sent, np.where(want == IGNORE, 255, want))
    assert len(viewer.episode["probabilities"]) == 3 and len(viewer.episode["attention"]) == 2
    viewer.close()


def test_an_episode_opens_in_the_editor_with_its_prompts():
    viewer = PredictionViewer(records())
    viewer.index = 1
    editor = viewer.open_editor()
    assert editor.classes == ["dog", "<b>elk</b>"] and len(editor.prompts) == 2
    assert [image["role"] for image in editor.images] == ["support", "support", "query"]
    again = viewer.open_editor()
    assert viewer.opened is again and editor.comm is None
    viewer.close()


def test_the_static_form_shows_the_worst():
    viewer = PredictionViewer(records())
    data, _ = viewer._repr_mimebundle_()
    assert base64.b64decode(data["image/png"])[:4] == b"\x89PNG"
    assert "live in JupyterLab" in data["text/plain"]
    viewer.close()


def test_closing_frees_the_records():
    episodes = records()
    ref = weakref.ref(episodes[0])
    viewer = PredictionViewer(episodes)
    viewer.close()
    del viewer, episodes
    gc.collect()
    assert ref() is None


@pytest.fixture
def shown(page):
    """The viewer in a plain page, with a fake Python that serves the episodes."""
    viewer = PredictionViewer(records())
    episodes = []
    for i in range(3):
        viewer.index = i
        episodes.append(viewer.episode)
    names = ("view", "palette", "table")
    state = {name: getattr(viewer, name) for name in names} | {"index": 0, "opened": None}
    mount(page, state | {"episode": episodes[0], "all": episodes})
    serve = (
        "() => { model.python = () => model.set('episode', model.get('all')[model.get('index')]) }"
    )
    page.evaluate(serve)
    page.wait_for_selector("[data-episode='0']")
    viewer.close()
    return page


@pytest.mark.browser
def test_arrow_keys_step_through_the_episodes_and_stop_at_the_ends(shown):
    shown.get_by_role("application").focus()
    for key, index in (("ArrowRight", 1), ("ArrowDown", 2), ("ArrowDown", 2), ("ArrowLeft", 1)):
        shown.keyboard.press(key)
        shown.wait_for_selector(f"[data-episode='{index}']")
        chosen = shown.locator(".la-list [aria-selected=true]").inner_text().splitlines()[0]
        assert chosen == ["episode 1", "episode 2", "episode 0"][index]


@pytest.mark.browser
def test_arrow_keys_work_after_an_episode_was_clicked(shown):
    shown.locator(".la-list [role=option]").nth(2).click()
    shown.wait_for_selector("[data-episode='2']")
    shown.keyboard.press("ArrowUp")
    shown.wait_for_selector("[data-episode='1']")


@pytest.mark.browser
def test_the_list_shows_whole_lines_and_the_errors_layer_names_the_classes(shown):
    shown.evaluate("document.querySelector('.la-list').style.maxHeight = '60px'")  # as if long
    whole = "(items) => items.every((item) => item.scrollHeight <= item.clientHeight)"
    assert shown.locator(".la-list [role=option]").evaluate_all(whole)
    legend = shown.locator(".la-legend").inner_text()
    assert "False positive" in legend and "dog" in legend and "IoU" in legend


@pytest.mark.browser
def test_filters_leave_the_matching_episodes(shown):
    options = shown.locator(".la-list [role=option]")
    shown.get_by_label("All classes").select_option("<b>elk</b>")
    assert "episode 2" in options.first.inner_text() and options.count() == 1
    shown.get_by_label("All classes").select_option("")
    shown.get_by_label("All prompt kinds").select_option("box")
    assert options.count() == 1 and "episode 1" in options.first.inner_text()
    shown.get_by_label("All prompt kinds").select_option("")
    script = "(e) => { e.value = 0.8; e.dispatchEvent(new Event('input')) }"
    shown.get_by_label("IoU up to").evaluate(script)
    assert options.count() == 2
    assert "2 of 3 episodes, worst first" in shown.locator(".la-side").inner_text()


@pytest.mark.browser
def test_the_error_layer_tells_false_positives_from_false_negatives(shown):
    shown.get_by_role("button", name="Errors").click()
    script = "(e) => { e.value = 1; e.dispatchEvent(new Event('input')) }"
    shown.get_by_label("Opacity").evaluate(script)
    assert colour(shown, 46, 20)[:3] == [0xD5, 0x5E, 0x00]  # predicted beyond the right edge
    assert colour(shown, 14, 20)[:3] == [0x56, 0xB4, 0xE9]  # missed at the left
    right = colour(shown, 30, 20)
    shown.get_by_label("Opacity").evaluate(script.replace("1;", "0;"))
    assert colour(shown, 30, 20) == right  # where it is right nothing is drawn


@pytest.mark.browser
def test_mistakes_are_named_and_filtered(shown):
    options = shown.locator(".la-list [role=option]")
    first = options.first.inner_text()
    assert "dog, cat; mostly" in first
    kinds = {row["mistake"] for row in shown.evaluate("model.get('table')")}
    for kind in kinds:
        shown.get_by_label("All mistakes").select_option(kind)
        assert all(f"mostly {kind}" in text for text in options.all_inner_texts())


@pytest.mark.browser
def test_another_method_is_a_layer_and_the_largest_difference_comes_first(page):
    others = [record(0, 1), record(1, 3, "box"), record(2, 5, classes=("dog", "<b>elk</b>"))]
    viewer = PredictionViewer(records(), others=others)
    names = ("view", "palette", "table", "episode")
    state = {name: getattr(viewer, name) for name in names} | {"index": 0, "opened": None}
    mount(page, state)
    page.wait_for_selector("[data-episode='0']")
    page.get_by_label("Worst first").select_option("Largest difference first")
    texts = page.locator(".la-list [role=option]").all_inner_texts()
    assert texts[0].startswith("episode 1") and "other" in texts[0]
    colours = []
    for name in ("Prediction", "Other method"):
        page.get_by_role("button", name=name).click()
        colours.append(colour(page, 16, 20))
    assert colours[0] != colours[1]  # one shifts by 12 pixels, the other by 3
    viewer.close()


def test_another_method_on_other_episodes_is_refused():
    with pytest.raises(ValueError, match="of other episodes"):
        PredictionViewer(records(), others=[record(7)])


def test_the_truth_goes_along_into_the_editor():
    viewer = PredictionViewer(records())
    editor = viewer.open_editor()
    sent = np.frombuffer(zlib.decompress(editor.truth["data"]), np.uint8).reshape(60, 80)
    truth = viewer._records[0].truth_and_prediction[0]
    assert np.array_equal(sent, np.where(truth == IGNORE, 255, truth))
    assert editor.truth["img"] == editor.query
    viewer.close()


@pytest.mark.browser
def test_every_layer_changes_the_picture(shown):
    pictures = set()
    for name in ("Truth", "Prediction", "Errors", "Probability", "Prototypes"):
        shown.get_by_role("button", name=name).click()
        pictures.add(tuple(tuple(colour(shown, x, 20)) for x in (14, 30, 46, 70)))
    assert len(pictures) == 5
    before = [colour(shown, x, 20, "Support image") for x in range(5, 45, 5)]
    shown.get_by_role("button", name="Attention").click()
    assert [colour(shown, x, 20, "Support image") for x in range(5, 45, 5)] != before


@pytest.mark.browser
def test_the_pointer_reads_class_probability_and_truth(shown):
    canvas = shown.locator("canvas[aria-label='Query image']")
    scale, left, top = map(float, canvas.get_attribute("data-view").split(","))
    canvas.hover(position={"x": left + 46 * scale, "y": top + 20 * scale})
    assert shown.get_by_role("status").inner_text() == "dog (85 %); truth: background"


@pytest.mark.browser
def test_names_with_markup_stay_text_and_controls_have_names(shown):
    shown.get_by_role("application").focus()
    shown.keyboard.press("ArrowRight")
    shown.wait_for_selector("[data-episode='1']")
    shown.get_by_role("button", name="Prediction").click()
    assert "<b>elk</b>" in shown.locator(".la-legend").inner_text()
    unnamed = shown.evaluate(
        """() => [...document.querySelectorAll("button, input, select, canvas")]
            .filter((e) => !e.getAttribute("aria-label") && !e.textContent.trim()).length"""
    )
    assert unnamed == 0


@pytest.mark.browser
def test_open_asks_python_for_the_editor(shown):
    shown.get_by_role("button", name="Open in PromptEditor").click()
    assert shown.evaluate("model.sent") == [[{"do": "open"}, 0]]
