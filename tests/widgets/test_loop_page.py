"""The loop in the page: threshold, confidence, preview, and the photographs one after another."""

import zlib

import numpy as np
import pytest
from axe_playwright_python.base import AXE_FILE_PATH
from test_editor_page import Desk, state
from widget_page import packed, photo

from la.widgets.page.browser import LONG_SIDE
from la.widgets.photographs.photos import Photo, Placed

pytestmark = pytest.mark.browser

CAT = np.zeros((120, 160), np.uint8)
CAT[30:90, 40:120] = 2  # leads by 3 logits in its left half, by 1 in its right half


def plane(values: np.ndarray) -> dict:
    data = zlib.compress(np.ascontiguousarray(values, np.uint8).tobytes())
    return {"size": list(values.shape[::-1]), "data": data}


def overlay(img: int, milliseconds: int = 20) -> dict:
    lead = np.full((60, 80), -2.0)
    lead[15:45, 20:60] = 1
    lead[15:45, 20:40] = 3
    planes = {"best": np.full((60, 80), 2), "lead": lead * 16 + 128, "next": np.full((60, 80), 255)}
    maps = {name: plane(values) for name, values in planes.items()}
    return {"img": img, "seq": 1, "ms": milliseconds, **plane(CAT), **maps}


class LoopDesk(Desk):
    """An editor with three photographs to segment, the first of them segmented."""

    def __init__(self, page) -> None:
        content = state() | {"threshold": 0, "sure": {}, "reviewed": {}}
        for seed in (3, 4):
            place = Placed(Photo.open(photo(160, 120, seed), f"query-{seed}.png"), "query")
            content["listed"].append(place.entry)
            content["jpegs"][place.photo.id] = place.photo.jpeg(LONG_SIDE)
        super().__init__(page, content)
        self.ids = [image["id"] for image in content["listed"]]
        self.from_python(overlay=overlay(2))
        page.wait_for_selector(".la-strip[data-labels='1']")

    def from_python(self, **changes) -> None:
        script = "(changes) => { for (const k in changes) model.set(k, revive(changes[k])); }"
        self.page.evaluate(script, packed(changes))

    def slide(self, label: str, value: float) -> None:
        script = "(e, value) => { e.value = value; e.dispatchEvent(new Event('input')); }"
        self.page.get_by_label(label, exact=True).evaluate(script, value)

    def point_at(self, x: float, y: float) -> None:
        self.canvas = self.page.locator("canvas[aria-label='Query image']")
        self.page.mouse.move(*self.client(x, y))

    @property
    def sent(self) -> list[dict]:
        return [content for content, _ in self.page.evaluate("model.sent")]

    @property
    def strip(self) -> list[str]:
        thumbs = self.page.locator("[aria-label='Query images'] .la-thumb").all()
        return [thumb.get_attribute("aria-label") for thumb in thumbs]


@pytest.fixture
def desk(page) -> LoopDesk:
    return LoopDesk(page)


def test_the_threshold_takes_the_less_certain_half_away_without_a_call_of_the_model(desk):
    left, right = desk.pixel(62, 62, "Query image"), desk.pixel(102, 62, "Query image")
    desk.slide("Threshold", 2)
    assert desk.pixel(62, 62, "Query image") == left
    assert desk.pixel(102, 62, "Query image") != right
    desk.slide("Threshold", -3)  # below what background leads by elsewhere
    desk.slide("Threshold", 0)
    assert desk.pixel(102, 62, "Query image") == right
    assert desk.sent == []
    desk.slide("Threshold", 2)
    desk.page.wait_for_function("model.saved > 0")
    assert desk.get("threshold") == 2  # Python exports with it


def test_the_pointer_reads_the_class_and_how_sure_the_model_is(desk):
    readout = desk.page.locator(".la-readout")
    desk.point_at(60, 60)
    assert readout.inner_text() == f"cat, {100 / (1 + np.exp(-3)):.0f} % sure"
    desk.point_at(10, 10)
    assert readout.inner_text() == f"background, {100 / (1 + np.exp(-2)):.0f} % sure"


def test_the_less_certain_half_is_fainter_on_request(desk):
    bare = desk.pixel(10, 62, "Query image")
    plain = [desk.pixel(x, 64, "Query image") for x in (62, 102)]
    desk.canvas.focus()
    desk.press("g")
    faded = [desk.pixel(x, 64, "Query image") for x in (62, 102)]
    change = np.abs(np.subtract(plain, faded)).sum(1)
    assert change[1] > change[0]
    assert desk.pixel(10, 62, "Query image") == bare


def test_a_resting_pointer_previews_its_point_and_leaving_ends_the_preview(desk):
    before = desk.pixel(20, 20, "Query image")
    desk.point_at(50, 60)
    desk.page.wait_for_function("model.sent.length > 0")
    (asked,) = desk.sent
    point = {"img": 2, "cls": 1, "type": "point", "pts": [[50, 60]], "label": 1}
    assert asked == {"do": "preview", "prompt": point}
    whole = plane(np.ones((120, 160)))
    message = {**asked, "img": 2, "size": whole["size"]}
    script = """([content, data]) => model.emit("msg:custom", content, [revive(data)])"""
    desk.page.evaluate(script, [message, packed(whole["data"])])
    desk.page.wait_for_timeout(100)
    assert desk.pixel(20, 20, "Query image") != before
    desk.page.mouse.move(2, 2)
    assert desk.pixel(20, 20, "Query image") == before
    assert desk.prompts == []


def test_a_slow_model_is_not_asked_for_previews(desk):
    desk.from_python(overlay=overlay(2, milliseconds=2000))
    desk.page.wait_for_timeout(50)
    desk.point_at(50, 60)
    desk.page.wait_for_timeout(300)
    assert desk.sent == []


def test_the_least_sure_come_first_and_keys_go_through_them(desk):
    a, b, c = desk.ids[2:]
    desk.page.get_by_role("button", name="Least sure first").click()
    assert desk.sent == [{"do": "rank"}]
    desk.from_python(sure={a: 0.9, b: 0.2, c: 0.5})
    names = ["query query-3.png, 20 % sure", "query query-4.png, 50 % sure"]
    assert desk.strip == [*names, "query query.png, 90 % sure"]
    desk.page.get_by_role("application").focus()
    desk.press("PageUp", "PageUp")
    assert desk.get("query") == 3
    desk.press("PageDown")
    assert desk.get("query") == 4
    desk.press("PageUp", "y")
    assert desk.get("reviewed") == {b: "accepted"} and desk.get("query") == 4
    desk.press("s")
    assert desk.get("reviewed") == {b: "accepted", c: "skipped"} and desk.get("query") == 2
    assert desk.strip[0] == "query query.png, 90 % sure"
    assert desk.strip[1] == "query query-3.png, accepted, 20 % sure"
    assert "2 of 3 reviewed" in desk.page.locator(".la-review").inner_text()


def test_a_prediction_becomes_masks_to_correct_or_an_example(desk):
    desk.page.get_by_role("application").focus()
    desk.press("c")
    assert desk.sent == [{"do": "adopt", "img": 2}]
    assert desk.get("reviewed") == {desk.ids[2]: "corrected"}
    assert desk.canvas.get_attribute("data-tool") == "brush"
    desk.press("PageDown")
    desk.page.get_by_role("button", name="Use as example").click()
    assert desk.sent[1:] == [{"do": "adopt", "img": 3}]
    assert desk.get("reviewed")[desk.ids[3]] == "accepted"
    assert desk.get("query") == 4  # and on to the next photograph


def test_prompts_are_drawn_on_the_query_too(desk):
    desk.canvas = desk.page.locator("canvas[aria-label='Query image']")
    desk.page.get_by_role("button", name="Box", exact=True).click()
    desk.drag((20, 30), (60, 70))
    assert [(p["img"], p["pts"]) for p in desk.prompts] == [(2, [[20, 30], [60, 70]])]


def test_a_known_truth_is_outlined_and_gives_the_iou_of_each_class(desk):
    truth = np.zeros((120, 160), np.uint8)
    truth[30:90, 40:80] = 2  # half of what is predicted
    truth[:, 150:] = 255
    page_state = {"truth": {"img": 2, **plane(truth)}}
    remount = """async (changes) => {
        unmount();
        document.getElementById("w").replaceChildren();
        Object.assign(model.state, revive(changes));
        window.unmount = widget.render({ model, el: document.getElementById("w") });
    }"""
    desk.page.evaluate(remount, packed(page_state))
    desk.page.wait_for_function("document.querySelector('.la-iou').textContent !== ''")
    assert desk.page.locator(".la-iou").inner_text() == "IoU with the outlined truth: cat 0.50"
    assert desk.pixel(79, 60, "Query image")[:3] == [255, 255, 255]
    truth[30:90, 40:120] = 2  # Python may send it after the editor is displayed
    later = packed({"img": 2, **plane(truth)})
    desk.page.evaluate("(truth) => model.set('truth', revive(truth))", later)
    iou = "document.querySelector('.la-iou').textContent"
    desk.page.wait_for_function(f"{iou} === 'IoU with the outlined truth: cat 1.00'")


AXE = """async () => {
    const { violations } = await axe.run(".la-root");
    const grave = violations.filter((v) => ["serious", "critical"].includes(v.impact));
    return grave.map((v) => [v.id, v.impact, v.nodes.map((node) => node.html)]);
}"""


def test_the_accessibility_check_has_no_serious_findings(desk):
    """axe-core, with an empty page, with prompts and a prediction, and with the help open."""
    desk.page.evaluate("() => { document.title = 'Editor'; document.documentElement.lang = 'en'; }")
    desk.page.evaluate(AXE_FILE_PATH.read_text())
    assert desk.page.evaluate(AXE) == []
    desk.from_python(classes=[f"class {i}" for i in range(40)], notice="add failed: no image")
    desk.press("p")
    desk.click(40, 40)
    assert desk.page.evaluate(AXE) == []
    desk.press("?")
    assert desk.page.evaluate(AXE) == []
