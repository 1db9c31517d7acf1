"""The viewer's records, order and payload, and its JavaScript in a plain page."""

import base64
import gc
import weakref
import zlib

import numpy as np
import pytest
from widget_page import colour, mount, photo

from la.data import drawn
from la.types import IGNORE
from la.widgets import EpisodeRecord, PredictionViewer


def record(name: str, shift: int = 0, kind: str = "mask", classes=("dog", "cat")) -> EpisodeRecord:
    """Truth is two bars; the prediction is moved to the right by `shift` pixels."""
    truth = np.zeros((60, 80), int)
    truth[10:30, 10:40] = 1
    truth[35:55, 10:40] = 2
    prediction = np.roll(truth, shift, axis=1)
    truth[:, :2] = IGNORE
    probabilities = np.stack([(prediction == n) * 0.75 + 0.1 for n in range(3)])
    mask = np.zeros((40, 50), bool)
    mask[5:20, 5:20] = True
    return EpisodeRecord(
        name=name,
        query=np.asarray(photo(80, 60)),
        truth=truth,
        prediction=prediction,
        class_names=classes,
        supports=(np.asarray(photo(50, 40, 1)), np.asarray(photo(50, 40, 2))),
        prompts=(drawn.mask_prompt(mask, 0, 1), drawn.mask_prompt(mask, 1, 2)),
        kind=kind,
        probabilities=probabilities,
        attention=np.random.default_rng(0).random((2, 5, 6)),
        prototypes=np.array([[0.0, 0.0], [1.0, 2.0], [-1.0, 1.0]]),
    )


def records() -> list[EpisodeRecord]:
    return [
        record("good", 1),
        record("bad", 12, "box"),
        record("middling", 5, classes=("dog", "<b>elk</b>")),
    ]


def test_iou_is_counted_per_class_where_the_truth_counts():
    episode = record("x", 6)
    for n, iou in enumerate(episode.ious, 1):
        both = either = 0
        for t, p in zip(episode.truth.flat, episode.prediction.flat, strict=True):
            if t != IGNORE:
                both += t == n and p == n
                either += t == n or p == n
        assert iou == both / either
    assert episode.iou == sum(episode.ious) / 2


def test_a_class_that_nobody_has_is_absent_and_counts_nowhere():
    episode = record("x")
    empty = np.zeros((60, 80), int)
    base = {f: getattr(episode, f) for f in episode.__dataclass_fields__}
    one = EpisodeRecord(**base | {"truth": np.minimum(episode.truth, 1) * (episode.truth != 2)})
    assert one.ious[1] == 0.0
    none = EpisodeRecord(**base | {"truth": empty, "prediction": empty})
    assert none.ious == [None, None] and none.iou == 1.0


def test_a_record_of_wrong_shape_is_refused():
    base = {f: getattr(record("x"), f) for f in record("x").__dataclass_fields__}
    with pytest.raises(ValueError, match="prediction has shape"):
        EpisodeRecord(**base | {"prediction": np.zeros((60, 81), int)})
    with pytest.raises(ValueError, match="probabilities has shape"):
        EpisodeRecord(**base | {"probabilities": np.zeros((2, 60, 80))})


def test_episodes_come_worst_first_and_none_is_refused():
    viewer = PredictionViewer(records())
    assert [row["name"] for row in viewer.table] == ["bad", "middling", "good"]
    assert viewer.table[0]["kind"] == "box"
    viewer.close()
    with pytest.raises(ValueError, match="no episodes to show"):
        PredictionViewer([])


def test_the_maps_reach_the_browser_unchanged():
    viewer = PredictionViewer([record("x", 3)])
    for name in ("truth", "prediction"):
        data = zlib.decompress(viewer.episode[name]["data"])
        sent = np.frombuffer(data, np.uint8).reshape(60, 80)
        want = getattr(record("x", 3), name)
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
        chosen = shown.locator(".la-list [aria-selected=true]").inner_text().split()[0]
        assert chosen == ["bad", "middling", "good"][index]


@pytest.mark.browser
def test_arrow_keys_work_after_an_episode_was_clicked(shown):
    shown.locator(".la-list [role=option]").nth(2).click()
    shown.wait_for_selector("[data-episode='2']")
    shown.keyboard.press("ArrowUp")
    shown.wait_for_selector("[data-episode='1']")


@pytest.mark.browser
def test_filters_leave_the_matching_episodes(shown):
    options = shown.locator(".la-list [role=option]")
    shown.get_by_label("All classes").select_option("<b>elk</b>")
    assert options.all_inner_texts()[0].split()[0] == "middling" and options.count() == 1
    shown.get_by_label("All classes").select_option("")
    shown.get_by_label("All prompt kinds").select_option("box")
    assert options.count() == 1 and "bad" in options.first.inner_text()
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
